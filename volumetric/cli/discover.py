"""`volumetric discover`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from volumetric.config.choices import Layout

if TYPE_CHECKING:
    from volumetric.cohort.discover import Discovery

_SHOWN = 20
_SPLIT = "0.7,0.15,0.15"
_SPLITS = ("train", "val", "test")


def discover(
    root: Annotated[Path, typer.Argument(help="Folder with scans.")],
    out: Annotated[Path, typer.Option(help="The manifest to write, a CSV.")],
    layout: Annotated[Layout, typer.Option(help="Arrangement of the files; auto goes by evidence.")] = "auto",
    pattern: Annotated[
        str | None, typer.Option(help="Plain folders: `{subject_id}/{contrast}.nii.gz`; also {session_id}, {site}, *.")
    ] = None,
    derivatives: Annotated[bool, typer.Option("--derivatives", help="BIDS: take derivatives/ too.")] = False,
    spreadsheet: Annotated[Path | None, typer.Option(help="IXI: its spreadsheet, exported as CSV.")] = None,
    folder_names: Annotated[
        bool, typer.Option("--folder-names", help="DICOM: name subjects by their folders, which may hold names.")
    ] = False,
    split: Annotated[
        str | None, typer.Option(help=f"Fractions of subjects: train,val,test; {_SPLIT} if not given.")
    ] = None,
    folds: Annotated[int | None, typer.Option(help="Fill the column fold instead of split.")] = None,
    seed: Annotated[int, typer.Option(help="Seed of the split.")] = 0,
    stratify: Annotated[str, typer.Option(help="Covariates, with commas between; the most important first.")] = "",
    fresh: Annotated[bool, typer.Option("--fresh", help="Write over a manifest that differs.")] = False,
) -> None:
    """Find the scans of all subjects in a folder, check them, split the subjects, and write a manifest.

    Examples: `volumetric discover /data/bids --out my.csv --stratify site,sex,age`
    · `volumetric discover scans --out my.csv --pattern "{site}/{subject_id}_{contrast}.nii.gz"`
    """
    from volumetric.cli.options import OptionError, fractions

    if split is not None and folds is not None:
        raise OptionError("--split and --folds: subjects go into splits or into folds; leave out one")
    from volumetric.cohort.discover import discover as run_discover

    discovery = run_discover(
        root,
        out,
        layout=layout,
        pattern=pattern,
        derivatives=derivatives,
        spreadsheet=spreadsheet,
        folder_names=folder_names,
        fractions=fractions(_SPLIT if split is None else split),
        num_folds=folds,
        seed=seed,
        stratify=[word.strip() for word in stratify.split(",") if word.strip()],
        fresh=fresh,
    )
    for line in (*_summary(discovery), *_skipped(discovery)):
        print(line)
    print(discovery.manifest)


def _summary(discovery: Discovery) -> Iterator[str]:
    """The subjects and their images."""
    rows = discovery.rows
    pairs = sum({"t1w", "t2w"} <= row.paths.keys() for row in rows)
    columns = Counter(column for row in rows for column in row.paths)
    parts = Counter({row.subject_id: row.split or f"fold {row.fold}" for row in rows}.values())
    yield f"layout {discovery.layout} ({discovery.evidence})"
    yield f"{parts.total()} subjects, {len(rows)} sessions, {pairs} of them with t1w and t2w"
    yield ", ".join(f"{column}: {count}" for column, count in columns.items())
    yield "subjects in " + ", ".join(f"{part}: {parts[part]}" for part in sorted(parts, key=_order))
    if discovery.num_off_grid:
        yield (
            f"{discovery.num_off_grid} sessions have contrasts on different grids; "
            "put them on one with `volumetric prepare` before training"
        )


def _order(part: str) -> str:
    """Splits in the order of their use, folds by number."""
    return str(_SPLITS.index(part)) if part in _SPLITS else part


def _skipped(discovery: Discovery) -> Iterator[str]:
    """The first files that were skipped, with the reasons."""
    if discovery.skipped:
        yield f"skipped: {len(discovery.skipped)}, all in {discovery.skipped_table}"
        yield from (f"  {path}: {reason}" for path, reason in discovery.skipped[:_SHOWN])
    if len(discovery.skipped) > _SHOWN:
        yield f"  and {len(discovery.skipped) - _SHOWN} more"
