"""Owns the manifest of real scans: which layout a folder has, who is in it, and what had to be left out."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from volumetric.cohort import bids, dicom, folders, ixi
from volumetric.cohort.candidates import Found, Skipped, choose
from volumetric.cohort.split import split_rows
from volumetric.errors import InputError
from volumetric.manifest import ManifestRow, write_manifest
from volumetric.outputs import OutputError, write_csv

log = logging.getLogger(__name__)

LAYOUTS = ("auto", "bids", "ixi", "dicom", "folders")
LOOKED_AT = 2000
"""Files that are looked at, at most, to tell a DICOM folder."""

_OPTION_OF = {"pattern": "folders", "derivatives": "bids", "spreadsheet": "ixi", "folder_names": "dicom"}


class DiscoverError(InputError):
    """A folder in which nobody can be found as asked."""


@dataclass(frozen=True)
class Discovery:
    """What was found.

    Attributes:
        manifest: the CSV that was written.
        layout: the one that was taken.
        evidence: what spoke for it.
        rows: the manifest's rows.
        skipped: (path, reason) of everything that is in no row; also in `<manifest>_skipped.csv`.
        num_off_grid: visits whose contrasts do not lie on one grid.
    """

    manifest: Path
    layout: str
    evidence: str
    rows: tuple[ManifestRow, ...]
    skipped: tuple[Skipped, ...]
    num_off_grid: int

    @property
    def skipped_table(self) -> Path:
        """Where all that was skipped is listed, if anything was."""
        return self.manifest.with_name(f"{self.manifest.stem}_skipped.csv")


def discover(
    root: Path,
    out: Path,
    *,
    layout: str = "auto",
    pattern: str | None = None,
    derivatives: bool = False,
    spreadsheet: Path | None = None,
    folder_names: bool = False,
    fractions: tuple[float, float, float] = (0.7, 0.15, 0.15),
    num_folds: int | None = None,
    seed: int = 0,
    stratify: Sequence[str] = (),
    fresh: bool = False,
) -> Discovery:
    """Find everybody's scans below a folder, check them, and write a manifest.

    Whoever has at least one contrast is listed: a model is also run on people without the target.

    Args:
        root: the folder.
        out: the manifest to write. DICOM series are converted into the folder `<out>_nifti` beside it.
        layout: `bids`, `ixi`, `dicom`, `folders`, or `auto`: by evidence.
        pattern: of `folders`, see `volumetric.cohort.folders.find`.
        derivatives: of `bids`: also take masks and images below `derivatives/`.
        spreadsheet: of `ixi`: its table of people as CSV.
        folder_names: of `dicom`: call people by their folders, and name files in messages.
        fractions: of people in train, val and test.
        num_folds: fill `fold` instead of `split`.
        seed: of the split.
        stratify: covariates whose mixture is the same in every part.
        fresh: write over a manifest that differs.

    Raises:
        DiscoverError: no such folder, an option of another layout, or nobody was found.
        OutputError: `out` is there, differs, and `fresh` is not set.
        InputError: a pattern, table or split that makes no sense.
    """
    if not root.is_dir():
        raise DiscoverError(f"{root}: there is no such folder; check the path")
    if out.suffix != ".csv":
        raise DiscoverError(f"--out {out}: expected a manifest's name, which ends in .csv")
    nifti_folder = out.with_name(f"{out.stem}_nifti")
    given = {"pattern": pattern, "derivatives": derivatives, "spreadsheet": spreadsheet, "folder_names": folder_names}
    layout, evidence = _layout(root, nifti_folder, layout, given)
    log.info("%s: layout %s (%s)", root, layout, evidence)
    found: Found
    if layout == "bids":
        found = bids.find(root, derivatives=derivatives)
    elif layout == "ixi":
        found = ixi.find(root, spreadsheet)
    elif layout == "dicom":
        found = dicom.find(root, nifti_folder, folder_names=folder_names)
    else:
        found = folders.find(root, pattern)
    choice = choose(found, out.parent if layout == "dicom" else root)
    if not choice.rows:
        raise DiscoverError(_nobody(root, layout, choice.skipped))
    rows = split_rows(choice.rows, fractions=fractions, num_folds=num_folds, seed=seed, stratify=stratify)
    discovery = Discovery(out, layout, evidence, rows, choice.skipped, choice.num_off_grid)
    _write(discovery, fresh=fresh)
    return discovery


def _layout(root: Path, own: Path, layout: str, given: Mapping[str, object]) -> tuple[str, str]:
    """The layout and why; options that belong to one layout ask for it."""
    if layout not in LAYOUTS:
        raise DiscoverError(f"--layout {layout}: expected one of {', '.join(LAYOUTS)}")
    asked = [option for option, content in given.items() if content]
    evidence = "as asked"
    if layout == "auto":
        layout, evidence = (_OPTION_OF[asked[0]], f"--{asked[0].replace('_', '-')}") if asked else _evidence(root, own)
    for option in asked:
        if _OPTION_OF[option] != layout:
            raise DiscoverError(
                f"--{option.replace('_', '-')} is for the layout {_OPTION_OF[option]}, and this one is {layout} "
                f"({evidence}); leave it out, or give --layout {_OPTION_OF[option]}"
            )
    return layout, evidence


def _evidence(root: Path, own: Path) -> tuple[str, str]:
    if (root / "dataset_description.json").is_file():
        return "bids", "dataset_description.json is there"
    if next((path for path in root.glob("sub-*") if path.is_dir()), None):
        return "bids", "folders are named sub-*"
    files = [path for path in folders.nifti_files(root) if own.resolve() not in path.resolve().parents]
    named = sum(ixi.NAME.fullmatch(path.name) is not None for path in files)
    if named and 2 * named >= len(files):
        return "ixi", f"{named} of {len(files)} NIfTI files are named as in IXI"
    if not files:
        for path in islice((p for p in sorted(root.rglob("*")) if p.is_file()), LOOKED_AT):
            if dicom.is_dicom(path):
                return "dicom", "files have DICOM's preamble"
    return "folders", f"{len(files)} NIfTI files with other names"


def _nobody(root: Path, layout: str, skipped: Sequence[Skipped]) -> str:
    if not skipped:
        return f"{root}: no scan was found by the layout {layout}; check the path, or give another --layout"
    shown = "\n  ".join(f"{path}: {reason}" for path, reason in skipped[:20])
    more = f"\n  and {len(skipped) - 20} more" if len(skipped) > 20 else ""
    hint = "; give --pattern as the files are named" if layout == "folders" else "; mend them, or give another --layout"
    return f"{root}: none of {len(skipped)} files or series can be used by the layout {layout}{hint}:\n  {shown}{more}"


def _write(discovery: Discovery, *, fresh: bool) -> None:
    """The manifest and the list of what was skipped; an equal manifest stays as it is."""
    out = discovery.manifest
    new = out.with_name(f".{out.name}.new")
    try:
        write_manifest(new, discovery.rows)
        if out.exists() and not fresh and out.read_bytes() != new.read_bytes():
            before, now = (len(path.read_bytes().splitlines()) - 1 for path in (out, new))
            raise OutputError(
                f"{out} is there and differs from what was found now ({before} rows before, {now} now, or other "
                "cells); choose another --out, or write over it with --fresh"
            )
        new.replace(out)
    finally:
        new.unlink(missing_ok=True)
    if discovery.skipped:
        write_csv(discovery.skipped_table, [skip._asdict() for skip in discovery.skipped])
    else:
        discovery.skipped_table.unlink(missing_ok=True)
