"""The files of an evaluation: scores by subject, summaries, repeatability, definitions, and where they came from."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal, NamedTuple, Self
from urllib.parse import quote

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from volumetric.records.record import Record, RecordError
from volumetric.records.table import Cell, TableRow, read_cells

MODEL = "model"
"""The method name of the predictions that are evaluated; every other method is a baseline."""
SCORES_FILE = "per_subject.csv"
SUMMARY_FILE = "summary.csv"
REPEATABILITY_FILE = "repeatability.csv"
DEFINITIONS_FILE = "definitions.json"
INFO_FILE = "evaluation.json"

Better = Literal["higher", "lower", "zero"]
"""Which direction of a metric is good."""

_REMEDY = "evaluate again with `volumetric evaluate --fresh`"
_FIRST_METRIC_AFTER, _LAST_METRIC_BEFORE = "num_voxels", "data_range"


class SessionKey(NamedTuple):
    """Subject and session; the session is empty where the manifest names none."""

    subject_id: str
    session_id: str = ""

    @property
    def name(self) -> str:
        """`subject` or `subject/session`."""
        return "/".join(filter(None, self))


class ScoreRow(TableRow):
    """A row of `per_subject.csv`: one method in one region of one subject and session.

    In the file, the columns between `num_voxels` and `data_range` are the metrics, and the columns after the last fixed
    one are the covariates.

    Attributes:
        method: `model` or the name of a baseline.
        region: empty where nothing was scored.
        status: `ok`, `failed`, or `n/a` for a baseline that cannot be had.
        error: the reason of another status.
        num_voxels: of the region.
        metrics: by name; a metric without a value in this region is left out.
        data_range: of PSNR and SSIM, reference units.
        mask_rule: how the brain mask was made.
        truth_outside_mask: `zeroed` or `not scored`.
        prediction_scale: `reference`, `own-median` or the number that predictions are divided by.
        truth_median: the divisor of the truth.
        prediction_divisor: the divisor of the prediction.
        truth_mean: over the region, reference units.
        prediction_mean: over the region, reference units.
        warnings: one sentence, or empty.
        covariates: the manifest's other columns, as text.
    """

    REMEDY: ClassVar[str] = f"name a {SCORES_FILE} of `volumetric evaluate`, or evaluate again with --fresh"

    subject_id: str
    session_id: str = ""
    method: str
    region: str = ""
    status: Literal["ok", "failed", "n/a"]
    error: str = ""
    num_voxels: int | None = None
    metrics: Mapping[str, float] = Field(default_factory=dict)
    data_range: float | None = None
    mask_rule: str = ""
    truth_outside_mask: str = ""
    prediction_scale: str = ""
    truth_median: float | None = None
    prediction_divisor: float | None = None
    truth_mean: float | None = None
    prediction_mean: float | None = None
    warnings: str = ""
    covariates: Mapping[str, str] = Field(default_factory=dict)

    @classmethod
    def required_columns(cls) -> list[str]:
        """The columns without which a file is not a table of scores."""
        return ["subject_id", "method", "region", "status", _FIRST_METRIC_AFTER, _LAST_METRIC_BEFORE, "mask_rule"]

    @classmethod
    def fixed_columns(cls) -> list[str]:
        """The columns that every table of scores has, in the file's order."""
        return [name for name in cls.model_fields if name not in ("metrics", "covariates")]

    @classmethod
    def columns(cls, metrics: Sequence[str], covariates: Sequence[str]) -> list[str]:
        """All columns of a table, in the file's order."""
        variable = {"metrics": metrics, "covariates": covariates}
        return [column for name in cls.model_fields for column in variable.get(name, (name,))]

    @classmethod
    def from_cells(cls, cells: Mapping[str, str]) -> Self:
        """From the cells of a row by column."""
        metrics, covariates = variable_columns(list(cells))
        filled = {column: text for column, text in cells.items() if text != ""}
        return cls.model_validate(
            {column: filled[column] for column in cls.fixed_columns() if column in filled}
            | {"metrics": {column: filled[column] for column in metrics if column in filled}}
            | {"covariates": {column: cells[column] for column in covariates}}
        )

    def to_cells(self) -> dict[str, Cell]:
        """The cells of a row by column."""
        return {**{name: getattr(self, name) for name in self.fixed_columns()}, **self.metrics, **self.covariates}

    @property
    def key(self) -> SessionKey:
        """Subject and session."""
        return SessionKey(self.subject_id, self.session_id)

    @property
    def name(self) -> str:
        """`subject` or `subject/session`."""
        return self.key.name

    @property
    def is_scored(self) -> bool:
        """Whether the row has metrics."""
        return self.status == "ok"


def variable_columns(columns: Sequence[str]) -> tuple[list[str], list[str]]:
    """The metrics and the covariates among the columns of a table of scores."""
    metrics: list[str] = []
    covariates: list[str] = []
    fixed = ScoreRow.fixed_columns()
    chosen = covariates
    for column in columns:
        if column not in fixed:
            chosen.append(column)
        elif column in (_FIRST_METRIC_AFTER, _LAST_METRIC_BEFORE):
            chosen = metrics if column == _FIRST_METRIC_AFTER else covariates
    return metrics, covariates


