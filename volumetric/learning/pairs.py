"""Training pairs in model space: read from their scans once, then memory-mapped."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from volumetric.batch.subjects import progress
from volumetric.config.run import RunConfig
from volumetric.errors import InputError
from volumetric.imaging.intensity import PooledIntensities, reference_scale, standard_units
from volumetric.imaging.mask import brain_mask
from volumetric.imaging.nifti import Image, read_image, read_labels
from volumetric.learning.cache import cached, mapped
from volumetric.manifest import ManifestError, Row
from volumetric.model.space import check_one_grid, view_in_model_space
from volumetric.model.spec import AffineMap, TrainingStatistics
from volumetric.outputs import hash_file, hash_json, versions

log = logging.getLogger(__name__)

RECIPE = 1
"""Raised whenever the same scans begin to give other arrays."""

_QUANTILES = np.array([0.01, 0.25, 0.5, 0.75, 0.99])
_MAX_CENTRES = 100_000  # remembered foreground voxels of a volume: enough that patches fall anywhere


@dataclass(frozen=True)
class Pair:
    """One subject in model space, on disk.

    Attributes:
        name: the subject.
        folder: where its arrays lie; each property maps one of them into memory.
    """

    name: str
    folder: Path

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
        """Boolean `(1, I, J, K)`."""
        return mapped(self.folder, "mask")

    @property
    def centres(self) -> NDArray[np.int64]:
        """Flat indices of voxels of the mask, evenly thinned."""
        return mapped(self.folder, "centres")

    @property
    def standard(self) -> NDArray[np.float64]:
        """`(C, 2)`: mean and SD of each source in the mask, reference units."""
        return mapped(self.folder, "standard")

    @property
    def num_bytes(self) -> int:
        """Space that its arrays take on disk, and in memory while there is enough."""
        return sum(file.stat().st_size for file in self.folder.iterdir())

    @property
    def spacing_mm(self) -> NDArray[np.float64]:
        """Of the scan, RAS axes, `(3,)`."""
        return mapped(self.folder, "spacing_mm")


@dataclass
class CohortStatistics:
    """The pooled in-mask intensities of people, in reference units, on their own grids."""

    sources: dict[str, PooledIntensities] = field(default_factory=dict)
    target: PooledIntensities = field(default_factory=PooledIntensities)

    def target_map(self) -> AffineMap:
        """To mean 0 and SD 1 over all training voxels."""
        return _to_standard(self.target)

    def source_maps(self) -> tuple[AffineMap, ...]:
        """The same for each source."""
        return tuple(_to_standard(pooled) for pooled in self.sources.values())

    def describe(self, pairs: Sequence[Pair]) -> TrainingStatistics:
        """What `model.yaml` keeps of them."""
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


def _to_standard(pooled: PooledIntensities) -> AffineMap:
    return AffineMap(center=pooled.mean, scale=pooled.sd)


def pool(pairs: Sequence[Pair], config: RunConfig) -> CohortStatistics:
    """The statistics of people that were read."""
    statistics = CohortStatistics({contrast: PooledIntensities() for contrast in config.task.sources})
    for pair in pairs:
        for contrast in (*config.task.sources, config.task.target):
            pooled = statistics.target if contrast == config.task.target else statistics.sources[contrast]
            total, squares = mapped(pair.folder, f"sums_{contrast}").tolist()
            pooled.merge(mapped(pair.folder, f"histogram_{contrast}"), total, squares)
    return statistics


def read_pairs(rows: Sequence[Row], config: RunConfig, cache: Path, *, title: str) -> list[Pair]:
    """Bring subjects into model space, or find them there.

    Args:
        rows: the subjects.
        config: which contrasts and which spacing.
        cache: folder of the arrays, keyed by the scans' content, the transforms and the versions.
        title: the word on the progress bar.

    Raises:
        ManifestError: listing every subject that cannot be used and why.
    """
    pairs: list[Pair] = []
    problems: list[str] = []
    with progress(title, len(rows), "subjects") as advance:
        for row in rows:
            try:
                folder = cached(cache, _key(row, config), lambda row=row: _arrays(row, config))  # type: ignore[misc]
                pairs.append(Pair(row.name, folder))
            except InputError as error:
                text = str(error)
                problems.append(text if text.startswith("subject ") else f"subject {row.name}: {text}")
            advance(row.name)
    if problems:
        raise ManifestError("training needs every pair to be usable; mend or leave out:\n  " + "\n  ".join(problems))
    log.info(
        "%s: %d subjects, %.2f GB in %s, memory-mapped; this machine has %.0f GB of memory",
        title, len(pairs), sum(pair.num_bytes for pair in pairs) / 1e9, cache,
        os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 1e9,
    )  # fmt: skip
    return pairs


def _key(row: Row, config: RunConfig) -> str:
    contrasts = (*config.task.sources, config.task.target)
    files = {column: hash_file(row.path(column)) for column in (*contrasts, "mask") if column in row.paths}
    return hash_json(
        {"recipe": RECIPE, "contrasts": contrasts, "spacing_mm": config.space.spacing_mm, "files": files}
        | {"versions": versions()}
    )


def _arrays(row: Row, config: RunConfig) -> dict[str, NDArray[np.generic]]:
    contrasts = (*config.task.sources, config.task.target)
    images: dict[str, Image] = {contrast: read_image(row.path(contrast)) for contrast in contrasts}
    given = read_labels(row.path("mask")) if "mask" in row.paths else None
    check_one_grid(images, name=row.name)
    scan = images[config.task.sources[0]]
    brain = brain_mask(scan, given, name=str(row.path(config.task.sources[0])))
    arrays: dict[str, NDArray[np.generic]] = {}
    for contrast, image in images.items():
        scale = reference_scale(image.array, brain.array, name=str(row.path(contrast)))
        pooled = PooledIntensities()
        pooled.add(image.array[brain.array] / scale)
        arrays[f"histogram_{contrast}"] = np.trim_zeros(pooled.counts, "b")
        arrays[f"sums_{contrast}"] = np.array([pooled.total, pooled.total_squares])
    view = view_in_model_space(scan.space, brain.array, config.space.spacing_mm)
    brought = view.bring(*images.values())
    centres = np.flatnonzero(view.mask)
    return arrays | {
        "sources": brought[:-1],
        "target": brought[-1:],
        "mask": view.mask[None],
        "centres": centres[:: max(1, centres.size // _MAX_CENTRES)],
        "standard": np.array([standard_units(source, view.mask) for source in brought[:-1]]),
        "spacing_mm": np.asarray(view.flips.apply_to_space(scan.space).spacing_mm),
    }
