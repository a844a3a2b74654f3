"""`volumetric evaluate`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated

import typer

from volumetric.config.choices import Device

_SHOWN = ("psnr_db", "ssim", "mae", "rmae", "pearson")


def evaluate(
    predictions: Annotated[Path, typer.Argument(help="Folder that infer wrote, or another tool's files.")],
    manifests: Annotated[
        list[Path], typer.Argument(help="CSV files; their train rows fit the baselines.", metavar="MANIFEST...")
    ],
    out: Annotated[Path, typer.Option(help="Folder for per_subject.csv and summary.csv.")],
    split: Annotated[str, typer.Option(help="Rows to score: train, val, test or all.")] = "test",
    device: Annotated[Device, typer.Option(help="auto takes a GPU where there is one.")] = "auto",
    prediction_scale: Annotated[
        str,
        typer.Option(help="reference (files of infer), own-median, or the number that predictions are divided by."),
    ] = "reference",
    source: Annotated[str | None, typer.Option(help="Source contrast, where predictions do not say.")] = None,
    target: Annotated[str | None, typer.Option(help="Target contrast, where predictions do not say.")] = None,
    pattern: Annotated[
        str | None, typer.Option(help="How another tool names its files, such as '{subject_id}/*_synth.nii.gz'.")
    ] = None,
    segmentation: Annotated[
        bool,
        typer.Option(help="Divide the brain into tissues, with the true and the predicted T2w too; most of the time."),
    ] = True,
    jobs: Annotated[int | None, typer.Option(help="Subjects at a time; as many as cores if not given.", min=1)] = None,
    fresh: Annotated[bool, typer.Option("--fresh", help="Score again what has been scored.")] = False,
) -> None:
    """Score predictions against the truth, subject by subject, beside baselines that need no learning.

    Examples:

    - `volumetric evaluate runs/mine/predictions my.csv --out runs/mine/metrics`

    - another tool's files: `volumetric evaluate theirs my.csv --out scores --pattern '{subject_id}/*_synth.nii.gz'
      --prediction-scale own-median`
    """
    from volumetric.batch.subjects import exit_status
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
        fresh=fresh,
    )
    _show(evaluation.rows, evaluation.summary, out)
    seconds = sorted(outcome.seconds for outcome in evaluation.outcomes if outcome.status == "ok")
    if seconds:
        print(f"{len(seconds)} scored, {seconds[len(seconds) // 2]:.1f} s a subject (median)")
    raise typer.Exit(exit_status(evaluation.outcomes))


def _show(rows: Sequence[Mapping[str, object]], summary: Sequence[Mapping[str, object]], out: Path) -> None:
    """Two tables: each subject's scores in the brain, and every method's mean."""
    from rich.console import Console
    from rich.table import Table

    subjects = Table("subject", *_SHOWN, title="in the brain, one row a subject")
    for row in rows:
        name = "/".join(str(row[key]) for key in ("subject_id", "session_id") if row.get(key))
        if row["status"] == "failed":
            subjects.add_row(name, f"[red]failed: {row['error']}", *[""] * (len(_SHOWN) - 1))
        elif row["method"] == "model" and row["region"] == "brain":
            subjects.add_row(name, *(f"{row[metric]:.3f}" for metric in _SHOWN))
    methods = Table("method", "subjects", *_SHOWN, title="in the brain, mean over subjects [95 % CI]")
    means = {(r["method"], r["metric"]): r for r in summary if r["region"] == "brain" and not r["group"]}
    for method in dict.fromkeys(r["method"] for r in summary):
        cells = [means[method, metric] for metric in _SHOWN]
        methods.add_row(
            str(method),
            str(cells[0]["n"]),
            *(f"{c['mean']:.3f} [{c['ci95_low']:.3f}, {c['ci95_high']:.3f}]" for c in cells),
        )
    console = Console(width=None if Console().is_terminal else 130)
    console.print(subjects)
    console.print(methods)
    console.print(f"[dim]{out / 'per_subject.csv'}  {out / 'summary.csv'}")
