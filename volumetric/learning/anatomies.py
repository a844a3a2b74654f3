"""Label maps to simulate training pairs from: prepared once, kept in the cache."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from volumetric.batch.progress import progress
from volumetric.config.run import RunConfig
from volumetric.errors import InputError
from volumetric.imaging.geometry import Space, same_space
from volumetric.imaging.nifti import read_labels, read_space
from volumetric.learning.cache import cached, mapped
from volumetric.manifest import LABEL_MAP, ManifestError, ManifestRow
from volumetric.outputs import hash_file, hash_json, versions
from volumetric.simulation.label_map import LabelMap, prepare_label_map
from volumetric.simulation.label_table import LabelTable, read_label_table
from volumetric.subject import HIGHEST_LABEL

RECIPE = 1
"""Raised whenever the same label map begins to give other arrays."""

_ARRAYS = [field.name for field in fields(LabelMap) if field.name != "space"]


@dataclass(frozen=True)
class TrainingAnatomy:
    """A prepared label map on disk.

    Attributes:
        name: the subject.
        folder: of its arrays, memory-mapped when they are used.
    """

    name: str
    folder: Path

    def label_map(self) -> LabelMap:
        """Its arrays."""
        arrays: dict[str, Any] = {name: mapped(self.folder, name) for name in _ARRAYS}
        i, j, k = arrays["tissues"].shape
        return LabelMap(Space((i, j, k), np.array(mapped(self.folder, "affine"))), **arrays)


def read_anatomies(rows: Sequence[ManifestRow], config: RunConfig, cache: Path) -> list[TrainingAnatomy]:
    """Prepare label maps, or find them in the cache.

    Raises:
        ManifestError: listing every label map that cannot be used and why.
        LabelTableError: no such table.
    """
    table = read_label_table(config.simulation.table)
    anatomies: list[TrainingAnatomy] = []
    problems: list[str] = []
    with progress("reading label maps", len(rows), "subjects") as advance:
        for row in rows:
            try:
                _check_grid(row, config)
                anatomies.append(_read(row, table, cache))
            except InputError as error:
                text = str(error)
                problems.append(text if text.startswith("subject ") else f"subject {row.name}: {text}")
            advance(row.name)
    if problems:
        listed = "\n  ".join(problems)
        raise ManifestError(f"training needs every label map to be usable; mend or leave out:\n  {listed}")
    return anatomies


def label_maps_of_scans(rows: Sequence[ManifestRow], config: RunConfig, cache: Path) -> dict[str, TrainingAnatomy]:
    """The prepared label map of each row with scans that has one, by the row's name.

    Raises:
        ManifestError: listing every label map that cannot be used and why.
        LabelTableError: no such table.
    """
    anatomies = read_anatomies([row for row in rows if LABEL_MAP in row.paths], config, cache)
    for anatomy in anatomies if config.mask.kind == "head" else ():
        if not anatomy.label_map().has_head:
            raise ManifestError(
                f"subject {anatomy.name}: in its `{LABEL_MAP}` nothing lies outside the brain, and mask.kind is head; "
                "name a label map of the head, or set mixture.simulated_source=0"
            )
    return {anatomy.name: anatomy for anatomy in anatomies}


def _check_grid(row: ManifestRow, config: RunConfig) -> None:
    """Check that a label map lies on the grid of the row's target, where it has one."""
    target = config.task.target
    if target in row.paths and not same_space(read_space(row.path(target)), read_space(row.path(LABEL_MAP))):
        raise ManifestError(
            f"subject {row.name}: `{LABEL_MAP}` lies on another grid than `{target}`; resample it there by nearest "
            "neighbor"
        )


def _read(row: ManifestRow, table: LabelTable, cache: Path) -> TrainingAnatomy:
    path = row.path(LABEL_MAP)
    key = hash_json(
        {"recipe": RECIPE, "table": sorted(table.tissue_of.items()), "file": hash_file(path), "versions": versions()}
    )
    return TrainingAnatomy(row.name, cached(cache, key, [*_ARRAYS, "affine"], partial(_prepare, path, table)))


def _prepare(path: Path, table: LabelTable) -> dict[str, NDArray[Any]]:
    label_map = prepare_label_map(read_labels(path, HIGHEST_LABEL), table, name=str(path))
    return {name: getattr(label_map, name) for name in _ARRAYS} | {"affine": label_map.space.affine}
