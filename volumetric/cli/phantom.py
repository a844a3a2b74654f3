"""`volumetric phantom`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def phantom(
    out: Annotated[Path, typer.Option(help="Folder to write.")],
    subjects: Annotated[int, typer.Option(help="Number of subjects.")] = 16,
    seed: Annotated[int, typer.Option(help="Subject k is the same in every cohort of one seed.")] = 0,
    spacing_mm: Annotated[float, typer.Option(help="Voxel size.")] = 2.0,
    fresh: Annotated[bool, typer.Option("--fresh", help="Delete the cohort that is there and start over.")] = False,
) -> None:
    """Make a simulated cohort: paired T1w and T2w with mask, tissues, lesions and a manifest.

    Example: `volumetric phantom --out data/simulated --subjects 16`
    """
    from volumetric.cohort.phantom import phantom as make

    print(make(out, subjects=subjects, seed=seed, spacing_mm=spacing_mm, fresh=fresh))
