"""Training pairs in model space: read from their scans once, then memory-mapped."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from volumetric.batch.subjects import progress
from volumetric.config.run import RunConfig
from volumetric.errors import InputError
from volumetric.imaging.intensity import PooledIntensities, reference_scale
from volumetric.imaging.mask import brain_mask
from volumetric.imaging.nifti import Image, read_image, read_labels
from volumetric.imaging.normalization import NORMALIZERS
from volumetric.learning.cache import cached, mapped
from volumetric.machine import memory_bytes
from volumetric.manifest import ManifestError, ManifestRow
from volumetric.model.space import model_space_of
from volumetric.model.spec import SOURCE_MAPS, AffineMap, StandardLandmarks, TrainingStatistics
from volumetric.model.units import measure_sources
from volumetric.outputs import hash_file, hash_json, versions
from volumetric.subject import check_one_grid

log = logging.getLogger(__name__)

RECIPE = 3
"""Raised whenever the same scans begin to give other arrays."""

_QUANTILES = np.array([0.01, 0.25, 0.5, 0.75, 0.99])
_MAX_CENTERS = 100_000  # remembered foreground voxels of a volume: enough that patches fall anywhere


@dataclass(frozen=True)
class Pair:
    """One subject in model space, on disk.

    Attributes:
        name: the subject.
        folder: where its arrays lie; each property maps one of them into memory.
        numbers: folder of what depends on the normalization too.
    """

    name: str
    folder: Path
    numbers: Path

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
    def centers(self) -> NDArray[np.int64]:
        """Flat indices of voxels of the mask, evenly thinned."""
        return mapped(self.folder, "centers")

    @property
    def measured(self) -> NDArray[np.float64]:
        """`(C, N)`: what the normalization takes from each source itself, such as mean and SD."""
        return mapped(self.numbers, "measured")

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
        return AffineMap(center=self.target.mean, scale=self.target.sd)

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


def pool(pairs: Sequence[Pair], config: RunConfig) -> CohortStatistics:
    """The statistics of people that were read."""
    statistics = CohortStatistics({contrast: PooledIntensities() for contrast in config.task.sources})
    for pair in pairs:
        for contrast in (*config.task.sources, config.task.target):
            pooled = statistics.target if contrast == config.task.target else statistics.sources[contrast]
            _add(pair, contrast, pooled)
    return statistics


def source_maps(pairs: Sequence[Pair], config: RunConfig) -> tuple[AffineMap | StandardLandmarks, ...]:
    """What the normalization learns from people, for each source; nothing where every scan stands alone."""
    name = config.intensity.source_normalization
    learn = NORMALIZERS[name].learn
    if learn is None:
        return ()
    return tuple(SOURCE_MAPS[name].from_numbers(learn(_each(pairs, contrast))) for contrast in config.task.sources)


def _each(pairs: Sequence[Pair], contrast: str) -> Iterator[PooledIntensities]:
    """The intensities of one person after another, on their own grids."""
    for pair in pairs:
        person = PooledIntensities()
        _add(pair, contrast, person)
        yield person


def _add(pair: Pair, contrast: str, pooled: PooledIntensities) -> None:
    total, squares = mapped(pair.folder, f"sums_{contrast}").tolist()
    pooled.merge(mapped(pair.folder, f"histogram_{contrast}"), total, squares)


def read_pairs(rows: Sequence[ManifestRow], config: RunConfig, cache: Path, *, title: str) -> list[Pair]:
    """Bring subjects into model space, or find them there.

    Args:
        rows: the subjects.
        config: which contrasts, which spacing and which normalization.
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
                pairs.append(_pair(row, config, cache))
            except InputError as error:
                text = str(error)
                problems.append(text if text.startswith("subject ") else f"subject {row.name}: {text}")
            advance(row.name)
    if problems:
        raise ManifestError("training needs every pair to be usable; mend or leave out:\n  " + "\n  ".join(problems))
    log.info(
        "%s: %d subjects, %.2f GB in %s, memory-mapped; this machine has %.0f GB of memory",
        title, len(pairs), sum(pair.num_bytes for pair in pairs) / 1e9, cache,
        memory_bytes() / 1e9,
    )  # fmt: skip
    return pairs


def _pair(row: ManifestRow, config: RunConfig, cache: Path) -> Pair:
    """The volumes, and apart from them what the normalization measures, so that trying another copies no volume."""
    key = _key(row, config)
    folder = cached(cache, key, lambda: _arrays(row, config))
    name, contrasts = config.intensity.source_normalization, config.task.sources

    def measure() -> dict[str, NDArray[np.float64]]:
        sources, mask = mapped(folder, "sources"), mapped(folder, "mask")[0]
        return {"measured": measure_sources(name, contrasts, sources, mask)}

    return Pair(row.name, folder, cached(cache, hash_json({"volumes": key, "source_normalization": name}), measure))


def _key(row: ManifestRow, config: RunConfig) -> str:
    contrasts = (*config.task.sources, config.task.target)
    files = {column: hash_file(row.path(column)) for column in (*contrasts, "mask") if column in row.paths}
    return hash_json(
        {"recipe": RECIPE, "contrasts": contrasts, "spacing_mm": config.space.spacing_mm, "files": files}
        | {"versions": versions()}
    )


def _arrays(row: ManifestRow, config: RunConfig) -> dict[str, NDArray[np.generic]]:
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
    view = model_space_of(scan.space, brain.array, config.space.spacing_mm)
    brought = view.to_model_space(*images.values())
    centers = np.flatnonzero(view.mask)
    return arrays | {
        "sources": brought[:-1],
        "target": brought[-1:],
        "mask": view.mask[None],
        "centers": centers[:: max(1, centers.size // _MAX_CENTERS)],
        "spacing_mm": np.asarray(view.flips.apply_to_space(scan.space).spacing_mm),
    }
