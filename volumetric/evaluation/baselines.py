"""What can be had without learning: predictions of the target from pooled training intensities alone."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from volumetric.batch.subjects import progress
from volumetric.errors import InputError
from volumetric.evaluation.pairing import read_scored
from volumetric.imaging.geometry import Space, same_space
from volumetric.imaging.intensity import PooledIntensities
from volumetric.manifest import ManifestRow

log = logging.getLogger(__name__)

Values = NDArray[np.float64]
MEAN_TARGET = "mean_target"
"""How the `method` column calls the voxelwise mean of the training targets, where they share a grid."""
_MAX_GRIDS = 4
_LEVELS = np.linspace(0, 1, 1001)


@dataclass
class _GridSum:
    space: Space
    total: NDArray[np.float32]
    number: int = 1


@dataclass
class TrainingIntensities:
    """The pooled in-mask intensities of the training people, in reference units; fixed memory, any order.

    Attributes:
        target: distribution of the target.
        moments: sums over voxels of `s^(i + j)`, `(4, 4)`, with s the source.
        cross: sums of `s^i t`, `(4,)`, with t the target.
        num_subjects: people in it.
        sums: by grid, the summed targets of the people on it and their number; at most `_MAX_GRIDS` grids.
    """

    target: PooledIntensities = field(default_factory=PooledIntensities)
    moments: Values = field(default_factory=lambda: np.zeros((4, 4)))
    cross: Values = field(default_factory=lambda: np.zeros(4))
    num_subjects: int = 0
    sums: list[_GridSum] = field(default_factory=list)

    def add(self, source: Values, target: Values) -> None:
        """Add the voxels of one person's mask, each `(N,)`."""
        powers = np.vander(source, 4, increasing=True)
        self.moments += powers.T @ powers
        self.cross += powers.T @ target
        self.target.add(target)
        self.num_subjects += 1

    def add_on_grid(self, truth: NDArray[np.float32], space: Space) -> None:
        """Add one person's target `(I, J, K)`, 0 outside the mask, to the mean of those on the same grid."""
        for held in self.sums:
            if same_space(held.space, space):
                held.total += truth
                held.number += 1
                return
        if len(self.sums) < _MAX_GRIDS:
            self.sums.append(_GridSum(space, truth.copy()))

    def mean_target(self, space: Space) -> NDArray[np.float32] | None:
        """Voxelwise mean of the training targets on this grid; None where fewer than two people share it."""
        for held in self.sums:
            if held.number > 1 and same_space(held.space, space):
                return held.total / np.float32(held.number)
        return None


def pool_training(rows: Sequence[ManifestRow], source: str, target: str) -> TrainingIntensities:
    """Read the training people; who cannot be read is reported and left out."""
    pooled = TrainingIntensities()
    with progress("baselines: reading train", len(rows), "subjects") as advance:
        for row in rows:
            try:
                scored = read_scored(row, source, target)
            except (InputError, OSError) as error:
                log.warning("left out of the baselines: %s", error)
            else:
                pooled.add(*(image[scored.mask].astype(np.float64) for image in (scored.source, scored.truth)))
                pooled.add_on_grid(scored.truth, scored.grid.space)
            advance(row.name)
    return pooled


def constant(source: Values, training: TrainingIntensities) -> Values:
    """The mean of the training target everywhere: of all constants the one with the best pooled PSNR."""
    return np.full_like(source, training.target.mean)


def identity(source: Values, training: TrainingIntensities) -> Values:
    """The source itself."""
    return source


def histogram_match(source: Values, training: TrainingIntensities) -> Values:
    """The source with its in-mask distribution replaced by that of the training target."""
    return np.interp(_rank(source), _LEVELS, training.target.quantile(_LEVELS))


def inverted_histogram_match(source: Values, training: TrainingIntensities) -> Values:
    """As `histogram_match`, dark for bright: T1w and T2w are roughly each other's negative in the brain."""
    return np.interp(1 - _rank(source), _LEVELS, training.target.quantile(_LEVELS))


def cubic(source: Values, training: TrainingIntensities) -> Values:
    """The cubic polynomial of the source that fits the pooled training target best in least squares."""
    coefficients = np.linalg.lstsq(training.moments, training.cross, rcond=None)[0]
    return np.polynomial.polynomial.polyval(source, coefficients)


BASELINES: Mapping[str, Callable[[Values, TrainingIntensities], Values]] = {
    "constant": constant,
    "identity": identity,
    "histogram_match": histogram_match,
    "inverted_histogram_match": inverted_histogram_match,
    "cubic": cubic,
}
"""Name -> function from a subject's in-mask source `(N,)` in reference units to its prediction `(N,)`."""


def _rank(values: Values) -> Values:
    """For each value the fraction of values below it, in [0, 1]."""
    levels, codes = np.quantile(values, _LEVELS), _LEVELS
    distinct = np.r_[True, np.diff(levels) > 0]
    return np.interp(values, levels[distinct], codes[distinct])
