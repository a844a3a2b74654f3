"""The files of an evaluation: definitions, origin, the scores and images of each subject; and its tables."""

from __future__ import annotations

import base64
import binascii
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import ClassVar, Literal, Self
from urllib.parse import quote

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from volumetric.records.record import Record
from volumetric.records.scores import EVALUATE_AGAIN, ScoreRow
from volumetric.records.table import SessionKey

DEFINITIONS_FILE = "definitions.json"
INFO_FILE = "evaluation.json"
SUBJECTS_FOLDER = "subjects"

Better = Literal["higher", "lower", "zero"]
"""Which direction of a metric is good."""


class MetricDefinition(BaseModel):
    """The meaning of a column of numbers.

    Attributes:
        label: its name for a reader.
        unit: `dB`, `1` for a pure number, `intensity` for reference units, or another unit in words.
        better: `higher`, `lower` or `zero`; None where nobody says.
        value_range: lowest and highest value; None where there is no end.
        formula: in text.
        source: where the formula comes from.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    label: str = ""
    unit: str = ""
    better: Better | None = None
    value_range: tuple[int | float | None, int | float | None] = (None, None)
    formula: str = ""
    source: str = ""


class Definitions(Record):
    """`definitions.json`: from each column of numbers to its meaning, beside the format version."""

    model_config = ConfigDict(extra="allow")
    REMEDY: ClassVar[str] = EVALUATE_AGAIN
    __pydantic_extra__: dict[str, MetricDefinition] = Field(init=False)

    @property
    def metrics(self) -> Mapping[str, MetricDefinition]:
        """By column."""
        return self.__pydantic_extra__


class RunIdentity(BaseModel):
    """The training run behind an evaluation.

    Attributes:
        seed: of the training.
        settings_sha256: hash of all settings but the seed.
        folder: of the run, relative to that of the evaluation.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    seed: int
    settings_sha256: str
    folder: str = ""


class EvaluationInfo(Record):
    """`evaluation.json`: what was evaluated and how.

    Attributes:
        predictions: their folder, relative to that of the evaluation.
        source: contrast that the baselines start from.
        target: contrast that was scored.
        split: rows of the manifest.
        data_range: of PSNR and SSIM, reference units.
        num_training_subjects: subjects behind the baselines.
        prediction_scale: `reference`, `own-median` or the number that predictions are divided by.
        run: the training run; None where the predictions lie in no run folder.
        versions: of the packages.
    """

    REMEDY: ClassVar[str] = EVALUATE_AGAIN

    predictions: str
    source: str
    target: str
    split: str
    data_range: float
    num_training_subjects: int
    prediction_scale: str
    run: RunIdentity | None = None
    versions: Mapping[str, str]


class ScoredImage(BaseModel):
    """An image file, its path relative to the evaluation, and the divisor that gives reference units."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    path: Path
    divisor: float


class ScoredImages(BaseModel):
    """The images of a scored subject; `mask` is the given one, None where the mask was found in the source."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    source: ScoredImage
    truth: ScoredImage
    prediction: ScoredImage
    mask: Path | None = None

    def relative_to(self, folder: Path) -> ScoredImages:
        """The same files by paths relative to a folder, which tell no more of the disk than is needed."""
        return self._with_paths(lambda path: Path(os.path.relpath(path, folder.absolute())))

    def below(self, folder: Path) -> ScoredImages:
        """The same files by paths that hold from here; absolute ones, of older versions, stay."""
        return self._with_paths(lambda path: Path(os.path.normpath(folder.absolute() / path)))

    def _with_paths(self, move: Callable[[Path], Path]) -> ScoredImages:
        images = {
            role: image.model_copy(update={"path": move(image.path)})
            for role, image in (("source", self.source), ("truth", self.truth), ("prediction", self.prediction))
        }
        return self.model_copy(update=images | {"mask": None if self.mask is None else move(self.mask)})


class PackedBlockMeans(BaseModel):
    """Mean intensities in blocks of space, as base64 text: int32 numbers of the blocks, float32 means."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    blocks: str
    truth: str
    prediction: str

    @field_validator("blocks", "truth", "prediction")
    @classmethod
    def _is_base64_of_words(cls, text: str) -> str:
        try:
            data = base64.b64decode(text, validate=True)
        except binascii.Error as error:
            raise ValueError(f"not base64: {error}") from error
        if len(data) % 4:
            raise ValueError("not a whole number of 4-byte values")
        return text

    @model_validator(mode="after")
    def _lengths_are_equal(self) -> Self:
        if not len(self.blocks) == len(self.truth) == len(self.prediction):
            raise ValueError("blocks, truth and prediction have different lengths")
        return self


class SparsificationCurve(BaseModel):
    """RMSE in the brain, reference units, when 0, 5, ... 95 % of its voxels are left out.

    Attributes:
        by_uncertainty: the least certain first.
        by_error: the largest errors first, the best that is possible.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    by_uncertainty: tuple[float, ...]
    by_error: tuple[float, ...]


class SubjectScores(Record):
    """`subjects/*.json`: the scores of one subject and session, and the images that they come from.

    Attributes:
        fingerprint: hash of all files and settings behind the scores.
        images: the scored files.
        block_means: of truth and prediction, by which swapped predictions are noticed.
        rows: of `per_subject.csv`, without the covariates.
        sparsification: of a prediction with uncertainty beside it; else absent.
    """

    REMEDY: ClassVar[str] = EVALUATE_AGAIN

    subject_id: str
    session_id: str = ""
    fingerprint: str
    images: ScoredImages
    block_means: PackedBlockMeans
    rows: tuple[ScoreRow, ...]
    sparsification: SparsificationCurve | None = Field(None, exclude_if=lambda curve: curve is None)

    @staticmethod
    def path(evaluation: Path, key: SessionKey) -> Path:
        """The file of a subject and session in the folder of an evaluation; no two share one.

        `ms01` -> `subjects/ms01.json`, `ms01/study2` -> `subjects/ms01+study2.json`; other characters than letters,
        digits and `_.-~` become `%` and their code, a `+` too.
        """
        stem = "+".join(quote(part, safe="") for part in key if part)
        return evaluation / SUBJECTS_FOLDER / f"{stem}.json"
