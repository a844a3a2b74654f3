"""What the page says: numbers chosen and compared, before any of it is HTML."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from volumetric.reporting.results import MODEL, Cells, Metric, Results, number, subject_name

HEADLINES = ("psnr_db", "ssim", "mae", "pearson")
"""The metrics at the top, as far as they were computed."""
_RANKED_BY = ("ssim", "psnr_db")
_TISSUES = {"csf": "CSF", "gm": "Gray matter", "wm": "White matter"}
_LIMITS_SD = 1.96


@dataclass(frozen=True)
class Choice:
    """A subject that is shown, and why.

    Attributes:
        subject: its name.
        why: `best`, `median`, `worst`, `only`, or empty.
    """

    subject: str
    why: str


@dataclass(frozen=True)
class Mean:
    """A method's mean of one metric, with where it lies between the ends of its headline's axis (per cent)."""

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
        metric: which.
        model: the predictions.
        baselines: the others, best first.
        gain: how much better the model's mean is than the best baseline's, in the metric's good direction; NaN
            without a baseline or without a direction.
    """

    metric: Metric
    model: Mean
    baselines: list[Mean]
    gain: float


@dataclass(frozen=True)
class Agreement:
    """Bland and Altman (Lancet 1986, 307-310) of a tissue's mean intensity: prediction - truth over their mean.

    Attributes:
        region: `csf`, `gm` or `wm`.
        label: what the page calls it.
        subjects: `S` names.
        means: `S` numbers, (truth + prediction) / 2, reference units.
        differences: `S` numbers, prediction - truth.
        bias: mean difference.
        lower: bias - 1.96 SD of the differences; NaN for one subject.
        upper: bias + 1.96 SD.
    """

    region: str
    label: str
    subjects: list[str]
    means: list[float]
    differences: list[float]
    bias: float
    lower: float
    upper: float


def scored(results: Results, method: str = MODEL, region: str | None = None) -> list[Cells]:
    """The rows of a method that have scores, in one region or in all."""
    return [r for r in results.rows if r["method"] == method and r["status"] == "ok" and region in (None, r["region"])]


def main_region(results: Results) -> str:
    """`brain`, or the first region that was scored; empty if nothing was."""
    regions = list(dict.fromkeys(row["region"] for row in scored(results)))
    return "brain" if "brain" in regions else next(iter(regions), "")


