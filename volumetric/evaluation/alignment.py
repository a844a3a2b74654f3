"""Shift between a prediction and its truth."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import product

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import binary_erosion, gaussian_gradient_magnitude

from volumetric.imaging.geometry import bounding_box

_REACH_VOX = 3

_Offset = tuple[int, int, int]


def shift_mm(
    truth: NDArray[np.float32],
    prediction: NDArray[np.float32],
    mask: NDArray[np.bool_],
    spacing_mm: NDArray[np.float64],
) -> float:
    """Displacement of the prediction from the truth, where the correlation of their edges is highest.

    Gradient magnitudes (Gaussian, 1 voxel) are correlated inside the mask, away from its rim, at all shifts of up to 3
    voxels along each axis; a parabola through the best and its neighbors along each axis gives the fraction.

    Returns:
        mm, 0 or more; NaN where the brain is too small or an image has no edges in it.
    """
    inner = binary_erosion(mask, iterations=_REACH_VOX + 2)
    if not inner.any():
        return float("nan")
    box = bounding_box(inner)
    wide = tuple(slice(max(s.start - _REACH_VOX - 4, 0), s.stop + _REACH_VOX + 4) for s in box)
    edges = [gaussian_gradient_magnitude(image[wide], 1.0) for image in (truth, prediction)]
    place = np.argwhere(inner[wide])
    fixed = edges[0][tuple(place.T)].astype(np.float64)

    def correlation(offset: Sequence[int]) -> float:
        moved = edges[1][tuple((place + offset).T)].astype(np.float64)
        spread = fixed.std() * moved.std()
        return float(((fixed - fixed.mean()) * (moved - moved.mean())).mean() / spread) if spread > 0 else float("nan")

    best = _highest(correlation)
    if not np.isfinite(correlation(best)):
        return float("nan")
    return float(np.linalg.norm(_refined(best, correlation) * spacing_mm))


def _highest(correlation: Callable[[Sequence[int]], float]) -> _Offset:
    """The whole-voxel offset of the highest correlation, climbing from no offset."""
    best = (0, 0, 0)
    while True:
        near = [
            offset
            for step in product((-1, 0, 1), repeat=3)
            if max(map(abs, offset := (best[0] + step[0], best[1] + step[1], best[2] + step[2]))) <= _REACH_VOX
        ]
        better = max(near, key=correlation)
        if not correlation(better) > correlation(best):
            return best
        best = better


def _refined(best: _Offset, correlation: Callable[[Sequence[int]], float]) -> NDArray[np.float64]:
    """The peak of a parabola along each axis; at the end of the reach, the whole voxel."""
    peak = correlation(best)
    shift = np.array(best, dtype=np.float64)
    for axis in range(3):
        if abs(best[axis]) == _REACH_VOX:
            continue
        step = np.eye(3, dtype=int)[axis]
        before, after = correlation(best - step), correlation(best + step)
        bend = before - 2 * peak + after
        shift[axis] += (before - after) / (2 * bend) if bend < 0 else 0
    return shift
