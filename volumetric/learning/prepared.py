"""What preparation left beside the training pairs: its recipe, and its verdict on each."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from volumetric.config.preparation import RECIPE_FILE, PreparationConfig
from volumetric.config.resolve import resolve_as
from volumetric.manifest import Manifest, ManifestRow

log = logging.getLogger(__name__)


def recipe_of(manifest: Manifest) -> PreparationConfig | None:
    """How the scans were prepared; None if they were not, or not all by one recipe."""
    files = [source.parent / RECIPE_FILE for source in manifest.sources]
    recipes = [resolve_as(PreparationConfig, file) if file.is_file() else None for file in files]
    if any(recipe != recipes[0] for recipe in recipes):
        log.warning("%s: not all scans were prepared by one recipe, so the model keeps none", manifest.name)
        return None
    return recipes[0]


def warn_of_quality(rows: Sequence[ManifestRow]) -> None:
    """Name the pairs that preparation did not pass."""
    for row in rows:
        verdict = row.covariates.get("qc", "pass")
        if verdict in ("warn", "fail"):
            log.warning(
                "subject %s: preparation gave this pair a `%s` (%s); look at its quality.png, then repeat "
                "`volumetric prepare` with other settings, or leave the pair out",
                row.name, verdict, row.covariates.get("qc_reasons", "no reason given"),
            )  # fmt: skip
