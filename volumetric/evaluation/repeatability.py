"""Scan-rescan agreement: do syntheses of a person's sessions repeat as well as the real scans do?"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence

from volumetric.metrics.statistics import repeats
from volumetric.metrics.table import METRICS

MODEL = "model"
_MEANS = ("truth_mean", "prediction_mean")


def repeatability_rows(rows: Sequence[Mapping[str, object]]) -> list[dict[str, object]]:
    """Analyse people with two or more sessions in the rows of `per_subject.csv`.

    `truth_mean` says how well the real scans repeat (the person, the positioning and the scanner, since truth is
    divided by its own median); `prediction_mean` says the same of the synthesis. Metrics say how steady the quality is.

    Args:
        rows: their dictionaries; only scored rows of method `model` count.

    Returns:
        One dictionary per region and column, `truth_mean` and `prediction_mean` first: method, region, metric, unit,
        `num_subjects` (people with two or more finite values), `num_sessions` (theirs), mean, `within_subject_sd`,
        `repeatability_coefficient`, `cv` (within-subject SD / mean; only of columns that cannot be negative, since
        0 dB is no absence of anything) and `icc`, which is ICC(1,1). See `volumetric.metrics.statistics.repeats` for
        sources. Empty if nobody has two sessions.
    """
    regions: dict[str, dict[str, list[Mapping[str, object]]]] = defaultdict(lambda: defaultdict(list))
    for row in rows:
        if row["method"] == MODEL and row["status"] == "ok":
            regions[str(row["region"])][str(row["subject_id"])].append(row)
    table: list[dict[str, object]] = []
    for region, subjects in regions.items():
        for column in (*_MEANS, *METRICS):
            found = repeats([[_number(row.get(column)) for row in sessions] for sessions in subjects.values()])
            if found.num_subjects:
                ratio = column in _MEANS or METRICS[column].value_range[0] == 0
                table.append(
                    {
                        "method": MODEL,
                        "region": region,
                        "metric": column,
                        "unit": "intensity" if column in _MEANS else METRICS[column].unit,
                        "num_subjects": found.num_subjects,
                        "num_sessions": found.num_values,
                        "mean": found.mean,
                        "within_subject_sd": found.within_subject_sd,
                        "repeatability_coefficient": found.repeatability_coefficient,
                        "cv": found.within_subject_sd / found.mean if ratio and found.mean > 0 else float("nan"),
                        "icc": found.icc,
                    }
                )
    return table


def _number(value: object) -> float:
    """The number of a cell; NaN where there is none."""
    return float("nan") if value is None or value == "" else float(str(value))
