"""Intensity statistics of the training subjects, and what a normalization learns from them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

import numpy as np

from volumetric.config.run import RunConfig
from volumetric.imaging.intensity import PooledIntensities
from volumetric.imaging.normalization import NORMALIZERS
from volumetric.learning.anatomies import TrainingAnatomy
from volumetric.learning.mixture import simulated_intensities
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

    def describe(
        self, pairs: Sequence[TrainingPair], anatomies: Sequence[TrainingAnatomy], config: RunConfig
    ) -> TrainingStatistics:
        """Summary of them for `model.yaml`."""
        simulated_mm = [np.array(config.space.spacing_mm)] if anatomies else []
        spacings = np.stack([*(pair.spacing_mm for pair in pairs), *simulated_mm]).round(4)
        low, high = spacings.min(axis=0).tolist(), spacings.max(axis=0).tolist()
        return TrainingStatistics(
            num_subjects=len(pairs),
            num_label_maps=len(anatomies) + sum(pair.anatomy is not None for pair in pairs),
            source_quantiles={
                contrast: tuple(pooled.quantile(_QUANTILES).round(4).tolist())
                for contrast, pooled in self.sources.items()
            },
            spacing_mm_low=tuple(low),
            spacing_mm_high=tuple(high),
        )


def intensities_of(pair: TrainingPair, contrast: str) -> PooledIntensities:
    """The in-mask intensities of one contrast of a subject, in reference units, on the scan's own grid."""
    own = PooledIntensities()
    total, squares = pair.sums(contrast).tolist()
    own.merge(pair.histogram(contrast), total, squares)
    return own


IntensitiesOfSubjects = Mapping[str, Callable[[], Iterable[PooledIntensities]]]
"""By contrast, the intensities of one subject after another."""


def intensities(
    pairs: Sequence[TrainingPair], anatomies: Sequence[TrainingAnatomy], config: RunConfig
) -> IntensitiesOfSubjects:
    """The intensities of the scanned pairs, or, where there are none, of some simulated ones."""
    contrasts = config.task.images
    if pairs:
        return {contrast: partial(_each, pairs, contrast) for contrast in contrasts}
    simulated = dict(zip(contrasts, simulated_intensities(anatomies, config), strict=True))
    return {contrast: partial(list, own) for contrast, own in simulated.items()}


def pool(subjects: IntensitiesOfSubjects, config: RunConfig) -> CohortStatistics:
    """The statistics of all subjects."""
    statistics = CohortStatistics({contrast: PooledIntensities() for contrast in config.task.images[:-1]})
    for contrast, pooled in {**statistics.sources, config.task.target: statistics.target}.items():
        for own in subjects[contrast]():
            pooled.merge(own.counts, own.total, own.total_squares)
    return statistics


def source_maps(subjects: IntensitiesOfSubjects, config: RunConfig) -> tuple[AffineMap | StandardLandmarks, ...]:
    """Maps that the normalization learns from the training subjects, one a source; empty where it learns none."""
    name = config.intensity.source_normalization
    learn = NORMALIZERS[name].learn
    if learn is None:
        return ()
    return tuple(SOURCE_MAPS[name].from_numbers(learn(subjects[contrast]())) for contrast in config.task.sources)


def _each(pairs: Sequence[TrainingPair], contrast: str) -> Iterator[PooledIntensities]:
    for pair in (pair for pair in pairs if contrast not in pair.missing):
        yield intensities_of(pair, contrast)
