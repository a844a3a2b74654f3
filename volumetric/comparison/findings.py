"""Plain sentences about a comparison: sessions that are left out, what so few subjects can show, and the findings."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

from volumetric.comparison.methods import ComparedMethod
from volumetric.comparison.paired_tests import PairedTest
from volumetric.comparison.tables import ComparedTable
from volumetric.records.comparison import SeedRow
from volumetric.records.table import SessionKey

LEVEL = 0.05
_FEW = 6
_NAMED = 8


def exclusions(
    tables: Sequence[ComparedTable], groups: Sequence[ComparedMethod], tests: Sequence[PairedTest]
) -> list[str]:
    """Sessions that failed or are in some tables only, values that are not finite, and repeated sessions."""
    notes = [
        f"{table.label}: {_count(len(table.failed), 'session')} failed and cannot be compared: {_named(table.failed)}."
        for table in tables
        if table.failed
    ]
    notes += [
        f"{group.label}: {_count(len(group.partial), 'session')} not scored for every seed, and left out: "
        f"{_named(group.partial)}."
        for group in groups
        if group.partial
    ]
    for test in tests:
        notes += _exclusions_of(test)
    return list(dict.fromkeys(notes))


def _exclusions_of(test: PairedTest) -> list[str]:
    notes = [
        f"{test.name}: {_count(len(alone), 'session')} only in {side.label}, and left out: {_named(alone)}."
        for side in (test.baseline, test.candidate)
        if (alone := test.only(side))
    ]
    counts = Counter(session.subject_id for session in test.sessions)
    num_several = sum(count > 1 for count in counts.values())
    if num_several:
        notes.append(
            f"{test.name}: {num_several} of {_count(len(test.subjects), 'subject')} have several sessions, "
            "averaged to one number before anything is tested, since they are not independent."
        )
    if test.difference.num_nonfinite:
        notes.append(
            f"{test.name}, {test.metric.name}: {_count(test.difference.num_nonfinite, 'subject')} left out, "
            "since a value is not finite."
        )
    return notes


def limits(tests: Sequence[PairedTest]) -> list[str]:
    """Limits that the numbers of subjects, ties and tests set."""
    with_values = [t for t in tests if t.difference.n]
    notes = [f"{t.name}, {t.metric.name}: no subject has two finite values." for t in tests if not t.difference.n]
    for n in sorted({t.difference.n for t in with_values}):
        # Tests of more subjects may come before these in Holm's order, those of fewer cannot.
        notes += _limit_of(n, num_tests=sum(t.difference.n <= n for t in with_values))
    return notes + [_ties(t) for t in with_values if t.difference.num_ties]


def _limit_of(n: int, *, num_tests: int) -> list[str]:
    """The limit of n subjects, if it is within reach."""
    smallest = min(1.0, 2.0 ** (1 - n))
    if n < _FEW:
        return [
            f"With {_count(n, 'subject')} the smallest two-sided p is {smallest:.3g}; no test can be significant, "
            "and the bootstrap interval is too narrow to be relied on."
        ]
    if num_tests * smallest > LEVEL:
        return [
            f"With {n} subjects the smallest two-sided p is {smallest:.3g}, and "
            f"{min(1.0, num_tests * smallest):.3g} after Holm's correction over {num_tests} tests; none of these "
            "can be significant. More subjects, or fewer --metric, would help."
        ]
    return []


def _ties(test: PairedTest) -> str:
    d = test.difference
    beyond = ""
    if d.n >= _FEW and d.smallest_p > LEVEL:
        beyond = f"; with {d.n - d.num_ties} that differ the smallest p is {d.smallest_p:.3g}"
    return (
        f"{test.name}, {test.metric.name}: {d.num_ties} of {_count(d.n, 'subject')} tie. A tie counts half in the "
        f"win rate and speaks for neither in the test (Pratt's rule){beyond}."
    )


def findings(tests: Sequence[PairedTest]) -> list[str]:
    """One sentence a pair, with a clause a metric."""
    num_tests = sum(t.difference.n > 0 for t in tests)
    clauses: dict[str, list[str]] = {}
    for t in tests:
        if t.difference.n:
            pair = f"{t.name} ({_count(t.difference.n, 'subject')})"
            clauses.setdefault(pair, []).append(_finding(t, num_tests))
    return [f"{pair}: {'; '.join(clause)}." for pair, clause in clauses.items()]


def _finding(test: PairedTest, num_tests: int) -> str:
    """`PSNR +3.04 dB (95 % CI +2.02 to +4.29), better in 6, p = 0.0312, 0.188 corrected: not significant`."""
    d, metric = test.difference, test.metric
    label = f"|{metric.label}|" if metric.better == "zero" else metric.label
    unit = "" if metric.unit in ("", "1", "intensity") else f" {metric.unit}"
    interval = "" if math.isnan(d.ci95_low) else f" (95 % CI {d.ci95_low:+#.3g} to {d.ci95_high:+#.3g})"
    wins = f"better in {d.num_wins}" + (f", tied in {d.num_ties}" if d.num_ties else "")
    p = f"p = {d.p:.3g}" + (f", {test.p_holm:.3g} corrected" if num_tests > 1 else "")
    direction = "better" if d.rank_biserial > 0 else "worse"
    finding = f"significantly {direction}" if test.p_holm <= LEVEL else "not significant"
    return f"{label} {d.mean:+#.3g}{unit}{interval}, {wins}, {p}: {finding}"


def seed_sentences(rows: Sequence[SeedRow]) -> list[str]:
    """One sentence a configuration and metric."""
    return [
        f"{row.label}, {row.metric}: {row.mean:.4g}, SD {row.sd_over_seeds:.2g} over seeds {row.seeds} "
        f"({row.min_over_seeds:.4g} to {row.max_over_seeds:.4g}); in one subject seeds differ by an SD of "
        f"{row.within_subject_sd:.2g} ({row.n} subjects)."
        for row in rows
    ]


def seed_limits(tests: Sequence[PairedTest]) -> list[str]:
    """Differences between groups of seeds beside the spread over seeds."""
    notes = []
    for test in tests:
        error, ratio = test.seed_standard_error, abs(test.difference.mean) / (test.seed_standard_error or math.nan)
        if error > 0 and test.difference.n:
            seeds = f"{len(test.candidate.members)} and {len(test.baseline.members)} seeds"
            notes.append(
                f"{test.name}, {test.metric.name}: the test takes these trainings as given. The draw of {seeds} alone "
                f"has a standard error of {error:.2g}; the difference is {ratio:.1f} times that"
                + ("." if ratio > 2 else ", so other seeds could give another finding.")
            )
    return notes


def single_seed() -> list[str]:
    """The open question of a comparison of single trainings."""
    return [
        "No configuration is given with several seeds: the tests speak of these predictions, not of what another "
        "training with the same settings would give."
    ]


def _named(sessions: Sequence[SessionKey]) -> str:
    names = [session.name for session in sessions]
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return ", ".join(names[:_NAMED]) + more


def _count(number: int, thing: str) -> str:
    return f"{number} {thing}{'' if number == 1 else 's'}"
