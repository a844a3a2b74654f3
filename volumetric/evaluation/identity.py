"""Identity of the subject that a prediction shows, so that swapped files are noticed."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from volumetric.records.evaluation import PackedBlockMeans

_BLOCK_MM = 8.0
_REACH_MM = 160.0
MIN_RESEMBLANCE = 0.5
MARGIN = 0.15
"""Another subject's truth must correlate with a prediction by this much more than its own, to be called a swap."""
_FEWEST = 8
"""Common blocks that an r needs."""
_FLAT = 1e-9
"""Share of the variance in the mean square below which values count as equal."""
_ROWS = 500
"""Subjects at a time, so that the arrays have some 20 MB."""


class BlockMeans(NamedTuple):
    """Truth and prediction of a subject in blocks of 8 mm of world space, small enough to keep those of a cohort.

    Attributes:
        blocks: their numbers, `(B,)`, ascending.
        truth: mean of the truth in each, `(B,)`.
        prediction: of the prediction.
    """

    blocks: NDArray[np.int32]
    truth: NDArray[np.float32]
    prediction: NDArray[np.float32]

    def pack(self) -> PackedBlockMeans:
        """As text for JSON; `unpack` is the way back, exact."""
        blocks, truth, prediction = (base64.b64encode(array.tobytes()).decode() for array in self)
        return PackedBlockMeans(blocks=blocks, truth=truth, prediction=prediction)

    @classmethod
    def unpack(cls, packed: PackedBlockMeans) -> BlockMeans:
        """From `pack`."""
        return cls(
            np.frombuffer(base64.b64decode(packed.blocks), np.int32),
            np.frombuffer(base64.b64decode(packed.truth), np.float32),
            np.frombuffer(base64.b64decode(packed.prediction), np.float32),
        )


def block_means(
    truth: NDArray[np.float32],
    prediction: NDArray[np.float32],
    mask: NDArray[np.bool_],
    affine: NDArray[np.float64],
) -> BlockMeans:
    """Mean intensities of blocks that lie at least half in the mask."""
    world = np.argwhere(mask) @ affine[:3, :3].T + affine[:3, 3]
    side = int(2 * _REACH_MM / _BLOCK_MM)
    cell = ((world + _REACH_MM) // _BLOCK_MM).astype(int).clip(0, side - 1)
    numbers, place, counts = np.unique(
        np.ravel_multi_index(tuple(cell.T), (side,) * 3), return_inverse=True, return_counts=True
    )
    full = counts >= 0.5 * _BLOCK_MM**3 / abs(np.linalg.det(affine[:3, :3]))
    means = [(np.bincount(place, weights=image[mask]) / counts)[full] for image in (truth, prediction)]
    return BlockMeans(numbers[full].astype(np.int32), *(values.astype(np.float32) for values in means))


def find_swaps(cohort: Mapping[str, BlockMeans]) -> dict[str, str]:
    """By subject, a sentence about the other one that its prediction shows; none for what shows its own subject best.

    Pearson's r over common blocks of the prediction with each truth. Another subject is named where r is over 0.5 and
    0.15 higher than with the own truth; so a prediction whose own r is above 0.85 is compared with no other.

    Args:
        cohort: by name, all subjects.
    """
    names = list(cohort)
    own = np.array([_correlation(means, means) for means in cohort.values()])
    needed = np.maximum(MIN_RESEMBLANCE, own + MARGIN)
    doubtful = np.flatnonzero(needed <= 1)
    swaps = {}
    for start in range(0, len(doubtful), _ROWS):
        rows = doubtful[start : start + _ROWS]
        found = _correlations([cohort[names[row]] for row in rows], list(cohort.values()))
        for row, values in zip(rows, found, strict=True):
            other = int(values.argmax())
            if values[other] >= needed[row]:
                swaps[names[row]] = (
                    f"the prediction resembles the truth of {names[other]} (r = {values[other]:.2f}) more than its own "
                    f"(r = {own[row]:.2f}); check that files and rows were not swapped"
                )
    return swaps


def _correlations(predictions: Sequence[BlockMeans], truths: Sequence[BlockMeans]) -> NDArray[np.float64]:
    """r of each prediction with each truth, `(P, T)`, from sums over the blocks that both have."""
    numbers = np.unique(np.concatenate([means.blocks for means in predictions]))
    x, in_x = _dense([(means.blocks, means.prediction) for means in predictions], numbers)
    parts = []
    for start in range(0, len(truths), _ROWS):
        y, in_y = _dense([(means.blocks, means.truth) for means in truths[start : start + _ROWS]], numbers)
        n, sum_x, sum_y, sum_xx, sum_yy = in_x @ in_y.T, x @ in_y.T, in_x @ y.T, x**2 @ in_y.T, in_x @ (y**2).T
        var_x, var_y = n * sum_xx - sum_x**2, n * sum_yy - sum_y**2
        usable = (n >= _FEWEST) & (var_x > _FLAT * n * sum_xx) & (var_y > _FLAT * n * sum_yy)
        covariance = n * (x @ y.T) - sum_x * sum_y
        parts.append(np.where(usable, covariance / np.sqrt(np.where(usable, var_x * var_y, 1)), 0))
    return np.concatenate(parts, axis=1)


def _dense(
    subjects: Sequence[tuple[NDArray[np.int32], NDArray[np.float32]]], numbers: NDArray[np.int32]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Means in the blocks `numbers`, `(S, B)`, 0 where a subject has none; and 1 where it has one.

    A subject's own mean is subtracted, which changes no r: small sums keep their digits.
    """
    values, present = np.zeros((2, len(subjects), len(numbers)))
    for row, (blocks, means) in enumerate(subjects):
        _, there, here = np.intersect1d(numbers, blocks, assume_unique=True, return_indices=True)
        values[row, there] = means[here] - means.mean()
        present[row, there] = 1
    return values, present


def _correlation(prediction: BlockMeans, truth: BlockMeans) -> float:
    _, a, b = np.intersect1d(prediction.blocks, truth.blocks, assume_unique=True, return_indices=True)
    x, y = prediction.prediction[a], truth.truth[b]
    if x.size < _FEWEST or x.std() == 0 or y.std() == 0:
        return 0.0
    return float(np.corrcoef(x, y)[0, 1])