def choose(results: Results) -> list[Choice]:
    """The best, median and worst subject by the model's SSIM in the brain, or its PSNR where there is no SSIM.

    Of an even number of subjects the better of the two in the middle is the median; where there are fewer than three,
    fewer are chosen.
    """
    rows = scored(results, region=main_region(results))
    for metric in _RANKED_BY:
        values = [(number(row.get(metric)), subject_name(row)) for row in rows]
        valid = [pair for pair in values if not math.isnan(pair[0])]
        ranked = [name for _, name in sorted(valid, key=lambda pair: -pair[0])]
        if ranked:
            break
    else:
        ranked = [subject_name(row) for row in rows[:1]]
    if len(ranked) < 2:
        return [Choice(name, "only") for name in ranked]
    middle = [Choice(ranked[(len(ranked) - 1) // 2], "median")] if len(ranked) > 2 else []
    return [Choice(ranked[0], "best"), *middle, Choice(ranked[-1], "worst")]


def headlines(results: Results, region: str) -> list[Headline]:
    """The first metrics of the model beside the baselines that have as many subjects: other means do not compare."""
    found = []
    for metric in results.metrics:
        rows = {
            row["method"]: row
            for row in results.summary
            if (row["metric"], row["region"], row.get("group", "")) == (metric.name, region, "")
        }
        if metric.name in HEADLINES and MODEL in rows and math.isfinite(number(rows[MODEL]["mean"])):
            alike = {method: row for method, row in rows.items() if row["n"] == rows[MODEL]["n"]}
            found.append(_headline(metric, alike))
    return sorted(found, key=lambda headline: HEADLINES.index(headline.metric.name))


def _headline(metric: Metric, rows: Mapping[str, Cells]) -> Headline:
    cells = {m: [number(row[key]) for key in ("mean", "ci95_low", "ci95_high")] for m, row in rows.items()}
    finite = [value for numbers in cells.values() for value in numbers if math.isfinite(value)]
    low, width = min(finite), (max(finite) - min(finite)) or 1.0

    def at(value: float) -> float:
        return round(100 * (value - low) / width, 2) if math.isfinite(value) else math.nan

    means = {
        method: Mean(method, int(number(rows[method]["n"]) or 0), *numbers, *map(at, numbers))
        for method, numbers in cells.items()
        if math.isfinite(numbers[0])
    }
    sign = {"higher": 1.0, "lower": -1.0}.get(metric.better, math.nan)
    model = means.pop(MODEL)
    baselines = sorted(means.values(), key=lambda mean: -mean.mean if math.isnan(sign) else -sign * mean.mean)
    gain = sign * (model.mean - baselines[0].mean) if baselines else math.nan
    return Headline(metric, model, baselines, gain)


def groups(results: Results, region: str) -> list[dict[str, Any]]:
    """The model's headline metrics in each group of subjects: `{"group", "n", "cells": [summary row or None]}`."""
    rows = [r for r in results.summary if r["method"] == MODEL and r["region"] == region and r.get("group")]
    names = [metric.name for metric in results.metrics if metric.name in HEADLINES]
    table = []
    for group in dict.fromkeys(row["group"] for row in rows):
        found = {row["metric"]: row for row in rows if row["group"] == group}
        n = max((int(number(row["n"])) for row in found.values() if row["n"]), default=0)
        table.append({"group": group, "n": n, "cells": [found.get(name) for name in names]})
    return table


def agreements(results: Results) -> list[Agreement]:
    """One per tissue that has means; empty if there are none."""
    found = []
    for region, label in _TISSUES.items():
        rows = scored(results, region=region)
        pairs = [(subject_name(r), number(r.get("truth_mean")), number(r.get("prediction_mean"))) for r in rows]
        pairs = [pair for pair in pairs if math.isfinite(pair[1]) and math.isfinite(pair[2])]
        if pairs:
            differences = np.array([prediction - truth for _, truth, prediction in pairs])
            bias = float(differences.mean())
            reach = _LIMITS_SD * float(differences.std(ddof=1)) if len(pairs) > 1 else math.nan
            means = [(truth + prediction) / 2 for _, truth, prediction in pairs]
            names = [name for name, _, _ in pairs]
            found.append(Agreement(region, label, names, means, differences.tolist(), bias, bias - reach, bias + reach))
    return found


def failures(results: Results) -> list[tuple[str, str]]:
    """Subjects without scores, each with the reason."""
    return [(subject_name(row), row.get("error", "")) for row in results.rows if row["status"] == "failed"]


def table_data(results: Results, shown: Sequence[str]) -> dict[str, Any]:
    """The per-subject table by columns, for the page's scripts.

    Returns:
        `subjects` (name, whether it failed or is shown), `metrics`, `methods`, `regions`, `covariates` by name and
        `values[method][region][metric]`, one number or None a subject. Numbers keep six digits.
    """
    place = {name: index for index, name in enumerate(results.subjects)}
    failed = dict(failures(results))
    values: dict[str, dict[str, dict[str, list[object]]]] = {}
    columns = [*(metric.name for metric in results.metrics), "num_voxels"]
    covariates: dict[str, list[str]] = {name: [""] * len(place) for name in results.covariates}
    for row in results.rows:
        index = place[subject_name(row)]
        for name, cells in covariates.items():
            cells[index] = cells[index] or row.get(name, "")
        if row["status"] == "ok":
            table = values.setdefault(row["method"], {}).setdefault(row["region"], {})
            for column in columns:
                table.setdefault(column, [None] * len(place))[index] = rounded(number(row.get(column)))
    return {
        "subjects": [
            {"name": name, "failed": name in failed, "error": failed.get(name, ""), "shown": name in shown}
            for name in place
        ],
        "metrics": [metric.__dict__ for metric in results.metrics],
        "methods": list(values),
        "regions": list(dict.fromkeys(region for tables in values.values() for region in tables)),
        "covariates": {name: cells for name, cells in covariates.items() if any(cells)},
        "values": values,
    }


def rounded(value: float) -> float | str | None:
    """Six digits; NaN is None and infinity its sign and name, since JSON has neither."""
    if math.isnan(value):
        return None
    return float(f"{value:.6g}") if math.isfinite(value) else ("Infinity" if value > 0 else "-Infinity")
