"""Comparison of evaluations of the same subjects: two models, several seeds, or a model and the free baselines."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path

import numpy as np

from volumetric.comparison.findings import exclusions, findings, limits, seed_limits, seed_sentences, single_seed
from volumetric.comparison.methods import ComparedMethod, CompareError, MethodScores, check_comparable, group_seeds
from volumetric.comparison.paired_tests import PairedTest, comparison_row, paired_test, panels
from volumetric.comparison.seeds import seed_rows
from volumetric.comparison.tables import ComparedMetric, ComparedTable, compared_metric, open_tables
from volumetric.figures.differences import draw_differences
from volumetric.metrics.differences import holm
from volumetric.outputs import check_unclaimed, hash_file, locked, versions, write_json
from volumetric.records.comparison import COMPARISON_FILE, SEEDS_FILE, ComparisonRow, SeedRow
from volumetric.records.scores import MODEL

DEFAULT_METRICS = ("psnr_db", "ssim", "mae")
"""Few, because every test makes the correction harsher for all."""


@dataclass(frozen=True)
class Comparison:
    """The result of a comparison.

    Attributes:
        rows: of `comparison.csv`, one per pair and metric; empty if all tables are seeds of one configuration.
        seeds: of `seeds.csv`, one per configuration with several seeds and metric.
        notes: plain sentences: sessions that are left out, what the numbers allow, and the findings.
    """

    rows: list[ComparisonRow]
    seeds: list[SeedRow]
    notes: list[str]


def compare(
    tables: Sequence[Path],
    *,
    out: Path | None = None,
    labels: Sequence[str] = (),
    metrics: Sequence[str] = DEFAULT_METRICS,
    region: str = "brain",
    method: str = MODEL,
    methods: Sequence[str] = (),
    baseline: str | None = None,
    across_scales: bool = False,
    seed: int = 0,
) -> Comparison:
    """Compare evaluations, paired by subject and session.

    Sessions of one subject are averaged before anything is tested, since they are not independent. Tables are compared
    with one baseline, not all with all: that is the usual question (is the new one better than what there was?), and
    k - 1 tests are corrected less harshly than k (k - 1) / 2. Runs that differ in nothing but the seed are one
    method, each subject's value the mean over seeds.

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
        InputError: a table that is none, tables that must not be compared, or an unknown metric, method, region or
            label.
    """
    if not metrics or not tables:
        raise CompareError("give at least one table and one --metric")
    opened = open_tables(tables, labels, region)
    compared = [compared_metric(name, opened) for name in dict.fromkeys(metrics)]
    pairs, groups, notes = (
        _methods_of(opened[0], region, method, methods, baseline)
        if len(opened) == 1
        else _methods_across(opened, region, method, methods, baseline, across_scales=across_scales)
    )
    notes += _check_pairs(pairs, across_scales=across_scales)
    tests = _tests(pairs, compared, region, seed)
    seeds = list(chain.from_iterable(seed_rows(group, compared, region) for group in groups))
    notes += exclusions(opened, groups, tests) + limits(tests) + findings(tests) + seed_sentences(seeds)
    notes += seed_limits(tests) if groups or len(opened) == 1 else single_seed()
    comparison = Comparison([comparison_row(test) for test in tests], seeds, list(dict.fromkeys(notes)))
    if out:
        _write(out, comparison, opened, compared, tests, seed)
    return comparison


_Pairs = list[tuple[ComparedMethod, ComparedMethod]]
"""Candidates, each with its baseline."""


def _check_pairs(pairs: _Pairs, *, across_scales: bool) -> list[str]:
    return [
        note
        for candidate, base in pairs
        for note in check_comparable(base.members[0], candidate.members[0], across_scales=across_scales)
    ]


def _tests(pairs: _Pairs, metrics: Sequence[ComparedMetric], region: str, seed: int) -> list[PairedTest]:
    """Each pair in each metric, with p corrected for the number of tests."""
    tests = [paired_test(base, candidate, m, region, seed=seed) for candidate, base in pairs for m in metrics]
    p_holm = holm([test.difference.p for test in tests])
    return [replace(test, p_holm=float(p)) for test, p in zip(tests, p_holm, strict=True)]


def _methods_of(
    table: ComparedTable, region: str, method: str, methods: Sequence[str], baseline: str | None
) -> tuple[_Pairs, list[ComparedMethod], list[str]]:
    """Within one table, the first method against each of the others; no groups of seeds, no sentences."""
    if methods and baseline:
        raise CompareError("give --methods or --baseline, not both: the methods after the first are the baselines")
    scored = table.methods(region)
    first, *others = dict.fromkeys(methods or (method, *([baseline] if baseline else scored)))
    _check_methods(table, region, first, others)
    chosen = {
        name: ComparedMethod(name, (MethodScores(table, name, table.sessions(name, region)),))
        for name in (first, *others)
    }
    return [(chosen[first], chosen[name]) for name in others], [], []


def _check_methods(table: ComparedTable, region: str, first: str, others: Sequence[str]) -> None:
    scored = table.methods(region)
    unknown = [name for name in (first, *others) if name not in scored]
    if unknown:
        raise CompareError(
            f"{table.path}: no scored row of method {', '.join(unknown)} in region {region}; "
            f"the methods there are {', '.join(scored) or 'none'}"
        )
    if not others:
        raise CompareError(
            f"{table.path}: there is only method {first} in region {region}, and nothing to compare it with; "
            "give a second table, or evaluate with training rows in the manifest for the free baselines"
        )


def _methods_across(
    tables: Sequence[ComparedTable],
    region: str,
    method: str,
    methods: Sequence[str],
    baseline: str | None,
    *,
    across_scales: bool,
) -> tuple[_Pairs, list[ComparedMethod], list[str]]:
    """One method of each table against that of the baseline, seeds joined; the groups of seeds; sentences."""
    if methods:
        raise CompareError("--methods compares within one table; for several tables name one with --method")
    members = [MethodScores(table, method, table.sessions(method, region)) for table in tables]
    compared, notes = group_seeds(members)
    groups = [group for group in compared if len(group.members) > 1]
    for group in groups:
        for member in group.members[1:]:
            notes += check_comparable(group.members[0], member, across_scales=across_scales)
    base = compared[0] if baseline is None else _named(compared, baseline)
    return [(candidate, base) for candidate in compared if candidate is not base], groups, notes


def _named(methods: Sequence[ComparedMethod], baseline: str) -> ComparedMethod:
    for method in methods:
        if baseline in (method.label, *(member.table.label for member in method.members)):
            return method
    known = ", ".join(member.table.label for method in methods for member in method.members)
    raise CompareError(f"--baseline {baseline}: no table is called so; the labels are {known}")


def _write(
    out: Path,
    comparison: Comparison,
    tables: Sequence[ComparedTable],
    metrics: Sequence[ComparedMetric],
    tests: Sequence[PairedTest],
    seed: int,
) -> None:
    made = [out / name for name in (COMPARISON_FILE, SEEDS_FILE, "comparison.png")]
    with locked(out):
        if not (out / "comparison.json").exists():
            check_unclaimed(made)
        for file in made:
            file.unlink(missing_ok=True)  # it would belong to the call before
        write_json(  # the first file, since it marks the others as this command's
            out / "comparison.json",
            {
                "tables": [
                    {"label": t.label, "path": os.path.relpath(t.path, out), "sha256": hash_file(t.path)}
                    for t in tables
                ],
                "metrics": [metric.name for metric in metrics],
                "bootstrap_seed": seed,
                "num_tests": int(np.isfinite([test.difference.p for test in tests]).sum()),
                "notes": comparison.notes,
                "versions": versions(),
            },
        )
        if tests:
            ComparisonRow.write_table(out / COMPARISON_FILE, comparison.rows)
            draw_differences(panels(tests, metrics), out / "comparison.png")
        if comparison.seeds:
            SeedRow.write_table(out / SEEDS_FILE, comparison.seeds)
