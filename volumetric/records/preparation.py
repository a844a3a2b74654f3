"""Files of `prepare`: `quality.csv`, and the sidecar beside the images of each subject."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import BaseModel, ConfigDict

from volumetric.records.record import Record
from volumetric.records.table import SessionRow

SIDECAR = "preparation.json"
"""Beside the prepared images of a subject."""
QUALITY = "quality.csv"
"""Beside the prepared manifest: a row for each pair of contrasts."""

Grade = Literal["pass", "warn", "fail"]
_REMEDY = "repeat `volumetric prepare` into that folder, which makes it again"


class PairQuality(BaseModel):
    """Measurements of one contrast beside the reference.

    Attributes:
        contrast: its name.
        moved_mm: shift by registration, mean over the brain.
        moved_deg: rotation by registration.
        nmi_before: normalized mutual information in the brain, by the scanner's coordinates alone.
        nmi_after: the same after registration.
        residual_mm: mean shift that a registration of the prepared pair, begun elsewhere, still finds.
        residual_deg: its rotation.
        overlap: share of the brain inside the contrast's field of view, 0 to 1.
        snr: of the raw scan, by `preparation.quality.signal_to_noise`.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    contrast: str
    moved_mm: float
    moved_deg: float
    nmi_before: float
    nmi_after: float
    residual_mm: float
    residual_deg: float
    overlap: float
    snr: float


class Quality(BaseModel):
    """Measurements of one subject and session.

    Attributes:
        reference: contrast that stayed in place.
        reference_snr: of its raw scan.
        brain_ml: volume of the brain mask.
        mask_rule: rule that made the mask.
        pairs: one entry for each other contrast.
        warnings: contradictions in the headers.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    reference: str
    reference_snr: float
    brain_ml: float
    mask_rule: str
    pairs: tuple[PairQuality, ...]
    warnings: tuple[str, ...]


class PreparationSidecar(Record):
    """Provenance of the prepared images of one subject.

    Attributes:
        subject_id: subject, as in the manifest.
        session_id: session; empty where there is only one.
        files: image file by column of the prepared manifest.
        files_sha256: of every file that was written, by name.
        quality: measurements, which `quality.csv` grades.
        sources: file name of the raw scan by column.
        sources_sha256: by column, of the bytes that were read.
        versions: of the packages that decide the result.
    """

    REMEDY: ClassVar[str] = _REMEDY

    subject_id: str
    session_id: str
    files: dict[str, str]
    files_sha256: dict[str, str]
    quality: Quality
    sources: dict[str, str]
    sources_sha256: dict[str, str]
    versions: dict[str, str]


class QualityRow(SessionRow):
    """A row of `quality.csv`: one pair of a subject, the single contrast of one without a pair, or a failure.

    Attributes:
        qc: worst grade of all reasons.
        reasons: sentences joined by `; `.
        contrast: that stands beside the reference; None where there is none. This and the rest as in `Quality`.
    """

    REMEDY: ClassVar[str] = _REMEDY

    qc: Grade
    reasons: str = ""
    contrast: str | None = None
    moved_mm: float | None = None
    moved_deg: float | None = None
    nmi_before: float | None = None
    nmi_after: float | None = None
    residual_mm: float | None = None
    residual_deg: float | None = None
    overlap: float | None = None
    snr: float | None = None
    reference_snr: float | None = None
    brain_ml: float | None = None
    mask_rule: str | None = None
