"""The table of every subject, by columns, as the page's scripts sort and draw it, and the spread over very many."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from volumetric.records.scores import MODEL, ScoreRow
from volumetric.records.table import SessionKey
from volumetric.reporting.headlines import HEADLINES
from volumetric.reporting.results import EvaluationResults, MetricColumn

MANY_SUBJECTS = 1000
"""Above it the page has the spread of every metric, and single scores only of the model: all metrics in the main
region, and the headline metrics in others."""
_NUM_BINS = 40
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
class ScoreSpread:
    """Spread of one metric over subjects, of the finite values.

    Attributes:
        n: their number.
        least: smallest value; `most` the largest.
        q1: first quartile.
        median: second.
        q3: third.
        low: smallest value within 1.5 interquartile ranges of the box; `high` the largest.
        counts: values in each of 40 equal bins from `least` to `most`.
    """

    n: int
    least: float
    q1: float
    median: float
    q3: float
    most: float
    low: float
    high: float
    counts: list[int]


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
        spreads: by method, region and metric, where there are more than `MANY_SUBJECTS`; else empty.
    """

    subjects: list[TableSubject]
    metrics: Sequence[MetricColumn]
    methods: list[str]
    regions: list[str]
    covariates: dict[str, list[str]]
    values: dict[str, dict[str, ScoreColumns]]
    spreads: dict[str, dict[str, dict[str, ScoreSpread]]]


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
    spreads = {}
    if len(sessions) > MANY_SUBJECTS:
        spreads = {method: _spreads(regions) for method, regions in values.items()}
        values = {MODEL: _kept(values.get(MODEL, {}), results.main_region)}
    return PageTable(
        subjects=[TableSubject(key.name, key in errors, errors.get(key, ""), key in shown) for key in sessions],
        metrics=results.metrics,
        methods=list(values),
        regions=list(dict.fromkeys(row.region for row in scored)),
        covariates=_covariates(results, place),
        values=values,
        spreads=spreads,
    )


def _values(
    rows: Sequence[ScoreRow], metrics: Sequence[str], place: dict[SessionKey, int]
) -> dict[str, dict[str, ScoreColumns]]:
    values: dict[str, dict[str, ScoreColumns]] = {}
    for row in rows:
        columns = values.setdefault(row.method, {}).setdefault(row.region, {})
        for name, value in (*((metric, row.metrics.get(metric)) for metric in metrics), (_NUM_VOXELS, row.num_voxels)):
            if name not in columns:
                columns[name] = [None] * len(place)
            columns[name][place[row.key]] = value
    return values


def _kept(regions: dict[str, ScoreColumns], main: str) -> dict[str, ScoreColumns]:
    """The columns of single scores that a page of very many subjects has."""
    return {
        region: {name: column for name, column in columns.items() if region == main or name in HEADLINES}
        for region, columns in regions.items()
    }


def _spreads(regions: dict[str, ScoreColumns]) -> dict[str, dict[str, ScoreSpread]]:
    return {region: _spreads_of(columns) for region, columns in regions.items()}


def _spreads_of(columns: ScoreColumns) -> dict[str, ScoreSpread]:
    spreads = {}
    for name, column in columns.items():
        numbers = np.array([np.nan if value is None else value for value in column])
        finite = numbers[np.isfinite(numbers)]
        if name != _NUM_VOXELS and finite.size:
            spreads[name] = _spread(finite)
    return spreads


def _spread(values: NDArray[np.float64]) -> ScoreSpread:
    least, q1, median, q3, most = (float(value) for value in np.quantile(values, [0, 0.25, 0.5, 0.75, 1]))
    inside = values[(values >= q1 - 1.5 * (q3 - q1)) & (values <= q3 + 1.5 * (q3 - q1))]
    counts, _ = np.histogram(values, _NUM_BINS)
    return ScoreSpread(
        values.size, least, q1, median, q3, most, float(inside.min()), float(inside.max()), counts.tolist()
    )


def _covariates(results: EvaluationResults, place: dict[SessionKey, int]) -> dict[str, list[str]]:
    """By column, those that any subject has."""
    columns = {name: _covariate(results.table.rows, name, place) for name in results.table.covariates}
    return {name: cells for name, cells in columns.items() if any(cells)}


def _covariate(rows: Sequence[ScoreRow], name: str, place: dict[SessionKey, int]) -> list[str]:
    """A covariate of each subject, from the first of its rows that has it."""
    cells = [""] * len(place)
    for row in rows:
        cells[place[row.key]] = cells[place[row.key]] or row.covariates.get(name, "")
    return cells
