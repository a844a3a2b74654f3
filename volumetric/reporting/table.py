"""The table of every subject, by columns, as the page's scripts sort and draw it."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from volumetric.records.scores import ScoreRow
from volumetric.records.table import SessionKey
from volumetric.reporting.results import EvaluationResults, MetricColumn

_NUM_VOXELS = "num_voxels"

ScoreColumns = dict[str, list[float | None]]
"""By metric, one number or None a subject."""


@dataclass(frozen=True)
class TableSubject:
    """A subject of the table: its name, whether it failed and why, and whether its images are on the page."""

    name: str
    failed: bool
    error: str
    shown: bool


@dataclass(frozen=True)
class PageTable:
    """Scores by column.

    Attributes:
        subjects: `S` of them.
        metrics: the columns and their meaning.
        methods: those with scores.
        regions: those with scores.
        covariates: by column, `S` texts; those that any subject has.
        values: by method and region, the columns of scores.
    """

    subjects: list[TableSubject]
    metrics: Sequence[MetricColumn]
    methods: list[str]
    regions: list[str]
    covariates: dict[str, list[str]]
    values: dict[str, dict[str, ScoreColumns]]


def subject_table(results: EvaluationResults, shown: Collection[SessionKey]) -> PageTable:
    """Arrange the scores by column.

    Args:
        results: the evaluation.
        shown: subjects whose images are on the page.
    """
    sessions = results.table.sessions
    errors = {row.key: row.error for row in results.failures}
    place = {key: index for index, key in enumerate(sessions)}
    scored = [row for row in results.table.rows if row.is_scored]
    values = _values(scored, results.table.metrics, place)
    covariates = {name: _covariate(results.table.rows, name, place) for name in results.table.covariates}
    return PageTable(
        subjects=[TableSubject(key.name, key in errors, errors.get(key, ""), key in shown) for key in sessions],
        metrics=results.metrics,
        methods=list(values),
        regions=list(dict.fromkeys(row.region for row in scored)),
        covariates={name: cells for name, cells in covariates.items() if any(cells)},
        values=values,
    )


def _values(
    rows: Sequence[ScoreRow], metrics: Sequence[str], place: dict[SessionKey, int]
) -> dict[str, dict[str, ScoreColumns]]:
    values: dict[str, dict[str, ScoreColumns]] = {}
    for row in rows:
        columns = values.setdefault(row.method, {}).setdefault(row.region, {})
        for name, value in (*((metric, row.metrics.get(metric)) for metric in metrics), (_NUM_VOXELS, row.num_voxels)):
            columns.setdefault(name, [None] * len(place))[place[row.key]] = value
    return values


def _covariate(rows: Sequence[ScoreRow], name: str, place: dict[SessionKey, int]) -> list[str]:
    """A covariate of each subject, from the first of its rows that has it."""
    cells = [""] * len(place)
    for row in rows:
        cells[place[row.key]] = cells[place[row.key]] or row.covariates.get(name, "")
    return cells
