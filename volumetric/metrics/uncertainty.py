"""Metrics of half-widths against errors: coverage, share of the error in the least certain voxels, sparsification."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

TOP_SHARE = 0.1
SHARES_LEFT_OUT = tuple(round(0.05 * n, 2) for n in range(20))
"""Shares of the voxels that a sparsification curve leaves out, 0 to 0.95."""


class Sparsification(NamedTuple):
    """RMSE of what is left when voxels are left out, at `SHARES_LEFT_OUT`.

    Attributes:
        by_uncertainty: the widest half-widths first.
        by_error: the largest errors first, the best that is possible.
    """

    by_uncertainty: tuple[float, ...]
    by_error: tuple[float, ...]


def coverage(error: NDArray[np.float64], half_width: NDArray[np.float64]) -> float:
    """Share of voxels whose absolute error is at most the half-width, in [0, 1].

    Args:
        error: prediction - truth, `(N,)`.
        half_width: in the same unit, `(N,)`.
    """
    return float((np.abs(error) <= half_width).mean())


def error_share_of_top(error: NDArray[np.float64], half_width: NDArray[np.float64]) -> float:
    """Share of the squared error in the tenth of voxels with the widest half-widths; 0.1 is chance, 1 the most.

    NaN where there is no error at all; arguments as in `coverage`.
    """
    squares = np.square(error)
    num = max(1, round(TOP_SHARE * error.size))
    widest = np.argsort(-half_width, kind="stable")[:num]
    total = squares.sum()
    return float(squares[widest].sum() / total) if total > 0 else float("nan")


def sparsification(error: NDArray[np.float64], half_width: NDArray[np.float64]) -> Sparsification:
    """The curve of a region (Ilg et al. 2018); arguments as in `coverage`."""
    squares = np.square(error)
    return Sparsification(_rmse_left(squares, half_width), _rmse_left(squares, squares))


def _rmse_left(squares: NDArray[np.float64], order: NDArray[np.float64]) -> tuple[float, ...]:
    sums = np.cumsum(squares[np.argsort(order, kind="stable")])
    left = [max(1, round((1 - share) * squares.size)) for share in SHARES_LEFT_OUT]
    return tuple(round(float(np.sqrt(sums[num - 1] / num)), 6) for num in left)
