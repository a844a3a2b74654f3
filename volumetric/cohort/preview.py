"""The preview of a simulated cohort, drawn from its files."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from volumetric.figures.preview import PreviewSubject, preview
from volumetric.imaging.intensity import in_reference_units, reference_scale
from volumetric.manifest import ManifestRow, read_manifest
from volumetric.subject import read_raw_subject

log = logging.getLogger(__name__)

PREVIEW_FILE = "preview.png"
MAX_SUBJECTS = 12


def write_preview(manifest: Path) -> Path:
    """Draw the first twelve subjects of a simulated cohort into `preview.png` beside its manifest.

    Raises:
        InputError: a file that is missing or damaged.
    """
    path = manifest.with_name(PREVIEW_FILE)
    preview([_preview_subject(row) for row in read_manifest(manifest).rows[:MAX_SUBJECTS]], path)
    log.info("preview: %s", path)
    return path


def _preview_subject(row: ManifestRow) -> PreviewSubject:
    subject = read_raw_subject(row, ("t1w", "t2w"))
    mask = subject.labels["mask"].array > 0
    everywhere = np.ones_like(mask)
    t1w, t2w = (
        in_reference_units(image.array, everywhere, reference_scale(image.array, mask, name=str(row.path(contrast))))
        for contrast, image in subject.images.items()
    )
    return PreviewSubject(
        title=f"{row.name} ({row.split})",
        notes=_notes(row.covariates),
        t1w=t1w,
        t2w=t2w,
        mask=mask,
        spacing_mm=subject.images["t1w"].space.spacing_mm,
    )


def _notes(covariates: Mapping[str, str]) -> tuple[str, str]:
    """Notes on both scans from the manifest: `seg_01, mprage` and `3.0 T, spin echo`."""
    sequences = [covariates.get(f"{contrast}_sequence", "").replace("_", " ") for contrast in ("t1w", "t2w")]
    places = (covariates.get("anatomy", ""), f"{covariates['field_strength']} T")
    first, second = (", ".join(filter(None, words)) for words in zip(places, sequences, strict=True))
    return first, second
