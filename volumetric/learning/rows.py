"""Rows of a manifest that a training uses: scanned pairs, and label maps to simulate pairs from."""

from __future__ import annotations

import logging

from volumetric.config.run import RunConfig
from volumetric.learning.optimization import TrainingError
from volumetric.manifest import LABEL_MAP, Manifest, ManifestRow

log = logging.getLogger(__name__)

Rows = tuple[ManifestRow, ...]


def divided(manifest: Manifest, config: RunConfig) -> tuple[Rows, Rows]:
    """The training rows: those with scans, and those with a label map and no scan of the task.

    Raises:
        TrainingError: there is none.
    """
    rows = manifest.split("train")
    if not rows:
        raise TrainingError(f"{manifest.name}: no row has split `train`; fill the split column")
    labeled = tuple(row for row in rows if is_anatomy(row, config))
    return tuple(row for row in rows if row not in labeled), labeled


def require_images(manifest: Manifest, rows: Rows, config: RunConfig) -> None:
    """Check that rows have the images of the task: every source, or any of them where the model takes any.

    Raises:
        ManifestError: naming every row and column without a file.
        TrainingError: naming the rows without a source.
    """
    sources = config.task.sources
    manifest.require(rows, [config.task.target, *(() if config.any_subset else sources)])
    for source in sources:
        manifest.require([row for row in rows if source in row.paths], [source])
    if lacking := [row.name for row in rows if not set(sources) & set(row.paths)]:
        raise TrainingError(
            f"{manifest.name}: {', '.join(lacking)}: none of the sources {', '.join(sources)} is given; fill a column, "
            "or leave these rows out"
        )


def is_anatomy(row: ManifestRow, config: RunConfig) -> bool:
    """True for a row with a label map to simulate from, and no scan of the task."""
    return LABEL_MAP in row.paths and not {*config.task.sources, config.task.target} & set(row.paths)


def training_rows(manifest: Manifest, config: RunConfig) -> tuple[Rows, Rows]:
    """The rows of scanned pairs and of label maps that the configured mixture draws from.

    Raises:
        TrainingError: there is no row of a kind that it needs.
    """
    scanned, labeled = divided(manifest, config)
    share = config.mixture.simulated
    if share and not labeled:
        raise TrainingError(
            f"{manifest.name}: mixture.simulated is {share:g}, and no training row has a label map alone; add rows "
            f"whose `{LABEL_MAP}` column is filled, or set mixture.simulated=0"
        )
    if share < 1 and not scanned:
        raise TrainingError(
            f"{manifest.name}: no training row has scans, only label maps; add pairs, or set mixture.simulated=1 and "
            "space.spacing_mm=[1,1,1] to train on simulated pairs alone"
        )
    _require_sources(manifest, scanned, config)
    if labeled and not share:
        log.warning("%d rows with label maps alone are not used; set mixture.simulated to draw from them", len(labeled))
    return scanned if share < 1 else (), labeled if share else ()


def _require_sources(manifest: Manifest, scanned: Rows, config: RunConfig) -> None:
    """Check that there is a label map where sources are to be simulated on scans."""
    if config.mixture.simulated_source and not any(LABEL_MAP in row.paths for row in scanned):
        raise TrainingError(
            f"{manifest.name}: mixture.simulated_source is {config.mixture.simulated_source:g}, and no training row "
            f"with scans has a label map; fill its `{LABEL_MAP}` column, or set mixture.simulated_source=0"
        )
