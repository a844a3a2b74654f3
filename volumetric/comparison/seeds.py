"""How much the seed of a training decides: the spread over runs that differ in nothing else."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from volumetric.comparison.methods import Contender, subject_means
from volumetric.comparison.tables import Column
from volumetric.metrics.statistics import repeats


def seed_rows(contender: Contender, columns: Sequence[Column], region: str) -> list[dict[str, object]]:
    """Summarize the seeds of one configuration.

    Args:
        contender: with one member for each seed.
        columns: the metrics.
        region: for the rows.

    Returns:
        One dictionary per metric: the subjects that every seed has (`n`; who has a value that is not finite is in
        `num_nonfinite`), the mean over seeds of the mean over subjects, the SD, lowest and highest of these means, and
        `within_subject_sd`, the SD over seeds in one subject (root of the mean variance over subjects). Values keep
        their sign, also where nearer to zero is better.
    """
    visits = contender.visits
    runs = [member.scores.run for member in contender.members]
    rows: list[dict[str, object]] = []
    for column in columns:
        found = [subject_means(m.values(column, visits, signed=True), visits)[1] for m in contender.members]
        table = np.stack(found, axis=1)
        finite = table[np.isfinite(table).all(axis=1)]
        means = finite.mean(axis=0) if len(finite) else np.full(len(runs), np.nan)
        rows.append(
            {
                "label": contender.label,
                "method": contender.members[0].method,
                "region": region,
                "metric": column.name,
                "unit": column.unit,
                "seeds": " ".join(str(run.seed) for run in runs if run),
                "num_seeds": len(runs),
                "n": len(finite),
                "num_nonfinite": len(table) - len(finite),
                "mean": float(means.mean()),
                "sd_over_seeds": float(means.std(ddof=1)),
                "min_over_seeds": float(means.min()),
                "max_over_seeds": float(means.max()),
                "within_subject_sd": repeats(list(finite)).within_subject_sd,
            }
        )
    return rows
