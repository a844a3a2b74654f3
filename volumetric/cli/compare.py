"""`volumetric compare`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from rich.table import Table

    from volumetric.records.comparison import ComparisonRow, SeedRow


def compare(
    tables: Annotated[
        list[Path],
        typer.Argument(
            help="per_subject.csv files, their folders, or run folders; one compares methods in it.", metavar="TABLE..."
        ),
    ],
    out: Annotated[Path | None, typer.Option(help="Folder for comparison.csv and comparison.png.")] = None,
    metric: Annotated[
        list[str] | None, typer.Option(help="Column to compare, repeatable. Default psnr_db, ssim, mae.")
    ] = None,
    region: Annotated[str, typer.Option(help="Region to compare in.")] = "brain",
    method: Annotated[str, typer.Option(help="Of several tables: the method to compare.")] = "model",
    methods: Annotated[
        str, typer.Option(help="Of one table: the first is compared with each of the others, as in model,cubic.")
    ] = "",
    baseline: Annotated[
        str | None, typer.Option(help="Label of the table that the others are compared with. Default the first.")
    ] = None,
    label: Annotated[
        list[str] | None, typer.Option(help="Names of the tables, in their order. Default their folders'.")
    ] = None,
    across_scales: Annotated[
        bool, typer.Option("--across-scales", help="Compare although --prediction-scale differs.")
    ] = False,
    seed: Annotated[int, typer.Option(help="Of the bootstrap.", min=0)] = 0,
) -> None:
    """Compare evaluations of the same subjects, paired by subject: difference, confidence interval, test, effect size.

    Runs that differ only in the seed are joined; one table alone compares its model with the free baselines.

    Examples: `volumetric compare runs/old runs/new --out comparison` · `volumetric compare runs/new`
    """
    from volumetric.comparison.compare import DEFAULT_METRICS
    from volumetric.comparison.compare import compare as run

    comparison = run(
        tables,
        out=out,
        labels=label or (),
        metrics=metric or DEFAULT_METRICS,
        region=region,
        method=method,
        methods=[word.strip() for word in methods.split(",") if word.strip()],
        baseline=baseline,
        across_scales=across_scales,
        seed=seed,
    )
    _show(comparison.rows, comparison.seeds, comparison.notes, out)


def _show(rows: Sequence[ComparisonRow], seeds: Sequence[SeedRow], notes: Sequence[str], out: Path | None) -> None:
    """A table of the tests, one of the seeds, then the sentences."""
    from rich.console import Console

    console = Console(width=None if Console().is_terminal else 150)
    if rows:
        console.print(_tests_table(rows))
    if seeds:
        console.print(_seeds_table(seeds))
    for note in notes:
        print(note)
    print(out / "comparison.json" if out else "nothing is written; --out FOLDER writes the table and a figure")


def _tests_table(rows: Sequence[ComparisonRow]) -> Table:
    from rich.markup import escape
    from rich.table import Table

    table = Table(
        "candidate", "baseline", "metric", "n", "its mean", "baseline's", "difference [95 % CI]", "median", "p",
        "p (Holm)", "rank r", "won/tied/lost", title=f"paired differences in region {escape(rows[0].region)}",
    )  # fmt: skip
    for row in rows:
        table.add_row(
            escape(row.candidate),
            escape(row.baseline),
            f"|{row.metric}|" if row.better == "zero" else row.metric,
            str(row.n),
            f"{row.candidate_mean:.3f}",
            f"{row.baseline_mean:.3f}",
            f"{row.mean_difference:+.3f} [{row.ci95_low:+.3f}, {row.ci95_high:+.3f}]",
            f"{row.median_difference:+.3f}",
            f"{row.p:.3g}",
            f"{row.p_holm:.3g}",
            f"{row.rank_biserial:+.2f}",
            f"{row.num_wins}/{row.num_ties}/{row.num_losses}",
        )
    return table


def _seeds_table(rows: Sequence[SeedRow]) -> Table:
    from rich.markup import escape
    from rich.table import Table

    table = Table("configuration", "metric", "seeds", "n", "mean", "SD over seeds", "lowest", "highest",
                  "SD in a subject", title="seeds of one configuration")  # fmt: skip
    for row in rows:
        numbers = (row.mean, row.sd_over_seeds, row.min_over_seeds, row.max_over_seeds, row.within_subject_sd)
        table.add_row(escape(row.label), row.metric, row.seeds, str(row.n), *(f"{number:.3f}" for number in numbers))
    return table
