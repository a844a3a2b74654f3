"""Results of preparation beside the training pairs: its recipe, and the quality of each pair."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from volumetric.config.preparation import RECIPE_FILE, PreparationConfig
from volumetric.config.resolve import resolve_as
from volumetric.manifest import LABEL_MAP, Manifest, ManifestRow, read_manifest

log = logging.getLogger(__name__)


def recipe_of(manifest: Manifest) -> PreparationConfig | None:
    """The recipe of the scans; None if they were not prepared, or not all by one recipe."""
    scanned = [s for s in manifest.sources if any(set(row.paths) - {LABEL_MAP} for row in read_manifest(s).rows)]
    files = [source.parent / RECIPE_FILE for source in scanned]
    if not files:
        return None
    recipes = [resolve_as(PreparationConfig, file) if file.is_file() else None for file in files]
    if any(recipe != recipes[0] for recipe in recipes):
        log.warning("%s: not all scans were prepared by one recipe, so the model keeps none", manifest.name)
        return None
    return recipes[0]


def warn_of_quality(rows: Sequence[ManifestRow]) -> None:
    """Name the pairs that preparation did not pass."""
    for row in rows:
        quality, reasons = row.covariates.get("qc", "pass"), row.covariates.get("qc_reasons", "no reason given")
        if quality in ("warn", "fail"):
            log.warning(
                f"subject {row.name}: preparation gave this pair a `{quality}` ({reasons}); see its quality.png, then "
                "repeat `volumetric prepare` with other settings, or leave the pair out"
            )
