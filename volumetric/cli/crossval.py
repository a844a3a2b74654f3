"""`volumetric crossval`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from volumetric.crossval import Folds


def crossval(
    manifests: Annotated[list[Path], typer.Argument(help="CSV files; several are joined.", metavar="MANIFEST...")],
    out: Annotated[Path, typer.Option(help="Folder to write: a run folder a fold, and `metrics`.")],
    config: Annotated[
        str | None,
        typer.Option(help="A shipped configuration, or a YAML of differences from the defaults.", metavar="NAME|YAML"),
    ] = None,
    overrides: Annotated[
        list[str] | None, typer.Option("--set", help="`section.key=value`, over the file; repeatable.")
    ] = None,
    folds: Annotated[
        str | None,
        typer.Option(
            help="Number of folds, or `subject`: one each (leave-one-out). If not given, the manifest's column `fold`, "
            "or else 5.",
            metavar="K|subject",
        ),
    ] = None,
    stratify: Annotated[
        str, typer.Option(help="Covariates to spread evenly over the folds, with commas between.")
    ] = "",
    seed: Annotated[int, typer.Option(help="Seed of the folds; that of the trainings is --set seed=N.")] = 0,
    validation: Annotated[
        bool,
        typer.Option("--validation", help="Let the next fold validate each training instead of being trained on."),
    ] = False,
    segmentation: Annotated[bool, typer.Option(help="As in `evaluate`; most of the time of a score.")] = True,
    only: Annotated[
        int | None,
        typer.Option(help="Do this fold alone, from 0, beside jobs that do others; the last one writes the table."),
    ] = None,
    jobs: Annotated[int | None, typer.Option(help="Subjects that are scored at a time.", min=1)] = None,
    fresh: Annotated[bool, typer.Option("--fresh", help="Delete all folds and start over.")] = False,
) -> None:
    """Train on all folds but one and score the subjects of that one, for each fold: one table of all subjects.

    Folds are of subjects. Repeating the command goes on where it stopped and skips finished folds.
    `OUT/metrics` is an evaluation that `compare` and `report` read.

    Examples: `volumetric crossval my.csv --config t1w_to_t2w_cpu --out runs/cv`
    · `volumetric crossval my.csv --config demo --folds subject --stratify site --out runs/cv`
    · `volumetric compare runs/cv_unet runs/cv_mine`
    """
    from volumetric.cli.evaluate import show_scores
    from volumetric.cli.options import OptionError
    from volumetric.config.resolve import resolve

    if fresh and only is not None:
        raise OptionError("--fresh and --only: a fold leaves the others alone; choose another --out")
    settings = resolve(config, overrides or [])  # before torch, which takes seconds
    from volumetric.crossval import crossval as run

    scores = run(
        manifests,
        settings,
        out,
        folds=_folds(folds),
        stratify=[word.strip() for word in stratify.split(",") if word.strip()],
        seed=seed,
        validation=validation,
        segmentation=segmentation,
        only=only,
        jobs=jobs,
        fresh=fresh,
    )
    if scores is None:
        print(out)
        return
    show_scores(scores.rows, scores.summary, out / "metrics")
    raise typer.Exit(int(any(row.status == "failed" for row in scores.rows)))


def _folds(text: str | None) -> Folds:
    from volumetric.cli.options import OptionError

    if text is None:
        return None
    if text == "subject":
        return "subject"
    if not text.isdecimal():
        raise OptionError(f"--folds {text}: expected a number, or subject for one fold each")
    return int(text)
