"""One contest: a candidate against a baseline in one metric, over the subjects that both have."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from volumetric.comparison.methods import Contender, subject_means
from volumetric.comparison.tables import Column, Visit
from volumetric.figures.differences import Differences, Panel
from volumetric.metrics.differences import PairedDifference, paired_difference


@dataclass(frozen=True)
class Contest:
    """A candidate against a baseline in one metric.

    Attributes:
        baseline: what it is compared with.
        candidate: what is compared.
        column: the metric.
        region: the region.
        visits: the visits that both have.
        subjects: the names of their subjects.
        baseline_values: `(S,)`, a number a subject.
        candidate_values: `(S,)`.
        difference: their statistics.
        p_holm: `difference.p`, corrected for all tests of the call; NaN until then.
    """

    baseline: Contender
    candidate: Contender
    column: Column
    region: str
    visits: tuple[Visit, ...]
    subjects: tuple[str, ...]
    baseline_values: NDArray[np.float64]
    candidate_values: NDArray[np.float64]
    difference: PairedDifference
    p_holm: float = math.nan

    @property
    def seed_standard_error(self) -> float:
        """What the draw of seeds alone does to the mean difference; NaN unless both sides have several."""
        variance = 0.0
        for side in (self.baseline, self.candidate):
            found = [subject_means(member.values(self.column, self.visits), self.visits)[1] for member in side.members]
            table = np.stack(found, axis=1)
            means = table[np.isfinite(table).all(axis=1)].mean(axis=0) if np.isfinite(table).all(axis=1).any() else []
            variance += float(np.var(means, ddof=1)) / len(means) if len(means) > 1 else math.nan
        return math.sqrt(variance)

    @property
    def name(self) -> str:
        """`B against A`."""
        return f"{self.candidate.label} against {self.baseline.label}"

    def only(self, side: Contender) -> list[Visit]:
        """The visits that one side alone has."""
        return [visit for visit in side.visits if visit not in self.visits]


def contest(baseline: Contender, candidate: Contender, column: Column, region: str, *, seed: int) -> Contest:
    """Pair the visits, average the sessions of each subject, and test."""
    theirs = set(candidate.visits)
    visits = tuple(visit for visit in baseline.visits if visit in theirs)
    subjects, first = subject_means(baseline.values(column, visits), visits)
    _, second = subject_means(candidate.values(column, visits), visits)
    better = column.better if column.better == "higher" else "lower"
    difference = paired_difference(first, second, better=better, seed=seed)
    return Contest(baseline, candidate, column, region, visits, tuple(subjects), first, second, difference)


def contest_row(found: Contest) -> dict[str, object]:
    """The row of `comparison.csv`."""
    d = found.difference
    finite = np.isfinite(found.baseline_values) & np.isfinite(found.candidate_values)
    return {
        "candidate": found.candidate.label,
        "baseline": found.baseline.label,
        "region": found.region,
        "metric": found.column.name,
        "unit": found.column.unit,
        "better": found.column.better,
        "n": d.n,
        "num_visits": len(found.visits),
        "num_visits_candidate_only": len(found.only(found.candidate)),
        "num_visits_baseline_only": len(found.only(found.baseline)),
        "num_nonfinite": d.num_nonfinite,
        "num_seeds_candidate": len(found.candidate.members),
        "num_seeds_baseline": len(found.baseline.members),
        "seed_standard_error": found.seed_standard_error,
        "candidate_mean": float(found.candidate_values[finite].mean()) if d.n else math.nan,
        "baseline_mean": float(found.baseline_values[finite].mean()) if d.n else math.nan,
        "mean_difference": d.mean,
        "ci95_low": d.ci95_low,
        "ci95_high": d.ci95_high,
        "median_difference": d.median,
        "sd_difference": d.sd,
        "p": d.p,
        "p_holm": found.p_holm,
        "p_method": d.p_method,
        "smallest_p": d.smallest_p,
        "rank_biserial": d.rank_biserial,
        "cohens_dz": d.cohens_dz,
        "num_wins": d.num_wins,
        "num_ties": d.num_ties,
        "num_losses": d.num_losses,
        "win_rate": d.win_rate,
    }


def panels(contests: Sequence[Contest], columns: Sequence[Column]) -> list[Panel]:
    """What the picture shows: a panel a metric, a row a pair."""
    found = []
    for column in columns:
        rows = [
            Differences(c.name, c.candidate_values - c.baseline_values, d.mean, d.ci95_low, d.ci95_high)
            for c in contests
            if c.column == column and (d := c.difference).n
        ]
        unit = "" if column.unit in ("", "1") else f" ({column.unit})"
        label = f"|{column.label}|" if column.better == "zero" else column.label
        found.append(Panel(f"difference in {label}{unit}", column.better == "higher", rows))
    return [panel for panel in found if panel.rows]
