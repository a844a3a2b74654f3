"""Training curves: the history of a run as panels, one for the loss and one for each validated metric."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from volumetric.metrics.uncertainty import SHARES_LEFT_OUT
from volumetric.reporting.results import EvaluationResults, MetricColumn

_NOT_CURVES = ("step", "lr")


@dataclass(frozen=True)
class Curve:
    """One line of a panel: `training` or `validation`, and one number or None for each step."""

    name: str
    values: list[float | None]


@dataclass(frozen=True)
class CurvePanel:
    """The curves that share an axis."""

    title: str
    unit: str
    series: list[Curve] = field(default_factory=list)


@dataclass(frozen=True)
class TrainingCurves:
    """Panels over the steps of a training, or over another count; none without any data."""

    steps: list[int]
    panels: list[CurvePanel]


def training_curves(results: EvaluationResults) -> TrainingCurves:
    """The curves of the run behind an evaluation."""
    history = [] if results.run is None else [row.values() for row in results.run.history]
    metrics = {metric.name: metric for metric in results.metrics}
    # A column without a number in any row would be an empty panel.
    columns = dict.fromkeys(
        column
        for row in history
        for column, value in row.items()
        if column not in _NOT_CURVES and not math.isnan(value)
    )
    steps = [int(row["step"]) for row in history]
    return TrainingCurves(steps, _panels(history, list(columns), metrics))


def sparsification_curves(results: EvaluationResults) -> TrainingCurves:
    """The error that is left over the percentage of voxels left out; no panels without uncertainty."""
    curves = results.sparsification
    if not curves:
        return TrainingCurves([], [])
    lines = [("least certain first", [curve.by_uncertainty for curve in curves]),
             ("largest error first", [curve.by_error for curve in curves])]  # fmt: skip
    series = [Curve(name, np.mean(values, axis=0).tolist()) for name, values in lines]
    steps = [round(100 * share) for share in SHARES_LEFT_OUT]
    return TrainingCurves(steps, [CurvePanel("RMSE that is left", "intensity", series)])


def _panels(
    history: Sequence[Mapping[str, float]], columns: Sequence[str], metrics: Mapping[str, MetricColumn]
) -> list[CurvePanel]:
    panels: dict[str, CurvePanel] = {}
    for column in columns:
        quantity = column.removeprefix("train_").removeprefix("val_")
        metric = metrics.get(quantity) or MetricColumn.of(quantity, None)
        panel = panels.setdefault(quantity, CurvePanel(metric.label, metric.unit))
        name = "validation" if column.startswith("val_") else "training"
        panel.series.append(Curve(name, [row.get(column) for row in history]))
    return list(panels.values())
