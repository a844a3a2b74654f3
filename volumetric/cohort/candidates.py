"""From files that might be somebody's scan to one checked file a contrast and visit, with a reason for every other."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

from volumetric.batch.subjects import progress
from volumetric.imaging.geometry import Space, same_space
from volumetric.imaging.header import ImageError
from volumetric.imaging.nifti import read_image, read_labels
from volumetric.manifest import CONTRASTS, LABELS, PATH_COLUMNS, ManifestRow

MAX_READERS = 4
"""Scans that are read at once: each is held in memory whole."""

Visit = tuple[str, str]
"""Subject and session."""


class Skipped(NamedTuple):
    """A file, series or cell that the manifest does not hold.

    Attributes:
        path: relative to the folder that was searched; never a DICOM file's own path, which may hold a name.
        reason: why.
    """

    path: str
    reason: str


@dataclass(frozen=True)
class Candidate:
    """A NIfTI file that may fill one cell of the manifest.

    Attributes:
        path: the file.
        subject_id: the person.
        session_id: the visit; empty where the layout names none.
        column: the contrast or label.
        rank: of several that can be read the one with the smallest rank is taken.
        rule: what to say of those that are not taken.
        covariates: known from this file alone; the taken files' are joined, the first contrast's first.
    """

    path: Path
    subject_id: str
    session_id: str
    column: str
    rank: tuple[object, ...] = ()
    rule: str = "another file of this contrast and visit comes before it"
    covariates: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Found:
    """What a layout's own rules make of a folder.

    Attributes:
        candidates: files for the manifest, not yet opened.
        skipped: what the rules leave out.
        covariates: per visit; those under session "" hold for all visits of the person.
    """

    candidates: tuple[Candidate, ...]
    skipped: tuple[Skipped, ...] = ()
    covariates: Mapping[Visit, Mapping[str, str]] = field(default_factory=dict)


@dataclass(frozen=True)
class Choice:
    """What became of the candidates.

    Attributes:
        rows: one per visit with at least one contrast, in order of subject and session; no split yet.
        skipped: every candidate that is in no row, with the reason.
        num_off_grid: visits whose contrasts do not lie on one grid.
    """

    rows: tuple[ManifestRow, ...]
    skipped: tuple[Skipped, ...]
    num_off_grid: int


def choose(found: Found, root: Path) -> Choice:
    """Read every candidate and take one a cell; where the first by rank is damaged, the next.

    Args:
        found: the candidates.
        root: the folder that was searched; names in `skipped` are relative to it.
    """
    spaces = _read_all(found.candidates)
    cells: dict[tuple[Visit, str], list[Candidate]] = {}
    for candidate in found.candidates:
        cells.setdefault(((candidate.subject_id, candidate.session_id), candidate.column), []).append(candidate)
    taken: dict[Visit, dict[str, Candidate]] = {}
    skipped = list(found.skipped)
    for (visit, column), rivals in cells.items():
        for candidate in sorted(rivals, key=lambda c: (*c.rank, c.path.as_posix())):
            space = spaces[candidate.path, column]
            if isinstance(space, str):
                skipped.append(Skipped(relative(candidate.path, root), space))
            elif column in taken.setdefault(visit, {}):
                winner = relative(taken[visit][column].path, root)
                skipped.append(Skipped(relative(candidate.path, root), f"{candidate.rule}; taken: {winner}"))
            else:
                taken[visit][column] = candidate
    rows = []
    num_off_grid = 0
    for visit in sorted(taken):
        files = {column: taken[visit][column] for column in PATH_COLUMNS if column in taken[visit]}
        grids = [spaces[files[c].path, c] for c in files if c in CONTRASTS]
        if not grids:
            skipped += [
                Skipped(relative(c.path, root), "this visit has labels but no contrast") for c in files.values()
            ]
            continue
        num_off_grid += any(not _same(a, b) for a, b in pairwise(grids))
        rows.append(_row(visit, files, found.covariates))
    return Choice(tuple(rows), tuple(sorted(skipped)), num_off_grid)


def relative(path: Path, root: Path) -> str:
    """How messages name a file: from the searched folder if it lies in there, else in full."""
    return path.relative_to(root).as_posix() if path.is_relative_to(root) else path.as_posix()


def _row(visit: Visit, files: Mapping[str, Candidate], covariates: Mapping[Visit, Mapping[str, str]]) -> ManifestRow:
    subject, session = visit
    joined: dict[str, str] = {}
    own = [candidate.covariates for candidate in files.values()]
    for source in (covariates.get(visit, {}), covariates.get((subject, ""), {}), *own):
        joined |= {key: value for key, value in source.items() if value and not joined.get(key)}
    paths = {column: candidate.path for column, candidate in files.items()}
    return ManifestRow(subject, session, paths=paths, covariates=joined)


def _read_all(candidates: Sequence[Candidate]) -> dict[tuple[Path, str], Space | str]:
    """The grid of each file, or the reason why it cannot be used."""
    keys = list(dict.fromkeys((candidate.path, candidate.column) for candidate in candidates))
    spaces: dict[tuple[Path, str], Space | str] = {}
    readers = ThreadPoolExecutor(min(MAX_READERS, os.cpu_count() or 1))
    with readers, progress("reading", len(keys), "scans") as advance:
        for key, space in zip(keys, readers.map(_read, keys), strict=True):
            spaces[key] = space
            advance(key[0].name)
    return spaces


def _read(key: tuple[Path, str]) -> Space | str:
    path, column = key
    try:
        return (read_labels if column in LABELS else read_image)(path).space
    except ImageError as error:
        return str(error).removeprefix(f"{path}: ")
    except OSError as error:
        return f"cannot be read ({error.strerror}); correct its permissions"


def _same(a: Space | str, b: Space | str) -> bool:
    return isinstance(a, Space) and isinstance(b, Space) and same_space(a, b)
