"""Judgment of a network's output: finite, not constant, and of the size of an image's signal."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from volumetric.errors import InputError

_LEAST_SPREAD = 1e-3
_LEAST_HIGH = 0.02
_MOST_HIGH = 20.0
"""All as fractions of the data range, the 99.5th percentile of the training targets. A prediction's own is near 1."""
_ENOUGH_VOXELS = 100_000


class PredictionError(InputError):
    """An output of the network that is no image of a brain."""


def check_prediction(units: NDArray[np.float32], mask: NDArray[np.bool_], data_range: float) -> None:
    """Check that a network's output can be an image.

    Args:
        units: `(I, J, K)` in reference units.
        mask: `(I, J, K)`, where the output counts.
        data_range: of the model, reference units.

    Raises:
        PredictionError: a voxel in the mask is not finite, all are the same or negative, or the values are far from
            the model's data range.
    """
    inside = units[mask]
    low, high = float(inside.min()), float(inside.max())
    if not np.isfinite([low, high]).all():
        _refuse("has voxels that are NaN or infinite")
    if max(high, 0) - max(low, 0) < _LEAST_SPREAD * data_range:
        _refuse(f"is constant in the mask ({max(high, 0):.3g} everywhere)")
    usual = float(np.quantile(inside[:: max(1, inside.size // _ENOUGH_VOXELS)], 0.995))
    if not _LEAST_HIGH * data_range <= usual <= _MOST_HIGH * data_range:
        _refuse(f"has a 99.5th percentile of {usual:.3g} in the mask, where the model's data range is {data_range:.3g}")


def _refuse(problem: str) -> None:
    raise PredictionError(
        f"the prediction {problem}, so it is not written; check the model (its weights and model.yaml) and the scan"
    )
