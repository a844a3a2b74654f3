"""Candidate files of a folder, and the selection of one checked file per session and column."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

from volumetric.batch.progress import progress
from volumetric.imaging.geometry import Space, same_space
from volumetric.imaging.header import ImageError
from volumetric.imaging.nifti import read_image, read_labels
from volumetric.manifest import CONTRASTS, LABELS, PATH_COLUMNS, ManifestRow

MAX_READERS = 4
"""Scans that are read at once: each is held in memory whole."""

SessionIds = tuple[str, str]
"""Ids of the subject and the session."""


class Skipped(NamedTuple):
    """A file, series or cell that the manifest does not hold.

    Attributes:
        path: relative to the folder that was searched; never a DICOM file's own path, which may hold a name.
        reason: why it was skipped.
    """

    path: str
    reason: str


@dataclass(frozen=True)
class Candidate:
    """A NIfTI file that may fill one cell of the manifest.

    Attributes:
        path: the file.
        subject_id: the subject.
        session_id: the session; empty where the layout names none.
        column: the contrast or label.
        rank: of several readable files the one with the smallest rank is taken; as long as that of every other
            candidate of the layout.
        rule: the reason given for those that are not taken.
        covariates: known from this file alone; the taken files' are joined, the first contrast's first.
    """

    path: Path
    subject_id: str
    session_id: str
    column: str
    rank: tuple[float, ...] = ()
    rule: str = "another file of this contrast and session comes before it"
    covariates: Mapping[str, str] = field(default_factory=dict)

    @property
    def key(self) -> SessionIds:
        """The subject and session."""
        return self.subject_id, self.session_id


@dataclass(frozen=True)
class Listing:
    """The files and covariates of a folder by the rules of its layout.

    Attributes:
        candidates: files for the manifest, not yet opened.
        skipped: files that the rules leave out.
        covariates: per session; those under session "" hold for all sessions of the subject.
    """

    candidates: tuple[Candidate, ...]
    skipped: tuple[Skipped, ...] = ()
    covariates: Mapping[SessionIds, Mapping[str, str]] = field(default_factory=dict)


@dataclass(frozen=True)
class Selection:
    """The rows that candidates make.

    Attributes:
        rows: one per session with at least one contrast, in order of subject and session; no split yet.
        skipped: every candidate that is in no row, with the reason.
        num_off_grid: sessions whose contrasts do not lie on one grid.
    """

    rows: tuple[ManifestRow, ...]
    skipped: tuple[Skipped, ...]
    num_off_grid: int


def select(listing: Listing, root: Path) -> Selection:
    """Read every candidate and take one per session and column; where the first by rank is damaged, the next.

    Args:
        listing: the candidates.
        root: the folder that was searched; names in `skipped` are relative to it.
    """
    spaces = _read_all(listing.candidates)
    sessions, rejected = _take_first_readable(listing.candidates, spaces, root)
    skipped = [*listing.skipped, *rejected]
    rows = []
    num_off_grid = 0
    for key, files in sorted(sessions.items()):
        grids = [spaces[files[contrast].path, contrast] for contrast in CONTRASTS if contrast in files]
        if not grids:
            reason = "this session has labels but no contrast"
            skipped += [Skipped(relative(candidate.path, root), reason) for candidate in files.values()]
            continue
        num_off_grid += any(not _same(a, b) for a, b in pairwise(grids))
        rows.append(_row(key, files, listing.covariates))
    return Selection(tuple(rows), tuple(sorted(skipped)), num_off_grid)


def unread_rows(listing: Listing) -> tuple[ManifestRow, ...]:
    """The subjects, sessions and covariates of a listing, a row for each file: as if all could be read."""
    common = listing.covariates
    return tuple(
        ManifestRow(
            *file.key,
            covariates={**file.covariates, **common.get((file.subject_id, ""), {}), **common.get(file.key, {})},
        )
        for file in listing.candidates
    )


def relative(path: Path, root: Path) -> str:
    """Name of a file in messages: relative to the searched folder if it lies in there, else in full."""
    return path.relative_to(root).as_posix() if path.is_relative_to(root) else path.as_posix()


def _take_first_readable(
    candidates: Sequence[Candidate], spaces: Mapping[tuple[Path, str], Space | str], root: Path
) -> tuple[dict[SessionIds, dict[str, Candidate]], list[Skipped]]:
    """The candidate of each session and column, and the others with the reasons."""
    sessions: dict[SessionIds, dict[str, Candidate]] = {}
    skipped = []
    for candidate in sorted(candidates, key=lambda c: (*c.rank, c.path.as_posix())):
        files = sessions.setdefault(candidate.key, {})
        name = relative(candidate.path, root)
        space = spaces[candidate.path, candidate.column]
        if isinstance(space, str):
            skipped.append(Skipped(name, space))
        elif candidate.column in files:
            taken = relative(files[candidate.column].path, root)
            skipped.append(Skipped(name, f"{candidate.rule}; taken: {taken}"))
        else:
            files[candidate.column] = candidate
    return sessions, skipped


def _row(
    key: SessionIds, files: Mapping[str, Candidate], covariates: Mapping[SessionIds, Mapping[str, str]]
) -> ManifestRow:
    """The row of a session; covariates of the session come before those of the subject, and these before a file's."""
    subject, session = key
    ordered = {column: files[column] for column in PATH_COLUMNS if column in files}
    joined: dict[str, str] = {}
    own = [candidate.covariates for candidate in ordered.values()]
    for source in (covariates.get(key, {}), covariates.get((subject, ""), {}), *own):
        joined |= {name: value for name, value in source.items() if value and not joined.get(name)}
    paths = {column: candidate.path for column, candidate in ordered.items()}
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
