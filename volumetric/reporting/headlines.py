"""Headline metrics of the model: beside the baselines, and in groups of subjects."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from volumetric.records.scores import MODEL, SummaryRow
from volumetric.reporting.results import EvaluationResults, MetricColumn

HEADLINES = ("psnr_db", "ssim", "mae", "pearson")
"""The metrics at the top of the page, those of them that were computed."""
_SIGNS: Mapping[str, float] = {"higher": 1.0, "lower": -1.0}


@dataclass(frozen=True)
class MethodMean:
    """A method's mean of one metric, and its place on the axis of the headline, from 0 to 100.

    Attributes:
        method: its name.
        n: subjects with a finite value.
        mean: over them.
        low: lower end of its 95 % interval; NaN for one subject.
        high: upper end.
        at: place of the mean; `low_at` and `high_at` of the interval's ends.
    """

    method: str
    n: int
    mean: float
    low: float
    high: float
    at: float
    low_at: float
    high_at: float


@dataclass(frozen=True)
class Headline:
    """One metric of the model and of the baselines.

    Attributes:
        metric: its column.
        model: of the predictions.
        baselines: of the other methods, best first.
        gain: by how much the model's mean is better than the best baseline's; NaN without a baseline, or for a metric
            that is neither `higher` nor `lower`.
    """

    metric: MetricColumn
    model: MethodMean
    baselines: list[MethodMean]
    gain: float


@dataclass(frozen=True)
class SubjectGroup:
    """The model's headline metrics in a group of subjects.

    Attributes:
        name: `covariate=value`.
        n: subjects.
        means: one summary row for each of `headline_metrics`; None without a value.
    """

    name: str
    n: int
    means: list[SummaryRow | None]


def headline_metrics(results: EvaluationResults) -> list[MetricColumn]:
    """The headline metrics among the columns, in the order of `HEADLINES`."""
    metrics = [metric for metric in results.metrics if metric.name in HEADLINES]
    return sorted(metrics, key=lambda metric: HEADLINES.index(metric.name))


def headlines(results: EvaluationResults) -> list[Headline]:
    """The headline metrics of the model in the main region, beside the baselines that have as many subjects.

    The mean of a baseline over other subjects is not comparable, so it is left out.
    """
    every = [_headline(metric, _means(results, metric)) for metric in headline_metrics(results)]
    return [headline for headline in every if headline is not None]


def subject_groups(results: EvaluationResults) -> list[SubjectGroup]:
    """The groups of the summary, in its order, in the main region."""
    region = results.main_region
    rows: dict[str, dict[str, SummaryRow]] = {}
    for row in results.summary:
        if row.group and row.method == MODEL and row.region == region:
            rows.setdefault(row.group, {})[row.metric] = row
    names = [metric.name for metric in headline_metrics(results)]
    return [
        SubjectGroup(group, max(row.n for row in by_metric.values()), [by_metric.get(name) for name in names])
        for group, by_metric in rows.items()
    ]


def _means(results: EvaluationResults, metric: MetricColumn) -> dict[str, SummaryRow]:
    """By method, the finite means of a metric over all subjects in the main region."""
    key = (metric.name, results.main_region, "")
    return {
        row.method: row
        for row in results.summary
        if (row.metric, row.region, row.group) == key and math.isfinite(row.mean)
    }


def _headline(metric: MetricColumn, means: Mapping[str, SummaryRow]) -> Headline | None:
    if MODEL not in means:
        return None
    placed = _placed([row for row in means.values() if row.n == means[MODEL].n])
    sign = _SIGNS.get(metric.better, math.nan)
    model = placed.pop(MODEL)
    baselines = sorted(placed.values(), key=lambda mean: -mean.mean if math.isnan(sign) else -sign * mean.mean)
    gain = sign * (model.mean - baselines[0].mean) if baselines else math.nan
    return Headline(metric, model, baselines, gain)


def _placed(rows: Sequence[SummaryRow]) -> dict[str, MethodMean]:
    """By method, on an axis from the lowest to the highest finite end of an interval."""
    ends = {row.method: (row.mean, row.ci95_low, row.ci95_high) for row in rows}
    finite = [end for three in ends.values() for end in three if math.isfinite(end)]
    low, width = min(finite), (max(finite) - min(finite)) or 1.0
    return {
        row.method: MethodMean(
            row.method, row.n, *ends[row.method], *(round(100 * (end - low) / width, 2) for end in ends[row.method])
        )
        for row in rows
    }
