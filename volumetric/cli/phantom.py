"""`volumetric phantom`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from volumetric.config.choices import MaskKind


def phantom(
    out: Annotated[Path, typer.Option(help="Folder to write.")],
    subjects: Annotated[int, typer.Option(help="Number of subjects.")] = 16,
    seed: Annotated[int, typer.Option(help="Subject k is the same in every cohort of one seed.")] = 0,
    spacing_mm: Annotated[float, typer.Option(help="Voxel size.")] = 2.0,
    anatomies: Annotated[
        Path | None, typer.Option(help="Folder of label maps (.nii.gz, .nii) in place of one average brain.")
    ] = None,
    table: Annotated[
        str, typer.Option(help="Tissues of the labels: freesurfer, freesurfer_tumor, three_tissues, or a YAML file.")
    ] = "freesurfer",
    region: Annotated[MaskKind, typer.Option(help="What the scans hold; the mask is the brain's.")] = "brain",
    preview: Annotated[
        bool, typer.Option("--preview", help="Write preview.png: a slice of the first twelve subjects.")
    ] = False,
    fresh: Annotated[bool, typer.Option("--fresh", help="Delete the cohort that is there and start over.")] = False,
) -> None:
    """Make a simulated cohort: paired T1w and T2w with mask, tissues, lesions and a manifest.

    All subjects of one label map are in one split. Repeating the command resumes it.

    Example: `volumetric phantom --out data/simulated --subjects 16 --preview`

    Example: `volumetric phantom --out data/heads --anatomies data/label_maps --region head --subjects 40`
    """
    from volumetric.cohort.phantom import phantom as make

    manifest = make(
        out,
        subjects=subjects,
        seed=seed,
        spacing_mm=spacing_mm,
        anatomies=anatomies,
        table=table,
        region=region,
        preview=preview,
        fresh=fresh,
    )
    print(manifest)
