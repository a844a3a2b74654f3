"""A training pair in model space: its arrays on disk, memory-mapped when they are used."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from volumetric.learning.anatomies import TrainingAnatomy
from volumetric.learning.cache import mapped


def volume_arrays(contrasts: Sequence[str]) -> list[str]:
    """The names of the arrays of a pair's folder."""
    counts = [f"{kind}_{contrast}" for contrast in contrasts for kind in ("histogram", "sums")]
    return ["sources", "target", "mask", "brain", "affine", "centers", "spacing_mm", *counts]


@dataclass(frozen=True)
class TrainingPair:
    """Sources and target of one subject in model space, on disk.

    Attributes:
        name: the subject.
        folder: of its arrays; each property maps one of them into memory.
        measurements: folder of what depends on the normalization too.
        missing: source contrasts that the subject lacks; they are 0.
        anatomy: its label map, where sources are simulated from it.
    """

    name: str
    folder: Path
    measurements: Path
    missing: tuple[str, ...] = ()
    anatomy: TrainingAnatomy | None = None

    @property
    def sources(self) -> NDArray[np.float32]:
        """float32 `(C, I, J, K)`, reference units."""
        return mapped(self.folder, "sources")

    @property
    def target(self) -> NDArray[np.float32]:
        """float32 `(1, I, J, K)`, reference units."""
        return mapped(self.folder, "target")

    @property
    def mask(self) -> NDArray[np.bool_]:
        """Region that is learned, boolean `(1, I, J, K)`: the brain, or the head where the target's scan reaches."""
        return mapped(self.folder, "mask")

    @property
    def brain(self) -> NDArray[np.bool_]:
        """Brain mask, boolean `(1, I, J, K)`: where intensities are measured."""
        return mapped(self.folder, "brain")

    @property
    def affine(self) -> NDArray[np.float64]:
        """Voxel index of these arrays -> world mm, `(4, 4)`."""
        return mapped(self.folder, "affine")

    @property
    def centers(self) -> NDArray[np.int64]:
        """Flat indices of voxels of the mask, evenly thinned."""
        return mapped(self.folder, "centers")

    @property
    def measured(self) -> NDArray[np.float64]:
        """`(C, N)`: what the normalization takes from each source itself, such as mean and SD."""
        return mapped(self.measurements, "measured")

    @property
    def spacing_mm(self) -> NDArray[np.float64]:
        """Of the scan, RAS axes, `(3,)`."""
        return mapped(self.folder, "spacing_mm")

    @property
    def num_bytes(self) -> int:
        """Size of its arrays on disk, and in memory while there is enough."""
        return sum(file.stat().st_size for file in self.folder.iterdir())

    def histogram(self, contrast: str) -> NDArray[np.int64]:
        """In-mask intensities of a contrast on the scan's own grid, as `PooledIntensities` counts them."""
        return mapped(self.folder, f"histogram_{contrast}")

    def sums(self, contrast: str) -> NDArray[np.float64]:
        """Sum and sum of squares of the same intensities, `(2,)`."""
        return mapped(self.folder, f"sums_{contrast}")
