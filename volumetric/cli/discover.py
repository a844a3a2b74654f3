"""`volumetric discover`."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from volumetric.cohort.discover import Discovery

_SHOWN = 20


def discover(
    root: Annotated[Path, typer.Argument(help="Folder with scans.")],
    out: Annotated[Path, typer.Option(help="The manifest to write, a CSV.")],
    layout: Annotated[str, typer.Option(help="auto, bids, ixi, dicom or folders.")] = "auto",
    pattern: Annotated[
        str | None, typer.Option(help="Plain folders: `{subject_id}/{contrast}.nii.gz`; also {session_id}, {site}, *.")
    ] = None,
    derivatives: Annotated[bool, typer.Option("--derivatives", help="BIDS: take derivatives/ too.")] = False,
    spreadsheet: Annotated[Path | None, typer.Option(help="IXI: its spreadsheet, exported as CSV.")] = None,
    folder_names: Annotated[
        bool, typer.Option("--folder-names", help="DICOM: call people by their folders. Those may hold names.")
    ] = False,
    split: Annotated[str, typer.Option(help="Fractions of people: train,val,test.")] = "0.7,0.15,0.15",
    folds: Annotated[int | None, typer.Option(help="Fill the column fold instead of split.")] = None,
    seed: Annotated[int, typer.Option(help="Of the split.")] = 0,
    stratify: Annotated[str, typer.Option(help="Covariates, with commas between; the most important first.")] = "",
    fresh: Annotated[bool, typer.Option("--fresh", help="Write over a manifest that differs.")] = False,
) -> None:
    """Find everybody's scans in a folder, check them, split people, and write a manifest.

    Examples: `volumetric discover /data/bids --out my.csv --stratify site,sex,age`
    · `volumetric discover scans --out my.csv --pattern "{site}/{subject_id}_{contrast}.nii.gz"`
    """
    from volumetric.cli.options import fractions
    from volumetric.cohort.discover import discover as run

    discovery = run(
        root,
        out,
        layout=layout,
        pattern=pattern,
        derivatives=derivatives,
        spreadsheet=spreadsheet,
        folder_names=folder_names,
        fractions=fractions(split),
        num_folds=folds,
        seed=seed,
        stratify=[word.strip() for word in stratify.split(",") if word.strip()],
        fresh=fresh,
    )
    _show(discovery)


def _show(discovery: Discovery) -> None:
    """Who was found, then what was skipped and why."""
    rows = discovery.rows
    columns = Counter(column for row in rows for column in row.paths)
    people = {row.subject_id for row in rows}
    pairs = sum({"t1w", "t2w"} <= row.paths.keys() for row in rows)
    parts = Counter({row.subject_id: row.split or f"fold {row.fold}" for row in rows}.values())
    print(f"layout {discovery.layout} ({discovery.evidence})")
    print(f"{len(people)} people, {len(rows)} visits, {pairs} of them with t1w and t2w")
    print(", ".join(f"{column}: {count}" for column, count in columns.items()))
    order = [part for part in ("train", "val", "test") if part in parts] or sorted(parts)
    print("people in " + ", ".join(f"{part}: {parts[part]}" for part in order))
    if discovery.num_off_grid:
        print(f"{discovery.num_off_grid} visits have contrasts on different grids; bring each onto one before training")
    if discovery.skipped:
        print(f"skipped: {len(discovery.skipped)}, all in {discovery.skipped_table}")
        for path, reason in discovery.skipped[:_SHOWN]:
            print(f"  {path}: {reason}")
        if len(discovery.skipped) > _SHOWN:
            print(f"  and {len(discovery.skipped) - _SHOWN} more")
    print(discovery.manifest)
