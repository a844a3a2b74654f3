"""`volumetric add-lesions`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def add_lesions(
    manifests: Annotated[list[Path], typer.Argument(help="CSV files with the column labels.", metavar="MANIFEST...")],
    out: Annotated[Path, typer.Option(help="Folder to write.")],
    table: Annotated[
        str, typer.Option(help="Tissues of the labels: freesurfer, freesurfer_tumor, three_tissues, or a YAML file.")
    ] = "freesurfer",
    donors: Annotated[
        list[Path] | None,
        typer.Option(help="Manifest of the maps that lesions are taken from, instead of the same; may be repeated."),
    ] = None,
    random: Annotated[bool, typer.Option("--random", help="Rough ellipsoids in place of others' lesions.")] = False,
    copies: Annotated[int, typer.Option(help="Maps of each row, with other lesions in each.")] = 1,
    seed: Annotated[int, typer.Option(help="Seed of all draws.")] = 0,
    fresh: Annotated[bool, typer.Option("--fresh", help="Delete the maps that are there and start over.")] = False,
) -> None:
    """Add lesions to label maps: those of other subjects, moved and turned, or random ones.

    `infer` makes images of the maps, whose lesions are then known. Repeating the command resumes it.

    Example: `volumetric add-lesions maps.csv --table mine.yaml --out data/lesions --copies 3`

    Example: `volumetric add-lesions healthy.csv --donors patients.csv --out data/lesions`
    """
    from volumetric.cohort.add_lesions import add_lesions as run

    print(run(manifests, out, table=table, donors=donors or (), random=random, copies=copies, seed=seed, fresh=fresh))
