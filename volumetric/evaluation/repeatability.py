"""Scan-rescan agreement: how well predictions of a subject's sessions repeat, beside the real scans."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence

from volumetric.metrics.statistics import repeats
from volumetric.metrics.table import METRICS
from volumetric.records.scores import MODEL, RepeatabilityRow, ScoreRow

_MEANS = ("truth_mean", "prediction_mean")


def repeatability_rows(rows: Sequence[ScoreRow]) -> list[RepeatabilityRow]:
    """Analyze subjects with two or more sessions.

    `truth_mean` says how well the real scans repeat (the subject, the positioning and the scanner, since truth is
    divided by its own median); `prediction_mean` says the same of the prediction. Metrics say how steady the quality
    is.

    Args:
        rows: of `per_subject.csv`; only scored rows of method `model` count.

    Returns:
        One row per region and value, `truth_mean` and `prediction_mean` first. `cv` is given for values that cannot be
        negative, since 0 dB is no absence of anything. See `volumetric.metrics.statistics.repeats` for sources. Empty
        if no subject has two sessions.
    """
    regions: dict[str, dict[str, list[ScoreRow]]] = defaultdict(lambda: defaultdict(list))
    for row in rows:
        if row.method == MODEL and row.is_scored:
            regions[row.region][row.subject_id].append(row)
    return [
        result
        for region, subjects in regions.items()
        for column in (*_MEANS, *METRICS)
        if (result := _repeatability(region, column, subjects))
    ]


def _repeatability(region: str, column: str, subjects: Mapping[str, Sequence[ScoreRow]]) -> RepeatabilityRow | None:
    """One value in one region; None where no subject has two finite ones."""
    result = repeats([[_value(row, column) for row in sessions] for sessions in subjects.values()])
    if not result.num_subjects:
        return None
    has_true_zero = column in _MEANS or METRICS[column].value_range[0] == 0
    return RepeatabilityRow(
        method=MODEL,
        region=region,
        metric=column,
        unit="intensity" if column in _MEANS else METRICS[column].unit,
        num_subjects=result.num_subjects,
        num_sessions=result.num_values,
        mean=result.mean,
        within_subject_sd=result.within_subject_sd,
        repeatability_coefficient=result.repeatability_coefficient,
        cv=result.within_subject_sd / result.mean if has_true_zero and result.mean > 0 else math.nan,
        icc=result.icc,
    )


def _value(row: ScoreRow, column: str) -> float:
    """NaN where there is none."""
    means = {"truth_mean": row.truth_mean, "prediction_mean": row.prediction_mean}
    value = means[column] if column in means else row.metrics.get(column)
    return math.nan if value is None else value
