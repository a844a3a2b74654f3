"""Paired test of a candidate against a baseline in one metric, over the subjects that both have."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from volumetric.comparison.methods import ComparedMethod, subject_means
from volumetric.comparison.tables import ComparedMetric
from volumetric.figures.differences import Differences, Panel
from volumetric.metrics.differences import PairedDifference, paired_difference
from volumetric.records.comparison import ComparisonRow
from volumetric.records.table import SessionKey


@dataclass(frozen=True)
class PairedTest:
    """A candidate against a baseline in one metric.

    Attributes:
        baseline: what it is compared with.
        candidate: what is compared.
        metric: the metric.
        region: the region.
        sessions: the sessions that both have.
        subjects: the names of their subjects.
        baseline_values: `(S,)`, a number a subject.
        candidate_values: `(S,)`.
        difference: their statistics.
        p_holm: `difference.p`, corrected for all tests of the call; NaN until then.
    """

    baseline: ComparedMethod
    candidate: ComparedMethod
    metric: ComparedMetric
    region: str
    sessions: tuple[SessionKey, ...]
    subjects: tuple[str, ...]
    baseline_values: NDArray[np.float64]
    candidate_values: NDArray[np.float64]
    difference: PairedDifference
    p_holm: float = math.nan

    @property
    def seed_standard_error(self) -> float:
        """Standard error of the mean difference from the draw of seeds alone; NaN unless both sides have several."""
        variance = 0.0
        for side in (self.baseline, self.candidate):
            columns = [subject_means(m.values(self.metric, self.sessions), self.sessions)[1] for m in side.members]
            values = np.stack(columns, axis=1)
            finite = values[np.isfinite(values).all(axis=1)]
            means = finite.mean(axis=0) if len(finite) else []
            variance += float(np.var(means, ddof=1)) / len(means) if len(means) > 1 else math.nan
        return math.sqrt(variance)

    @property
    def name(self) -> str:
        """`B against A`."""
        return f"{self.candidate.label} against {self.baseline.label}"

    def only(self, side: ComparedMethod) -> list[SessionKey]:
        """The sessions that one side alone has."""
        shared = set(self.sessions)
        return [session for session in side.sessions if session not in shared]


def paired_test(
    baseline: ComparedMethod, candidate: ComparedMethod, metric: ComparedMetric, region: str, *, seed: int
) -> PairedTest:
    """Pair the sessions, average those of each subject, and test."""
    others = set(candidate.sessions)
    sessions = tuple(session for session in baseline.sessions if session in others)
    subjects, first = subject_means(baseline.values(metric, sessions), sessions)
    _, second = subject_means(candidate.values(metric, sessions), sessions)
    better = metric.better if metric.better == "higher" else "lower"
    difference = paired_difference(first, second, better=better, seed=seed)
    return PairedTest(baseline, candidate, metric, region, sessions, tuple(subjects), first, second, difference)


def comparison_row(test: PairedTest) -> ComparisonRow:
    """The row of `comparison.csv`."""
    d = test.difference
    finite = np.isfinite(test.baseline_values) & np.isfinite(test.candidate_values)
    return ComparisonRow(
        candidate=test.candidate.label,
        baseline=test.baseline.label,
        region=test.region,
        metric=test.metric.name,
        unit=test.metric.unit,
        better=test.metric.better,
        n=d.n,
        num_sessions=len(test.sessions),
        num_sessions_candidate_only=len(test.only(test.candidate)),
        num_sessions_baseline_only=len(test.only(test.baseline)),
        num_nonfinite=d.num_nonfinite,
        num_seeds_candidate=len(test.candidate.members),
        num_seeds_baseline=len(test.baseline.members),
        seed_standard_error=test.seed_standard_error,
        candidate_mean=float(test.candidate_values[finite].mean()) if d.n else math.nan,
        baseline_mean=float(test.baseline_values[finite].mean()) if d.n else math.nan,
        mean_difference=d.mean,
        ci95_low=d.ci95_low,
        ci95_high=d.ci95_high,
        median_difference=d.median,
        sd_difference=d.sd,
        p=d.p,
        p_holm=test.p_holm,
        p_method=d.p_method,
        smallest_p=d.smallest_p,
        rank_biserial=d.rank_biserial,
        cohens_dz=d.cohens_dz,
        num_wins=d.num_wins,
        num_ties=d.num_ties,
        num_losses=d.num_losses,
        win_rate=d.win_rate,
    )


def panels(tests: Sequence[PairedTest], metrics: Sequence[ComparedMetric]) -> list[Panel]:
    """The panels of the figure: one a metric, with a row a pair."""
    shown = []
    for metric in metrics:
        rows = [
            Differences(t.name, t.candidate_values - t.baseline_values, d.mean, d.ci95_low, d.ci95_high)
            for t in tests
            if t.metric == metric and (d := t.difference).n
        ]
        unit = "" if metric.unit in ("", "1") else f" ({metric.unit})"
        label = f"|{metric.label}|" if metric.better == "zero" else metric.label
        shown.append(Panel(f"difference in {label}{unit}", metric.better == "higher", rows))
    return [panel for panel in shown if panel.rows]
