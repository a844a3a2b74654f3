"""Plain sentences about a comparison: who is left out, what so few subjects can show, and what came out."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence

from volumetric.comparison.methods import Contender
from volumetric.comparison.paired_tests import Contest
from volumetric.comparison.tables import Scores, Visit, visit_name

LEVEL = 0.05
_FEW = 6
_NAMED = 8


def exclusions(scores: Sequence[Scores], groups: Sequence[Contender], contests: Sequence[Contest]) -> list[str]:
    """Who failed, who is in some tables only, whose values are not finite, and who has several sessions."""
    notes = [
        f"{table.label}: {_count(len(table.failed), 'visit')} failed and cannot be compared: {_named(table.failed)}."
        for table in scores
        if table.failed
    ]
    for group in groups:
        if group.partial:
            notes.append(
                f"{group.label}: {_count(len(group.partial), 'visit')} not scored for every seed, and left out: "
                f"{_named(group.partial)}."
            )
    for c in contests:
        for side in (c.baseline, c.candidate):
            if alone := c.only(side):
                notes.append(
                    f"{c.name}: {_count(len(alone), 'visit')} only in {side.label}, and left out: {_named(alone)}."
                )
        several = [subject for subject, count in Counter(subject for subject, _ in c.visits).items() if count > 1]
        if several:
            notes.append(
                f"{c.name}: {len(several)} of {_count(len(c.subjects), 'subject')} have several sessions, "
                "averaged to one number before anything is tested, since they are not independent."
            )
        if c.difference.num_nonfinite:
            notes.append(
                f"{c.name}, {c.column.name}: {_count(c.difference.num_nonfinite, 'subject')} left out, "
                "since a value is not finite."
            )
    return list(dict.fromkeys(notes))


def limits(contests: Sequence[Contest]) -> list[str]:
    """What the numbers of subjects, ties and tests allow at all."""
    tested = [c for c in contests if c.difference.n]
    notes = [f"{c.name}, {c.column.name}: no subject has two finite values." for c in contests if not c.difference.n]
    for n in sorted({c.difference.n for c in tested}):
        smallest = min(1.0, 2.0 ** (1 - n))
        # Tests of more subjects may come before these in Holm's order, those of fewer cannot.
        num_tests = sum(c.difference.n <= n for c in tested)
        if n < _FEW:
            notes.append(
                f"With {_count(n, 'subject')} the smallest two-sided p is {smallest:.3g}; no test can be significant, "
                "and the bootstrap interval is too narrow to be relied on."
            )
        elif num_tests * smallest > LEVEL:
            notes.append(
                f"With {n} subjects the smallest two-sided p is {smallest:.3g}, and "
                f"{min(1.0, num_tests * smallest):.3g} after Holm's correction over {num_tests} tests; none of these "
                "can be significant. More subjects, or fewer --metric, would help."
            )
    for c in tested:
        d = c.difference
        if d.num_ties:
            beyond = ""
            if d.n >= _FEW and d.smallest_p > LEVEL:
                beyond = f"; with {d.n - d.num_ties} that differ the smallest p is {d.smallest_p:.3g}"
            notes.append(
                f"{c.name}, {c.column.name}: {d.num_ties} of {_count(d.n, 'subject')} tie. A tie counts half in the "
                f"win rate and speaks for neither in the test (Pratt's rule){beyond}."
            )
    return notes


def verdicts(contests: Sequence[Contest]) -> list[str]:
    """One sentence a pair, with a clause a metric."""
    num_tests = sum(c.difference.n > 0 for c in contests)
    clauses: dict[str, list[str]] = {}
    for c in contests:
        if c.difference.n:
            clauses.setdefault(f"{c.name} ({_count(c.difference.n, 'subject')})", []).append(_verdict(c, num_tests))
    return [f"{pair}: {'; '.join(found)}." for pair, found in clauses.items()]


def _verdict(c: Contest, num_tests: int) -> str:
    """`PSNR +3.04 dB (95 % CI +2.02 to +4.29), better in 6, p = 0.0312, 0.188 corrected: not significant`."""
    d = c.difference
    label = f"|{c.column.label}|" if c.column.better == "zero" else c.column.label
    unit = "" if c.column.unit in ("", "1", "intensity") else f" {c.column.unit}"
    interval = "" if math.isnan(d.ci95_low) else f" (95 % CI {d.ci95_low:+#.3g} to {d.ci95_high:+#.3g})"
    wins = f"better in {d.num_wins}" + (f", tied in {d.num_ties}" if d.num_ties else "")
    p = f"p = {d.p:.3g}" + (f", {c.p_holm:.3g} corrected" if num_tests > 1 else "")
    direction = "better" if d.rank_biserial > 0 else "worse"
    verdict = f"significantly {direction}" if c.p_holm <= LEVEL else "not significant"
    return f"{label} {d.mean:+#.3g}{unit}{interval}, {wins}, {p}: {verdict}"


def seed_sentences(seeds: Sequence[Mapping[str, object]]) -> list[str]:
    """One sentence a configuration and metric."""
    return [
        f"{row['label']}, {row['metric']}: {row['mean']:.4g}, SD {row['sd_over_seeds']:.2g} over seeds {row['seeds']} "
        f"({row['min_over_seeds']:.4g} to {row['max_over_seeds']:.4g}); in one subject seeds differ by an SD of "
        f"{row['within_subject_sd']:.2g} ({row['n']} subjects)."
        for row in seeds
    ]


def seed_limits(contests: Sequence[Contest]) -> list[str]:
    """How the differences between groups of seeds compare with the spread over seeds."""
    notes = []
    for c in contests:
        error, ratio = c.seed_standard_error, abs(c.difference.mean) / (c.seed_standard_error or math.nan)
        if error > 0 and c.difference.n:
            seeds = f"{len(c.candidate.members)} and {len(c.baseline.members)} seeds"
            notes.append(
                f"{c.name}, {c.column.name}: the test takes these trainings as given. The draw of {seeds} alone has a "
                f"standard error of {error:.2g}; the difference is {ratio:.1f} times that"
                + ("." if ratio > 2 else ", so other seeds could give another verdict.")
            )
    return notes


def single_seed() -> list[str]:
    """What a comparison of single trainings leaves open."""
    return [
        "No configuration is given with several seeds: the tests speak of these predictions, not of what another "
        "training with the same settings would give."
    ]


def _named(visits: Sequence[Visit]) -> str:
    names = [visit_name(visit) for visit in visits]
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return ", ".join(names[:_NAMED]) + more


def _count(number: int, thing: str) -> str:
    return f"{number} {thing}{'' if number == 1 else 's'}"
