"""The manifest of a folder of scans: its layout, its subjects, and what had to be left out."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import get_args

from volumetric.cohort import bids, dicom, folders, ixi
from volumetric.cohort.candidates import Listing, Skipped, select, unread_rows
from volumetric.cohort.split import check_fractions, split_rows
from volumetric.config.choices import Layout
from volumetric.errors import InputError
from volumetric.manifest import ManifestRow, write_manifest
from volumetric.outputs import OutputError, write_csv

log = logging.getLogger(__name__)

MAX_PROBED = 2000
"""Files that are opened, at most, to tell a DICOM folder."""

_OPTION_OF: dict[str, Layout] = {
    "pattern": "folders",
    "derivatives": "bids",
    "spreadsheet": "ixi",
    "folder_names": "dicom",
}


class DiscoverError(InputError):
    """A folder in which these options find no subject."""


@dataclass(frozen=True)
class Discovery:
    """The result of `discover`.

    Attributes:
        manifest: the CSV that was written.
        layout: of the folder.
        evidence: the reason for taking it.
        rows: the manifest's rows.
        skipped: (path, reason) of everything that is in no row; also in `<manifest>_skipped.csv`.
        num_off_grid: sessions whose contrasts do not lie on one grid.
    """

    manifest: Path
    layout: Layout
    evidence: str
    rows: tuple[ManifestRow, ...]
    skipped: tuple[Skipped, ...]
    num_off_grid: int

    @property
    def skipped_table(self) -> Path:
        """Path of the list of all that was skipped, if anything was."""
        return self.manifest.with_name(f"{self.manifest.stem}_skipped.csv")


def discover(
    root: Path,
    out: Path,
    *,
    layout: Layout = "auto",
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
    """Find the scans of all subjects below a folder, check them, and write a manifest.

    Every subject with at least one contrast is listed: a model also runs on subjects without the target.

    Args:
        root: the folder.
        out: the manifest to write. DICOM series are converted into the folder `<out>_nifti` beside it.
        layout: `bids`, `ixi`, `dicom`, `folders`, or `auto`: by evidence.
        pattern: of `folders`, see `volumetric.cohort.folders.find`.
        derivatives: of `bids`: also take masks and images below `derivatives/`.
        spreadsheet: of `ixi`: its table of subjects as CSV.
        folder_names: of `dicom`: name subjects by their folders, and name files in messages.
        fractions: of subjects in train, val and test.
        num_folds: fill `fold` instead of `split`.
        seed: of the split.
        stratify: covariates whose distribution is the same in every part.
        fresh: write over a manifest that differs.

    Raises:
        DiscoverError: no such folder, an option of another layout, or no subject was found.
        OutputError: `out` is there, differs, and `fresh` is not set.
        InputError: a pattern, table or split that makes no sense.
    """
    if not root.is_dir():
        raise DiscoverError(f"{root}: there is no such folder; check the path")
    _check(out, fractions, num_folds)
    nifti_folder = out.with_name(f"{out.stem}_nifti")
    options = {"pattern": pattern, "derivatives": derivatives, "spreadsheet": spreadsheet, "folder_names": folder_names}
    layout, evidence = _layout(root, nifti_folder, layout, [name for name, value in options.items() if value])
    log.info("%s: layout %s (%s)", root, layout, evidence)
    listing: Listing
    if layout == "bids":
        listing = bids.find(root, derivatives=derivatives)
    elif layout == "ixi":
        listing = ixi.find(root, spreadsheet)
    elif layout == "dicom":
        listing = dicom.find(root, nifti_folder, folder_names=folder_names)
    else:
        listing = folders.find(root, pattern)
    split = partial(split_rows, fractions=fractions, num_folds=num_folds, seed=seed, stratify=stratify)
    if unread := unread_rows(listing):
        split(unread)  # what is wrong with the options is said before thousands of scans are read
    selection = select(listing, out.parent if layout == "dicom" else root)
    if not selection.rows:
        raise DiscoverError(_no_subject(root, layout, selection.skipped))
    discovery = Discovery(out, layout, evidence, split(selection.rows), selection.skipped, selection.num_off_grid)
    _write(discovery, fresh=fresh)
    return discovery


def _check(out: Path, fractions: tuple[float, float, float], num_folds: int | None) -> None:
    if out.suffix != ".csv" or out.is_dir():
        raise DiscoverError(f"--out {out}: expected a manifest's name, which ends in .csv and is no folder")
    if num_folds is None:
        check_fractions(fractions)
    elif num_folds < 2:
        raise DiscoverError(f"--folds {num_folds}: expected 2 or more")


def is_dicom_folder(path: Path) -> bool:
    """True for a folder with DICOM files below it and no NIfTI file."""
    return path.is_dir() and not folders.nifti_files(path) and _has_dicom(path)


def _layout(root: Path, own: Path, layout: Layout, options: Sequence[str]) -> tuple[Layout, str]:
    """The layout and the evidence for it; an option that belongs to one layout decides.

    Args:
        root: the folder.
        own: the folder of volumes that an earlier call converted.
        layout: the one that is requested, or `auto`.
        options: names of the options of one layout that are set.
    """
    if layout not in get_args(Layout):
        raise DiscoverError(f"--layout {layout}: expected one of {', '.join(get_args(Layout))}")
    evidence = f"--layout {layout}"
    if layout == "auto":
        layout, evidence = (_OPTION_OF[options[0]], _flag(options[0])) if options else _detect(root, own)
    for option in options:
        if _OPTION_OF[option] != layout:
            raise DiscoverError(
                f"{_flag(option)} is for the layout {_OPTION_OF[option]}, and this one is {layout} "
                f"({evidence}); leave it out, or give --layout {_OPTION_OF[option]}"
            )
    return layout, evidence


def _flag(option: str) -> str:
    return f"--{option.replace('_', '-')}"


def _detect(root: Path, own: Path) -> tuple[Layout, str]:
    """The layout that files and folders have, and the evidence."""
    if evidence := _bids_evidence(root):
        return "bids", evidence
    files = [path for path in folders.nifti_files(root) if own.resolve() not in path.resolve().parents]
    num_ixi = sum(ixi.NAME.fullmatch(path.name) is not None for path in files)
    if num_ixi and 2 * num_ixi >= len(files):
        return "ixi", f"{num_ixi} of {len(files)} NIfTI files are named as in IXI"
    if not files and _has_dicom(root):
        return "dicom", "files have DICOM's preamble"
    return "folders", f"{len(files)} NIfTI files with other names"


def _bids_evidence(root: Path) -> str:
    if (root / "dataset_description.json").is_file():
        return "dataset_description.json is there"
    return "folders are named sub-*" if any(path.is_dir() for path in root.glob("sub-*")) else ""


def _has_dicom(root: Path) -> bool:
    files = (path for path in sorted(root.rglob("*")) if path.is_file())
    return any(dicom.is_dicom(path) for path in islice(files, MAX_PROBED))


def _no_subject(root: Path, layout: str, skipped: Sequence[Skipped]) -> str:
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
                f"{out} is there and differs from the new one ({before} rows before, {now} now, or other "
                "cells); choose another --out, or write over it with --fresh"
            )
        new.replace(out)
    finally:
        new.unlink(missing_ok=True)
    if discovery.skipped:
        write_csv(discovery.skipped_table, [skip._asdict() for skip in discovery.skipped])
    else:
        discovery.skipped_table.unlink(missing_ok=True)
