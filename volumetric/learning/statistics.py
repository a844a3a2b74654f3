"""Intensity statistics of the training subjects, and what a normalization learns from them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from volumetric.config.run import RunConfig
from volumetric.imaging.intensity import PooledIntensities
from volumetric.imaging.normalization import NORMALIZERS
from volumetric.learning.pairs import TrainingPair
from volumetric.model.spec import SOURCE_MAPS, AffineMap, StandardLandmarks, TrainingStatistics

_QUANTILES = np.array([0.01, 0.25, 0.5, 0.75, 0.99])


@dataclass
class CohortStatistics:
    """Pooled in-mask intensities of subjects, in reference units, on their own grids."""

    sources: dict[str, PooledIntensities] = field(default_factory=dict)
    target: PooledIntensities = field(default_factory=PooledIntensities)

    def target_map(self) -> AffineMap:
        """To mean 0 and SD 1 over all training voxels."""
        return AffineMap(center=self.target.mean, scale=self.target.sd)

    def describe(self, pairs: Sequence[TrainingPair]) -> TrainingStatistics:
        """Summary of them for `model.yaml`."""
        spacings = np.stack([pair.spacing_mm for pair in pairs]).round(4)
        low, high = spacings.min(axis=0).tolist(), spacings.max(axis=0).tolist()
        return TrainingStatistics(
            num_subjects=len(pairs),
            source_quantiles={
                contrast: tuple(pooled.quantile(_QUANTILES).round(4).tolist())
                for contrast, pooled in self.sources.items()
            },
            spacing_mm_low=tuple(low),
            spacing_mm_high=tuple(high),
        )


def pool(pairs: Sequence[TrainingPair], config: RunConfig) -> CohortStatistics:
    """The statistics of all pairs."""
    statistics = CohortStatistics({contrast: PooledIntensities() for contrast in config.task.sources})
    for pair in pairs:
        for contrast, pooled in {**statistics.sources, config.task.target: statistics.target}.items():
            _add(pair, contrast, pooled)
    return statistics


def source_maps(pairs: Sequence[TrainingPair], config: RunConfig) -> tuple[AffineMap | StandardLandmarks, ...]:
    """Maps that the normalization learns from the training subjects, one a source; empty where it learns none."""
    name = config.intensity.source_normalization
    learn = NORMALIZERS[name].learn
    if learn is None:
        return ()
    return tuple(SOURCE_MAPS[name].from_numbers(learn(_each(pairs, contrast))) for contrast in config.task.sources)


def _each(pairs: Sequence[TrainingPair], contrast: str) -> Iterator[PooledIntensities]:
    """The intensities of one subject after another."""
    for pair in pairs:
        own = PooledIntensities()
        _add(pair, contrast, own)
        yield own


def _add(pair: TrainingPair, contrast: str, pooled: PooledIntensities) -> None:
    total, squares = pair.sums(contrast).tolist()
    pooled.merge(pair.histogram(contrast), total, squares)
