"""`volumetric compare`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer


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
        str | None, typer.Option(help="What the others are compared with: a label. Default the first table.")
    ] = None,
    label: Annotated[
        list[str] | None, typer.Option(help="Names of the tables, in their order. Default their folders'.")
    ] = None,
    across_scales: Annotated[
        bool, typer.Option("--across-scales", help="Compare although --prediction-scale differs.")
    ] = False,
    seed: Annotated[int, typer.Option(help="Of the bootstrap.")] = 0,
) -> None:
    """Compare evaluations of the same people, paired by subject: difference, confidence interval, test, effect size.

    Runs that differ only in the seed are joined; one table alone compares its model with the free baselines.

    Examples: `volumetric compare runs/old runs/new --out comparison` · `volumetric compare runs/new`
    """  # fmt: skip
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


def _show(
    rows: Sequence[Mapping[str, Any]], seeds: Sequence[Mapping[str, Any]], notes: Sequence[str], out: Path | None
) -> None:
    """A table of the tests, one of the seeds, then the sentences."""
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    console = Console(width=None if Console().is_terminal else 150)
    if rows:
        tests = Table(
            "candidate", "baseline", "metric", "n", "its mean", "baseline's", "difference [95 % CI]", "median", "p",
            "p (Holm)", "rank r", "won/tied/lost", title=f"paired differences in region {escape(rows[0]['region'])}",
        )  # fmt: skip
        for r in rows:
            tests.add_row(
                escape(r["candidate"]),
                escape(r["baseline"]),
                f"|{r['metric']}|" if r["better"] == "zero" else r["metric"],
                str(r["n"]),
                *(f"{r[key]:.3f}" for key in ("candidate_mean", "baseline_mean")),
                f"{r['mean_difference']:+.3f} [{r['ci95_low']:+.3f}, {r['ci95_high']:+.3f}]",
                f"{r['median_difference']:+.3f}",
                *(f"{r[key]:.3g}" for key in ("p", "p_holm")),
                f"{r['rank_biserial']:+.2f}",
                f"{r['num_wins']}/{r['num_ties']}/{r['num_losses']}",
            )
        console.print(tests)
    if seeds:
        spread = Table("configuration", "metric", "seeds", "n", "mean", "SD over seeds", "lowest", "highest",
                       "SD in a subject", title="seeds of one configuration")  # fmt: skip
        for r in seeds:
            numbers = ("mean", "sd_over_seeds", "min_over_seeds", "max_over_seeds", "within_subject_sd")
            spread.add_row(escape(r["label"]), r["metric"], r["seeds"], str(r["n"]), *(f"{r[k]:.3f}" for k in numbers))
        console.print(spread)
    for note in notes:
        print(note)
    print(out / "comparison.json" if out else "nothing is written; --out FOLDER writes the table and a picture")
