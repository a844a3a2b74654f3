"""Baselines: predictions of the target from pooled training intensities, without learning."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from volumetric.batch.progress import progress
from volumetric.errors import InputError
from volumetric.evaluation.subject import read_normalized
from volumetric.imaging.geometry import Space, same_space
from volumetric.imaging.intensity import PooledIntensities
from volumetric.manifest import ManifestRow

log = logging.getLogger(__name__)

MEAN_TARGET = "mean_target"
"""Method name of the voxelwise mean of the training targets, where they share a grid."""
_MAX_GRIDS = 4
_LEVELS = np.linspace(0, 1, 1001)


@dataclass
class _GridSum:
    space: Space
    total: NDArray[np.float32]
    number: int = 1


@dataclass
class TrainingIntensities:
    """The pooled in-mask intensities of the training subjects, in reference units; fixed memory, any order.

    Attributes:
        target: distribution of the target.
        moments: sums over voxels of `s^(i + j)`, `(4, 4)`, with s the source.
        cross: sums of `s^i t`, `(4,)`, with t the target.
        num_subjects: subjects in it.
        sums: by grid, the summed targets of the subjects on it and their number; at most `_MAX_GRIDS` grids.
    """

    target: PooledIntensities = field(default_factory=PooledIntensities)
    moments: NDArray[np.float64] = field(default_factory=lambda: np.zeros((4, 4)))
    cross: NDArray[np.float64] = field(default_factory=lambda: np.zeros(4))
    num_subjects: int = 0
    sums: list[_GridSum] = field(default_factory=list)

    def add(self, source: NDArray[np.float64], target: NDArray[np.float64]) -> None:
        """Add the voxels of one subject's mask, each `(N,)`."""
        # By sums, since the last bits of a product of matrices depend on the number of threads.
        powers = np.vander(source, 7, increasing=True).T.copy()
        self.moments += powers.sum(axis=1)[np.add.outer(np.arange(4), np.arange(4))]
        self.cross += (powers[:4] * target).sum(axis=1)
        self.target.add(target)
        self.num_subjects += 1

    def add_on_grid(self, truth: NDArray[np.float32], space: Space) -> None:
        """Add one subject's target `(I, J, K)`, 0 outside the mask, to the mean of those on the same grid."""
        for held in self.sums:
            if same_space(held.space, space):
                held.total += truth
                held.number += 1
                return
        if len(self.sums) < _MAX_GRIDS:
            self.sums.append(_GridSum(space, truth.copy()))

    def mean_target(self, space: Space) -> NDArray[np.float32] | None:
        """Voxelwise mean of the training targets on this grid; None where fewer than two subjects share it."""
        for held in self.sums:
            if held.number > 1 and same_space(held.space, space):
                return held.total / np.float32(held.number)
        return None


def pool_training(rows: Sequence[ManifestRow], source: str, target: str) -> TrainingIntensities:
    """Pool the training subjects; one that cannot be read is logged and left out."""
    pooled = TrainingIntensities()
    with progress("baselines: reading train", len(rows), "subjects") as advance:
        for row in rows:
            try:
                subject = read_normalized(row, source, target)
            except (InputError, OSError) as error:
                log.warning("left out of the baselines: %s", error)
            else:
                pooled.add(*(image[subject.mask].astype(np.float64) for image in (subject.source, subject.truth)))
                pooled.add_on_grid(subject.truth, subject.space)
            advance(row.name)
    return pooled


def constant(source: NDArray[np.float64], training: TrainingIntensities) -> NDArray[np.float64]:
    """The mean of the training target everywhere: of all constants the one with the best pooled PSNR."""
    return np.full_like(source, training.target.mean)


def identity(source: NDArray[np.float64], training: TrainingIntensities) -> NDArray[np.float64]:
    """The source itself."""
    return source


def histogram_match(source: NDArray[np.float64], training: TrainingIntensities) -> NDArray[np.float64]:
    """The source with its in-mask distribution replaced by that of the training target."""
    return np.interp(_rank(source), _LEVELS, training.target.quantile(_LEVELS))


def inverted_histogram_match(source: NDArray[np.float64], training: TrainingIntensities) -> NDArray[np.float64]:
    """As `histogram_match`, dark for bright: T1w and T2w are roughly each other's negative in the brain."""
    return np.interp(1 - _rank(source), _LEVELS, training.target.quantile(_LEVELS))


def cubic(source: NDArray[np.float64], training: TrainingIntensities) -> NDArray[np.float64]:
    """The cubic polynomial of the source that fits the pooled training target best in least squares."""
    coefficients = np.linalg.lstsq(training.moments, training.cross, rcond=None)[0]
    return np.polynomial.polynomial.polyval(source, coefficients)


BASELINES: Mapping[str, Callable[[NDArray[np.float64], TrainingIntensities], NDArray[np.float64]]] = {
    "constant": constant,
    "identity": identity,
    "histogram_match": histogram_match,
    "inverted_histogram_match": inverted_histogram_match,
    "cubic": cubic,
}
"""Name -> function from a subject's in-mask source `(N,)` in reference units to its prediction `(N,)`."""


def _rank(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """For each value the fraction of values below it, in [0, 1]."""
    levels, codes = np.quantile(values, _LEVELS), _LEVELS
    distinct = np.r_[True, np.diff(levels) > 0]
    return np.interp(values, levels[distinct], codes[distinct])
