"""Spread over training runs that differ in nothing but the seed."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from volumetric.comparison.methods import ComparedMethod, subject_means
from volumetric.comparison.tables import ComparedMetric
from volumetric.metrics.statistics import repeats
from volumetric.records.comparison import SeedRow


def seed_rows(method: ComparedMethod, metrics: Sequence[ComparedMetric], region: str) -> list[SeedRow]:
    """Summarize the seeds of one configuration, one row a metric.

    Args:
        method: with one member for each seed.
        metrics: to summarize.
        region: for the rows.
    """
    sessions = method.sessions
    runs = [member.table.run for member in method.members]
    rows = []
    for metric in metrics:
        columns = [subject_means(m.values(metric, sessions, signed=True), sessions)[1] for m in method.members]
        values = np.stack(columns, axis=1)
        finite = values[np.isfinite(values).all(axis=1)]
        means = finite.mean(axis=0) if len(finite) else np.full(len(runs), np.nan)
        rows.append(
            SeedRow(
                label=method.label,
                method=method.members[0].method,
                region=region,
                metric=metric.name,
                unit=metric.unit,
                seeds=" ".join(str(run.seed) for run in runs if run),
                num_seeds=len(runs),
                n=len(finite),
                num_nonfinite=len(values) - len(finite),
                mean=float(means.mean()),
                sd_over_seeds=float(means.std(ddof=1)),
                min_over_seeds=float(means.min()),
                max_over_seeds=float(means.max()),
                within_subject_sd=repeats(list(finite)).within_subject_sd,
            )
        )
    return rows
