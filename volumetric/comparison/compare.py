"""Comparing evaluations of the same people: two models, several seeds, or a model and the free baselines."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from volumetric.comparison.findings import exclusions, limits, seed_limits, seed_sentences, single_seed, verdicts
from volumetric.comparison.methods import CompareError, Contender, Member, check_comparable, group_seeds
from volumetric.comparison.paired_tests import Contest, contest, contest_row, panels
from volumetric.comparison.seeds import seed_rows
from volumetric.comparison.tables import Column, Scores, column, open_scores
from volumetric.figures.differences import draw_differences
from volumetric.metrics.differences import holm
from volumetric.outputs import hash_file, locked, versions, write_csv, write_json

DEFAULT_METRICS = ("psnr_db", "ssim", "mae")
"""Few, because every test makes the correction harsher for all."""


@dataclass(frozen=True)
class Comparison:
    """What a comparison found.

    Attributes:
        rows: of `comparison.csv`, one per pair and metric; empty if all tables are seeds of one configuration.
        seeds: of `seeds.csv`, one per configuration with several seeds and metric.
        notes: plain sentences: what was compared, who is left out, what the numbers allow, and the verdicts.
    """

    rows: list[dict[str, object]]
    seeds: list[dict[str, object]]
    notes: list[str]


def compare(
    tables: Sequence[Path],
    *,
    out: Path | None = None,
    labels: Sequence[str] = (),
    metrics: Sequence[str] = DEFAULT_METRICS,
    region: str = "brain",
    method: str = "model",
    methods: Sequence[str] = (),
    baseline: str | None = None,
    across_scales: bool = False,
    seed: int = 0,
) -> Comparison:
    """Compare evaluations, paired by subject and session.

    Sessions of one subject are averaged before anything is tested, since they are not independent. Tables are compared
    with one baseline, not all with all: that is the usual question (is the new one better than what there was?), and
    k - 1 tests are corrected less harshly than k (k - 1) / 2. Runs that differ in nothing but the seed are one
    contender, each subject's value the mean over seeds.

    Args:
        tables: `per_subject.csv` files, folders of evaluations, or run folders. One table compares methods in it.
        out: folder for `comparison.csv`, `comparison.png`, `comparison.json` and, with several seeds, `seeds.csv`;
            nothing is written without.
        labels: names of the tables; default their folders' names.
        metrics: columns to compare; each adds a test to the correction.
        region: the region.
        method: of several tables, the method to compare.
        methods: of one table, the first is compared with each of the others; default `method` with all others.
        baseline: the label (or, in one table, the method) that the others are compared with; default the first table.
        across_scales: compare tables although `prediction_scale` differs.
        seed: of the bootstrap.

    Raises:
        InputError: a table that is none, tables that must not be compared, or an unknown metric, method or label.
    """
    if not metrics or not tables:
        raise CompareError("give at least one table and one --metric")
    scores = open_scores(tables, labels)
    columns = [column(name, scores) for name in dict.fromkeys(metrics)]
    if len(scores) == 1:
        pairs, notes = _method_pairs(scores[0], region, method, methods, baseline)
        groups: list[Contender] = []
    else:
        if methods:
            raise CompareError("--methods compares within one table; for several tables name one with --method")
        members = [Member(table, method, table.visits(method, region)) for table in scores]
        contenders, notes = group_seeds(members)
        groups = [contender for contender in contenders if len(contender.members) > 1]
        for group in groups:
            for member in group.members[1:]:
                notes += check_comparable(group.members[0], member, across_scales=across_scales)
        pairs = _table_pairs(contenders, baseline)
    for candidate, base in pairs:
        notes += check_comparable(base.members[0], candidate.members[0], across_scales=across_scales)
    contests = [contest(base, candidate, c, region, seed=seed) for candidate, base in pairs for c in columns]
    corrected = holm([c.difference.p for c in contests])
    contests = [replace(c, p_holm=float(p)) for c, p in zip(contests, corrected, strict=True)]
    seeds = [row for group in groups for row in seed_rows(group, columns, region)]
    notes += exclusions(scores, groups, contests) + limits(contests) + verdicts(contests) + seed_sentences(seeds)
    notes += seed_limits(contests) if groups or len(scores) == 1 else single_seed()
    comparison = Comparison([contest_row(c) for c in contests], seeds, list(dict.fromkeys(notes)))
    if out:
        _write(out, comparison, scores, columns, contests, seed)
    return comparison


def _method_pairs(
    scores: Scores, region: str, method: str, methods: Sequence[str], baseline: str | None
) -> tuple[list[tuple[Contender, Contender]], list[str]]:
    """The first method against each of the others."""
    if methods and baseline:
        raise CompareError("give --methods or --baseline, not both: the methods after the first are the baselines")
    there = scores.methods(region)
    first, *others = dict.fromkeys(methods or (method, *([baseline] if baseline else there)))
    unknown = [name for name in (first, *others) if name not in there]
    if unknown:
        raise CompareError(
            f"{scores.path}: no scored row of method {', '.join(unknown)} in region {region}; "
            f"the methods there are {', '.join(there) or 'none'}"
        )
    if not others:
        raise CompareError(
            f"{scores.path}: there is only method {first} in region {region}, and nothing to compare it with; "
            "give a second table, or evaluate with training rows in the manifest for the free baselines"
        )
    found = {name: Contender(name, (Member(scores, name, scores.visits(name, region)),)) for name in (first, *others)}
    return [(found[first], found[name]) for name in others], []


def _table_pairs(contenders: Sequence[Contender], baseline: str | None) -> list[tuple[Contender, Contender]]:
    """Everybody against the baseline."""
    if baseline is None:
        base = contenders[0]
    else:
        named = [c for c in contenders if baseline in (c.label, *(m.scores.label for m in c.members))]
        if not named:
            known = ", ".join(member.scores.label for c in contenders for member in c.members)
            raise CompareError(f"--baseline {baseline}: no table is called so; the labels are {known}")
        base = named[0]
    return [(contender, base) for contender in contenders if contender is not base]


def _write(
    out: Path,
    comparison: Comparison,
    scores: Sequence[Scores],
    columns: Sequence[Column],
    contests: Sequence[Contest],
    seed: int,
) -> None:
    with locked(out):
        files = {"comparison.csv": comparison.rows, "seeds.csv": comparison.seeds}
        for name, rows in files.items():
            if rows:
                write_csv(out / name, rows)
            else:
                (out / name).unlink(missing_ok=True)
        if contests:
            draw_differences(panels(contests, columns), out / "comparison.png")
        else:
            (out / "comparison.png").unlink(missing_ok=True)
        write_json(
            out / "comparison.json",
            {
                "tables": [
                    {"label": s.label, "path": str(s.path.resolve()), "sha256": hash_file(s.path)} for s in scores
                ],
                "metrics": [c.name for c in columns],
                "bootstrap_seed": seed,
                "num_tests": int(np.isfinite([c.difference.p for c in contests]).sum()),
                "notes": comparison.notes,
                "versions": versions(),
            },
        )
