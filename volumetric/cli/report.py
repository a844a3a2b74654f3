"""`volumetric report`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def report(
    folder: Annotated[
        Path, typer.Argument(help="Folder that evaluate wrote, or a run folder with it.", metavar="RUN_OR_EVALUATION")
    ],
    out: Annotated[Path | None, typer.Option(help="The page; default report.html in that folder.")] = None,
    viewer: Annotated[
        str,
        typer.Option(help="3D viewers: shown (best, median and worst subject), all (every subject) or none."),
    ] = "shown",
) -> None:
    """Make one page of an evaluation: scores, curves, pictures and a 3D viewer. It opens from disk, without a network.

    Example: `volumetric report runs/mine`
    """
    from volumetric.batch.subjects import exit_status
    from volumetric.reporting.report import report as run

    written = run(folder, out=out, viewer=viewer)
    print(f"{written.path}  {written.num_bytes / 1e6:.1f} MB")
    raise typer.Exit(exit_status(written.outcomes))
