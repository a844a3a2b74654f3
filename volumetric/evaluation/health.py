"""Whether prediction and truth can be compared at all: the shift between them, and whose head it is."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from itertools import product
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import binary_erosion, gaussian_gradient_magnitude

from volumetric.imaging.geometry import bounding_box

_REACH_VOX = 3
_BLOCK_MM = 8.0
_REACH_MM = 160.0
MIN_RESEMBLANCE = 0.5
MARGIN = 0.15
"""Another person's truth must correlate with a prediction by this much more than its own, to be called a swap."""

Volume = NDArray[np.float32]
Mask = NDArray[np.bool_]


def shift_mm(truth: Volume, prediction: Volume, mask: Mask, spacing_mm: NDArray[np.float64]) -> float:
    """How far the prediction lies from the truth: where the correlation of their edges is highest.

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

    best = (0, 0, 0)
    while True:
        near = [
            offset
            for step in product((-1, 0, 1), repeat=3)
            if max(map(abs, offset := (best[0] + step[0], best[1] + step[1], best[2] + step[2]))) <= _REACH_VOX
        ]
        better = max(near, key=correlation)
        if not correlation(better) > correlation(best):
            break
        best = better
    peak = correlation(best)
    if not np.isfinite(peak):
        return float("nan")
    shift = np.array(best, dtype=np.float64)
    for axis in range(3):
        if abs(best[axis]) == _REACH_VOX:
            continue
        step = np.eye(3, dtype=int)[axis]
        before, after = correlation(best - step), correlation(best + step)
        bend = before - 2 * peak + after
        shift[axis] += (before - after) / (2 * bend) if bend < 0 else 0
    return float(np.linalg.norm(shift * spacing_mm))


def clipped_fraction(prediction: Volume, mask: Mask) -> float:
    """Share of the mask's voxels at an end of the scale: 0 or less, or at the highest value where several share it."""
    values = prediction[mask]
    highest = values == values.max()
    return float(((values <= 0) | highest if highest.sum() > 1 else values <= 0).mean())


class Likeness(NamedTuple):
    """A head in blocks of 8 mm of world space, small enough to keep one of every person.

    Attributes:
        blocks: their numbers, `(B,)`, ascending.
        truth: mean of the truth in each, `(B,)`.
        prediction: of the prediction.
    """

    blocks: NDArray[np.int32]
    truth: NDArray[np.float32]
    prediction: NDArray[np.float32]

    def pack(self) -> dict[str, str]:
        """As text for JSON; `unpack` is the way back, exact."""
        return {name: base64.b64encode(array.tobytes()).decode() for name, array in self._asdict().items()}

    @classmethod
    def unpack(cls, packed: Mapping[str, str]) -> Likeness:
        """From `pack`."""
        data = {name: base64.b64decode(packed[name]) for name in cls._fields}
        return cls(
            np.frombuffer(data["blocks"], np.int32),
            np.frombuffer(data["truth"], np.float32),
            np.frombuffer(data["prediction"], np.float32),
        )


def likeness(truth: Volume, prediction: Volume, mask: Mask, affine: NDArray[np.float64]) -> Likeness:
    """Mean intensities of blocks that lie at least half in the mask."""
    world = np.argwhere(mask) @ affine[:3, :3].T + affine[:3, 3]
    side = int(2 * _REACH_MM / _BLOCK_MM)
    cell = ((world + _REACH_MM) // _BLOCK_MM).astype(int).clip(0, side - 1)
    numbers, place, counts = np.unique(
        np.ravel_multi_index(tuple(cell.T), (side,) * 3), return_inverse=True, return_counts=True
    )
    full = counts >= 0.5 * _BLOCK_MM**3 / abs(np.linalg.det(affine[:3, :3]))
    means = [(np.bincount(place, weights=image[mask]) / counts)[full] for image in (truth, prediction)]
    return Likeness(numbers[full].astype(np.int32), *(values.astype(np.float32) for values in means))


def resembled(own: str, everybody: Mapping[str, Likeness]) -> str | None:
    """Whom else a prediction shows: a sentence, or None where it shows its own person best.

    Pearson's r over common blocks of the prediction with each truth. Another person is named where r is over 0.5 and
    0.15 higher than with the own truth.
    """
    prediction = everybody[own]
    found = {name: _correlation(prediction, other) for name, other in everybody.items()}
    other = max(found, key=lambda name: found[name])
    if found[other] < max(MIN_RESEMBLANCE, found[own] + MARGIN):
        return None
    return (
        f"the prediction resembles the truth of {other} (r = {found[other]:.2f}) more than its own "
        f"(r = {found[own]:.2f}); check that files and rows were not swapped"
    )


def _correlation(prediction: Likeness, truth: Likeness) -> float:
    _, a, b = np.intersect1d(prediction.blocks, truth.blocks, assume_unique=True, return_indices=True)
    x, y = prediction.prediction[a], truth.truth[b]
    if x.size < 8 or x.std() == 0 or y.std() == 0:
        return 0.0
    return float(np.corrcoef(x, y)[0, 1])
