"""Training pairs from the rows of a manifest: read once, kept in the cache, and found there by the next run."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from volumetric.batch.progress import progress
from volumetric.config.run import RunConfig
from volumetric.errors import InputError, file_problem
from volumetric.learning.cache import cached, mapped
from volumetric.learning.data import volume_transforms
from volumetric.learning.pairs import TrainingPair, volume_arrays
from volumetric.machine import memory_bytes
from volumetric.manifest import ManifestError, ManifestRow
from volumetric.model.units import measure_sources
from volumetric.outputs import hash_file, hash_json, versions
from volumetric.subject import check_distinct
from volumetric.transforms.errors import unwrapped_errors

log = logging.getLogger(__name__)

RECIPE = 5
"""Raised whenever the same scans begin to give other arrays."""


class ChangedScanError(InputError):
    """A file that is written to while it is read."""


def read_pairs(rows: Sequence[ManifestRow], config: RunConfig, cache: Path, *, title: str) -> list[TrainingPair]:
    """Read subjects into model space, or find them in the cache.

    Args:
        rows: the subjects.
        config: which contrasts, which spacing and which normalization.
        cache: folder of the arrays, keyed by the scans' content, the transforms and the versions.
        title: the word on the progress bar.

    Raises:
        ManifestError: listing every subject that cannot be used and why.
    """
    pairs: list[TrainingPair] = []
    problems: list[str] = []
    with progress(title, len(rows), "subjects") as advance:
        for row in rows:
            try:
                pairs.append(_read_pair(row, config, cache))
            except (InputError, OSError) as error:
                text = file_problem(error) if isinstance(error, OSError) else str(error)
                problems.append(text if text.startswith("subject ") else f"subject {row.name}: {text}")
            advance(row.name)
    if problems:
        raise ManifestError("training needs every pair to be usable; mend or leave out:\n  " + "\n  ".join(problems))
    size_gb, memory_gb = sum(pair.num_bytes for pair in pairs) / 1e9, memory_bytes() / 1e9
    message = "%s: %d subjects, %.2f GB in %s, memory-mapped; this machine has %.0f GB of memory"
    log.info(message, title, len(pairs), size_gb, cache, memory_gb)
    return pairs


def _read_pair(row: ManifestRow, config: RunConfig, cache: Path) -> TrainingPair:
    """The volumes and, apart from them, what the normalization measures: trying another copies no volume."""
    missing = tuple(source for source in config.task.sources if source not in row.paths)
    contrasts = tuple(name for name in (*config.task.sources, config.task.target) if name not in missing)
    normalization = config.intensity.source_normalization
    sha256 = {column: hash_file(row.path(column)) for column in (*contrasts, "mask") if column in row.paths}
    check_distinct(sha256, contrasts, name=row.name)
    key = hash_json(
        {"recipe": RECIPE, "contrasts": contrasts, "spacing_mm": config.space.spacing_mm, "mask": config.mask.kind}
        | {"files": sha256, "versions": versions()}
        | ({"sources": config.task.sources} if missing else {})
    )
    arrays = volume_arrays([name for name in config.task.images if name not in missing])
    volumes = cached(cache, key, arrays, partial(_read_volumes, row, config, contrasts, sha256))

    def measure() -> dict[str, NDArray[np.float64]]:
        sources, brain = mapped(volumes, "sources"), mapped(volumes, "brain")[0]
        return {"measured": measure_sources(normalization, config.task.sources, sources, brain)}

    measured_key = hash_json({"volumes": key, "source_normalization": normalization})
    return TrainingPair(row.name, volumes, cached(cache, measured_key, ["measured"], measure), missing)


def _read_volumes(
    row: ManifestRow, config: RunConfig, contrasts: Sequence[str], sha256: Mapping[str, str]
) -> dict[str, NDArray[np.generic]]:
    """The arrays of a pair, made from files of these hashes and no others."""
    with unwrapped_errors():
        volume = volume_transforms(config, contrasts)({"subject_id": row.name, **row.paths})
    for column, expected in sha256.items():
        if volume[column].meta["sha256"] != expected:
            raise ChangedScanError(
                f"subject {row.name}: {row.path(column)} changed while it was read; repeat the command once nothing "
                "writes to it"
            )
    arrays = {name: value for name, value in volume.items() if isinstance(value, np.ndarray)}
    target = volume[config.task.target].numpy()
    sources = [volume[name].numpy() if name in contrasts else np.zeros_like(target) for name in config.task.sources]
    return arrays | {
        "sources": np.concatenate(sources),
        "target": target,
        "mask": volume["region"].numpy(),
        "brain": volume["mask"].numpy(),
        "affine": np.asarray(volume[config.task.target].affine, np.float64),
    }
