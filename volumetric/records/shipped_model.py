"""`shipped.json`: what the package says of a model that comes with it, beside what `model.yaml` says."""

from __future__ import annotations

from typing import ClassVar

from pydantic import BaseModel, ConfigDict, Field

from volumetric.records.record import Record


class CohortScore(BaseModel):
    """Mean scores in the brain over subjects that the model has not seen.

    Attributes:
        cohort: its name.
        num_subjects: number of subjects.
        psnr_db: mean peak signal-to-noise ratio, dB.
        ssim: mean structural similarity, at most 1.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    cohort: str
    num_subjects: int = Field(gt=0)
    psnr_db: float
    ssim: float = Field(le=1)


class ShippedModel(Record):
    """Entry of a shipped model. Its name is the folder's; contrasts, spacing and licenses stand in `model.yaml`.

    Attributes:
        summary: one line.
        training_data: one line.
        scores: one entry for each cohort.
        sha256: of the weights and `model.yaml`, one after the other; `model_sha256` in the sidecars of predictions.
    """

    REMEDY: ClassVar[str] = "reinstall the package"

    summary: str
    training_data: str
    scores: tuple[CohortScore, ...]
    sha256: str
