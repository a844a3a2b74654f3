"""From one row a subject to one row a metric."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict

import numpy as np

from volumetric.metrics.statistics import summarise
from volumetric.metrics.table import METRICS


def summary_rows(rows: Sequence[Mapping[str, object]], num_subjects: int) -> list[dict[str, object]]:
    """Summarise the rows of `per_subject.csv` over subjects.

    Args:
        rows: their dictionaries.
        num_subjects: how many there should be; who has no number is counted in `num_missing`.

    Returns:
        One dictionary per method, region and metric: `n`, `num_missing`, mean, SD, median, quartiles and the 95 %
        bootstrap interval of the mean.
    """
    summaries: list[dict[str, object]] = []
    groups = dict.fromkeys((str(row["method"]), str(row["region"])) for row in rows if row["region"])
    for method, region in groups:
        for metric in METRICS.values():
            values = np.array(
                [
                    row[metric.name]
                    for row in rows
                    if row["method"] == method and row["region"] == region and row["status"] == "ok"
                ],
                dtype=np.float64,
            )
            summary = asdict(summarise(values))
            key = {"method": method, "region": region, "metric": metric.name, "unit": metric.unit}
            summaries.append(key | {"n": summary.pop("n"), "num_missing": num_subjects - len(values)} | summary)
    return summaries
