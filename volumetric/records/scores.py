"""The tables of an evaluation: scores by subject, their summary, and repeatability."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal, Self

from pydantic import Field

from volumetric.records.record import RecordError
from volumetric.records.table import Cell, SessionKey, SessionRow, TableRow, read_cells

MODEL = "model"
"""The method name of the predictions that are evaluated; every other method is a baseline."""
SCORES_FILE = "per_subject.csv"
SUMMARY_FILE = "summary.csv"
REPEATABILITY_FILE = "repeatability.csv"

EVALUATE_AGAIN = "evaluate again with `volumetric evaluate --fresh`"
_FIRST_METRIC_AFTER, _LAST_METRIC_BEFORE = "num_voxels", "data_range"


class ScoreRow(SessionRow):
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
        metrics, covariates = _variable_columns(list(cells))
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
    def is_scored(self) -> bool:
        """True for a row with metrics."""
        return self.status == "ok"


def _variable_columns(columns: Sequence[str]) -> tuple[list[str], list[str]]:
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
        cells = read_cells(path, remedy=ScoreRow.REMEDY)
        rows = ScoreRow.parse_table(path, *cells)
        metrics, covariates = _variable_columns(cells.columns)
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

    REMEDY: ClassVar[str] = EVALUATE_AGAIN

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

    REMEDY: ClassVar[str] = EVALUATE_AGAIN

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


def find_scores(path: Path) -> Path | None:
    """The `per_subject.csv` that a path names: the file, its folder, or a run folder with `metrics`; None without."""
    candidates = (path, path / SCORES_FILE, path / "metrics" / SCORES_FILE)
    return next((file for file in candidates if file.is_file()), None)
