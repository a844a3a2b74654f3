"""`volumetric report`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from volumetric.config.choices import ViewerChoice


def report(
    folder: Annotated[
        Path, typer.Argument(help="Folder of an evaluation, or of a run with one.", metavar="RUN_OR_EVALUATION")
    ],
    out: Annotated[Path | None, typer.Option(help="The page; default report.html in that folder.")] = None,
    viewer: Annotated[
        ViewerChoice,
        typer.Option(help="Subjects with a 3D viewer: shown (the best, median and worst), all or none."),
    ] = "shown",
) -> None:
    """Make one page of an evaluation: scores, curves, images and a 3D viewer. It opens from disk, without a network.

    Example: `volumetric report runs/mine`
    """
    from volumetric.batch.subjects import exit_status
    from volumetric.reporting.report import report as run

    written = run(folder, out=out, viewer=viewer)
    print(f"{written.path}  {written.num_bytes / 1e6:.1f} MB")
    raise typer.Exit(exit_status(written.outcomes))
