"""Identity of the subject that a prediction shows, so that swapped files are noticed."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from volumetric.records.evaluation import PackedBlockMeans

_BLOCK_MM = 8.0
_REACH_MM = 160.0
MIN_RESEMBLANCE = 0.5
MARGIN = 0.15
"""Another subject's truth must correlate with a prediction by this much more than its own, to be called a swap."""


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


def find_swap(own: str, cohort: Mapping[str, BlockMeans]) -> str | None:
    """A sentence about the other subject that a prediction shows; None where it shows its own subject best.

    Pearson's r over common blocks of the prediction with each truth. Another subject is named where r is over 0.5 and
    0.15 higher than with the own truth.

    Args:
        own: name of the subject.
        cohort: by name, all subjects.
    """
    prediction = cohort[own]
    correlations = {name: _correlation(prediction, other) for name, other in cohort.items()}
    other = max(correlations, key=lambda name: correlations[name])
    if correlations[other] < max(MIN_RESEMBLANCE, correlations[own] + MARGIN):
        return None
    return (
        f"the prediction resembles the truth of {other} (r = {correlations[other]:.2f}) more than its own "
        f"(r = {correlations[own]:.2f}); check that files and rows were not swapped"
    )


def _correlation(prediction: BlockMeans, truth: BlockMeans) -> float:
    _, a, b = np.intersect1d(prediction.blocks, truth.blocks, assume_unique=True, return_indices=True)
    x, y = prediction.prediction[a], truth.truth[b]
    if x.size < 8 or x.std() == 0 or y.std() == 0:
        return 0.0
    return float(np.corrcoef(x, y)[0, 1])