@dataclass(frozen=True)
class ScoreTable:
    """The content of `per_subject.csv`.

    Attributes:
        metrics: their columns, in the file's order.
        covariates: their columns.
        rows: one for each subject, session, method and region.
    """

    metrics: tuple[str, ...]
    covariates: tuple[str, ...]
    rows: tuple[ScoreRow, ...]

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read a table of scores.

        Raises:
            RecordError: no such file, not a table of scores, or a cell that does not fit its column.
        """
        columns, records = read_cells(path, remedy=ScoreRow.REMEDY)
        rows = ScoreRow.parse_table(path, columns, records)
        metrics, covariates = variable_columns(columns)
        if not metrics:
            raise RecordError(
                f"{path}: there is no metric between the columns {_FIRST_METRIC_AFTER} and {_LAST_METRIC_BEFORE}; "
                f"{ScoreRow.REMEDY}"
            )
        return cls(tuple(metrics), tuple(covariates), tuple(rows))

    def write(self, path: Path) -> None:
        """Write the table, whole or not at all."""
        ScoreRow.write_table(path, self.rows, ScoreRow.columns(self.metrics, self.covariates))

    @property
    def sessions(self) -> list[SessionKey]:
        """Each subject and session once, in the table's order."""
        return list(dict.fromkeys(row.key for row in self.rows))


class SummaryRow(TableRow):
    """A row of `summary.csv`: one metric of one method in one region, over the subjects of a group.

    Attributes:
        group: empty for all subjects, else `covariate=value`.
        n: subjects with a finite value.
        num_missing: subjects of the group without a scored row.
        num_nonfinite: subjects whose value is not finite.
    """

    REMEDY: ClassVar[str] = _REMEDY

    method: str
    region: str
    group: str = ""
    metric: str
    unit: str = ""
    n: int
    num_missing: int = 0
    num_nonfinite: int = 0
    mean: float
    sd: float = float("nan")
    median: float = float("nan")
    q1: float = float("nan")
    q3: float = float("nan")
    iqr: float = float("nan")
    ci95_low: float = float("nan")
    ci95_high: float = float("nan")


class RepeatabilityRow(TableRow):
    """A row of `repeatability.csv`: how well one value repeats over the sessions of a subject, in one region.

    Attributes:
        num_subjects: subjects with two or more finite values.
        num_sessions: sessions of these subjects.
        cv: within-subject SD / mean; NaN for a value whose zero means nothing.
        icc: ICC(1,1).
    """

    REMEDY: ClassVar[str] = _REMEDY

    method: str
    region: str
    metric: str
    unit: str
    num_subjects: int
    num_sessions: int
    mean: float
    within_subject_sd: float
    repeatability_coefficient: float
    cv: float
    icc: float


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
    REMEDY: ClassVar[str] = _REMEDY
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
        folder: of the run.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    seed: int
    settings_sha256: str
    folder: str = ""


class EvaluationInfo(Record):
    """`evaluation.json`: what was evaluated and how.

    Attributes:
        predictions: their folder.
        source: contrast that the baselines start from.
        target: contrast that was scored.
        split: rows of the manifest.
        data_range: of PSNR and SSIM, reference units.
        num_training_subjects: subjects behind the baselines.
        prediction_scale: `reference`, `own-median` or the number that predictions are divided by.
        run: the training run; None where the predictions lie in no run folder.
        versions: of the packages.
    """

    REMEDY: ClassVar[str] = _REMEDY

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
    """An image file, and the number that its voxels are divided by to give reference units."""

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


class SubjectScores(Record):
    """`subjects/*.json`: the scores of one subject and session, and the images that they come from.

    Attributes:
        fingerprint: hash of all files and settings behind the scores.
        images: the scored files.
        block_means: of truth and prediction, by which swapped predictions are noticed.
        rows: of `per_subject.csv`, without the covariates.
    """

    REMEDY: ClassVar[str] = _REMEDY

    subject_id: str
    session_id: str = ""
    fingerprint: str
    images: ScoredImages
    block_means: PackedBlockMeans
    rows: tuple[ScoreRow, ...]

    @staticmethod
    def path(evaluation: Path, key: SessionKey) -> Path:
        """The file of a subject and session in the folder of an evaluation; no two share one.

        `ms01` -> `subjects/ms01.json`, `ms01/study2` -> `subjects/ms01+study2.json`; other characters than letters,
        digits and `_.-~` become `%` and their code, a `+` too.
        """
        stem = "+".join(quote(part, safe="") for part in key if part)
        return evaluation / "subjects" / f"{stem}.json"


def find_scores(path: Path) -> Path | None:
    """The `per_subject.csv` that a path names: the file, its folder, or a run folder with `metrics`; None without."""
    candidates = (path, path / SCORES_FILE, path / "metrics" / SCORES_FILE)
    return next((file for file in candidates if file.is_file()), None)
