"""`volumetric evaluate`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from volumetric.cli.options import AddressOption, DryRunOption, ExecutorOption, ShardOption
from volumetric.config.choices import Device, SplitChoice

if TYPE_CHECKING:
    from rich.table import Table

    from volumetric.records.scores import ScoreRow, SummaryRow

_SHOWN = ("psnr_db", "ssim", "mae", "rmae", "pearson")


def evaluate(
    predictions: Annotated[Path, typer.Argument(help="Folder that infer wrote, or another tool's files.")],
    manifests: Annotated[
        list[Path], typer.Argument(help="CSV files; their train rows fit the baselines.", metavar="MANIFEST...")
    ],
    out: Annotated[Path, typer.Option(help="Folder for per_subject.csv and summary.csv.")],
    split: Annotated[SplitChoice, typer.Option(help="Rows to score.")] = "test",
    device: Annotated[Device, typer.Option(help="Where to compute.")] = "auto",
    prediction_scale: Annotated[
        str,
        typer.Option(help="reference (files of infer), own-median, or the number that predictions are divided by."),
    ] = "reference",
    source: Annotated[
        str | None, typer.Option(help="Source contrast, where the predictions' sidecars do not name it.")
    ] = None,
    target: Annotated[
        str | None, typer.Option(help="Target contrast, where the predictions' sidecars do not name it.")
    ] = None,
    pattern: Annotated[
        str | None, typer.Option(help="How another tool names its files, such as '{subject_id}/*_synth.nii.gz'.")
    ] = None,
    segmentation: Annotated[
        bool,
        typer.Option(help="Divide the brain into tissues, with the true and the predicted T2w too; most of the time."),
    ] = True,
    jobs: Annotated[int | None, typer.Option(help="Subjects at a time; as many as cores if not given.", min=1)] = None,
    shard: ShardOption = None,
    executor: ExecutorOption = "local",
    address: AddressOption = "auto",
    dry_run: DryRunOption = False,
    fresh: Annotated[bool, typer.Option("--fresh", help="Score again what has been scored.")] = False,
) -> None:
    """Score predictions against the truth, subject by subject, beside baselines that need no learning.

    Examples:

    - `volumetric evaluate runs/mine/predictions my.csv --out runs/mine/metrics`

    - another tool's files: `volumetric evaluate theirs my.csv --out scores --pattern '{subject_id}/*_synth.nii.gz'
      --prediction-scale own-median`
    """
    from volumetric.batch.subjects import exit_status
    from volumetric.cli.options import spread_over
    from volumetric.evaluation.evaluate import evaluate as run

    evaluation = run(
        predictions,
        manifests,
        out,
        split=split,
        device=device,
        prediction_scale=prediction_scale,
        source=source,
        target=target,
        pattern=pattern,
        segmentation=segmentation,
        jobs=jobs,
        spread=spread_over(shard, executor, address, fresh=fresh, dry_run=dry_run),
        fresh=fresh,
    )
    if evaluation.summary:
        show_scores(evaluation.rows, evaluation.summary, out)
    seconds = sorted(outcome.seconds for outcome in evaluation.outcomes if outcome.status == "ok")
    if seconds:
        print(f"{len(seconds)} scored, {seconds[len(seconds) // 2]:.1f} s a subject (median)")
    raise typer.Exit(exit_status(evaluation.outcomes))


def show_scores(rows: Sequence[ScoreRow], summary: Sequence[SummaryRow], out: Path) -> None:
    """Two tables: each subject's scores in the brain, and every method's mean."""
    from rich.console import Console

    console = Console(width=None if Console().is_terminal else 130)
    console.print(_subjects_table(rows))
    console.print(_methods_table(summary))
    console.print(f"{out / 'per_subject.csv'}  {out / 'summary.csv'}", style="dim", markup=False)


def _subjects_table(rows: Sequence[ScoreRow]) -> Table:
    from rich.markup import escape
    from rich.table import Table

    table = Table("subject", *_SHOWN, title="in the brain, one row a subject")
    for row in rows:
        if row.status == "failed":
            table.add_row(escape(row.key.name), f"[red]failed: {escape(row.error)}", *[""] * (len(_SHOWN) - 1))
        elif row.method == "model" and row.region == "brain":
            table.add_row(escape(row.key.name), *(f"{row.metrics[metric]:.3f}" for metric in _SHOWN))
    return table


def _methods_table(summary: Sequence[SummaryRow]) -> Table:
    from rich.table import Table

    table = Table("method", "subjects", *_SHOWN, title="in the brain, mean over subjects [95 % CI]")
    rows = {(row.method, row.metric): row for row in summary if row.region == "brain" and not row.group}
    for method in dict.fromkeys(row.method for row in summary):
        shown = [rows[method, metric] for metric in _SHOWN]
        cells = [f"{row.mean:.3f} [{row.ci95_low:.3f}, {row.ci95_high:.3f}]" for row in shown]
        table.add_row(method, str(shown[0].n), *cells)
    return table
