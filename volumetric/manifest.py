"""The manifest: the subjects of a cohort, the files of their images, and their splits."""

from __future__ import annotations

import logging
import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from itertools import product
from pathlib import Path
from unicodedata import category

from volumetric.errors import InputError
from volumetric.outputs import followed, hash_json, write_csv
from volumetric.records.record import RecordError
from volumetric.records.table import SessionKey, one_letter_away, read_cells

log = logging.getLogger(__name__)

CONTRASTS = ("t1w", "t2w", "pdw", "flair", "t1wce")
LABELS = ("mask", "tissues", "lesions")
LABEL_MAP = "labels"
"""The column of an anatomy to simulate from; its numbers are looked up in a table, label -> tissue."""
NATIVE = "native_"
"""Before a contrast or `mask`: the same on the raw reference scan's own grid, where `prepare` made another."""
PATH_COLUMNS = (*CONTRASTS, *LABELS, LABEL_MAP, *(NATIVE + column for column in (*CONTRASTS, "mask")))
SPLITS = ("train", "val", "test")
_ROW_COLUMNS = ("subject_id", "session_id", "split", "fold")
_KNOWN_COLUMNS = (*_ROW_COLUMNS, *PATH_COLUMNS)
_CONTROL = ("Cc", "Cs", "Zl", "Zp")  # categories of Unicode
_REMEDY = "give the manifest as comma-separated text in UTF-8"


class ManifestError(InputError):
    """A manifest that cannot be used; the message lists every problem found."""


@dataclass(frozen=True, slots=True)
class ManifestRow:
    """One session of one subject.

    Attributes:
        subject_id: the subject.
        session_id: the session; empty where the subject has one only.
        split: `train`, `val`, `test`, or empty.
        fold: the cross-validation fold, or empty.
        paths: absolute path per contrast or label column that is filled in; the file may be absent.
        covariates: every other column, as text.
    """

    subject_id: str
    session_id: str = ""
    split: str = ""
    fold: str = ""
    paths: Mapping[str, Path] = field(default_factory=dict)
    covariates: Mapping[str, str] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """The row's name in messages: `ms01` or `ms01/study2`."""
        return self.key.name

    @property
    def key(self) -> SessionKey:
        """Subject and session."""
        return SessionKey(self.subject_id, self.session_id)

    def native(self) -> ManifestRow | None:
        """The same session on the raw reference scan's own grid, or None where the manifest has no such columns."""
        paths = {c.removeprefix(NATIVE): path for c, path in self.paths.items() if c.startswith(NATIVE)}
        return replace(self, paths=paths) if paths else None

    def path(self, column: str) -> Path:
        """The file of a column.

        Raises:
            ManifestError: the cell is empty or the file is absent.
        """
        if column not in self.paths:
            raise ManifestError(
                f"subject {self.name}: no `{column}` is given; fill the column, or leave this subject out"
            )
        path = self.paths[column]
        problem = "does not exist"
        with suppress(OSError):  # a name too long for the system
            if path.is_file():
                return path
            if path.exists():
                problem = "is a folder or a device, no file"
        raise ManifestError(f"subject {self.name}: the `{column}` file {path} {problem}; correct the path")


@dataclass(frozen=True)
class Manifest:
    """The rows of one or several manifests, in file order."""

    rows: tuple[ManifestRow, ...]
    sources: tuple[Path, ...] = ()

    @property
    def name(self) -> str:
        """The files it was read from, for messages."""
        return ", ".join(str(path) for path in self.sources)

    def split(self, split: str) -> tuple[ManifestRow, ...]:
        """The rows of one split; all rows for `all`."""
        return self.rows if split == "all" else tuple(row for row in self.rows if row.split == split)

    def digest(self) -> str:
        """Hash of the subjects, their splits and filled columns; it does not change when the files move."""
        return hash_json([[r.subject_id, r.session_id, r.split, r.fold, sorted(r.paths)] for r in self.rows])

    def require(self, rows: Sequence[ManifestRow], columns: Sequence[str]) -> None:
        """Check that these rows have these files.

        Raises:
            ManifestError: naming every row and column without one.
        """
        _raise_if(self.name, list(_absent(rows, columns)))


def read_manifest(*paths: Path | str) -> Manifest:
    """Read and join manifests, checking everything at once.

    Subject ids that differ in case alone are different subjects; they are logged as a warning.

    Args:
        paths: CSV files. Relative paths in them are relative to the file they stand in.

    Raises:
        ManifestError: a file that is missing or not comma-separated text, no `subject_id` column, a misspelled known
            column, a repeated row, an unknown split, a subject in two splits, one file as two contrasts of a row, or
            one image of two subjects in different splits; all problems of all files in one message.
    """
    problems: list[str] = []
    rows: list[ManifestRow] = []
    for path in map(Path, paths):
        own_rows, own_problems = _read_file(path)
        rows += own_rows
        problems += own_problems
    problems += [*_repetitions(rows), *_shared_images(rows)]
    if not rows and not problems:
        problems.append("it has no rows; give each session one")
    _raise_if(", ".join(str(path) for path in paths), problems)
    _warn_of_case(rows)
    return Manifest(tuple(rows), tuple(map(Path, paths)))


def write_manifest(path: Path, rows: Sequence[ManifestRow]) -> None:
    """Write rows as a manifest whose paths are relative to it."""
    records = []
    for row in rows:
        record = {"subject_id": row.subject_id}
        record |= {key: value for key in ("session_id", "split", "fold") if (value := getattr(row, key))}
        record |= {c: Path(os.path.relpath(p, path.parent)).as_posix() for c, p in row.paths.items()}
        records.append(record | dict(row.covariates))
    order = [c for c in _KNOWN_COLUMNS if any(c in record for record in records)]
    write_csv(path, records, order + sorted({c for record in records for c in record} - set(order)))


def is_covariate(column: str) -> bool:
    """True for a column that is read as a covariate: neither a known column nor one misspelled."""
    return _misspelled(column) is None


def _read_file(path: Path) -> tuple[list[ManifestRow], list[str]]:
    """The rows of one manifest, and all that is wrong with it."""
    overlong: list[int] = []
    try:
        columns, records, lines = read_cells(path, remedy=_REMEDY, overlong=overlong)
    except RecordError as error:
        return [], [str(error)]
    problems = list(_column_problems(path, columns))
    if "subject_id" not in columns:
        return [], problems
    problems += [f"{path} line {n}: more cells than columns; put a cell that holds a comma in quotes" for n in overlong]
    folder = path.resolve().parent
    rows = [_row(folder, {column: text.strip() for column, text in record.items()}) for record in records]
    for line, row in zip(lines, rows, strict=True):
        problems += [f"{path} line {line}: {problem}" for problem in _row_problems(row)]
    return rows, problems


def _row_problems(row: ManifestRow) -> Iterator[str]:
    if not row.subject_id:
        yield "the subject_id is empty; name the subject"
    for column, name in (("subject_id", row.subject_id), ("session_id", row.session_id)):
        if any(category(character) in _CONTROL for character in name):
            yield f"the {column} {name[:60]!r} holds a line break or another control character; rename it"
    if row.split and row.split not in SPLITS:
        yield f"split is '{row.split}', expected one of {', '.join(SPLITS)}"


def _row(folder: Path, cells: Mapping[str, str]) -> ManifestRow:
    return ManifestRow(
        **{column: cells.get(column, "") for column in _ROW_COLUMNS},
        paths={column: folder / cells[column] for column in PATH_COLUMNS if cells.get(column)},
        covariates={column: text for column, text in cells.items() if column not in _KNOWN_COLUMNS},
    )


def _column_problems(path: Path, columns: Sequence[str]) -> Iterator[str]:
    if "subject_id" not in columns:
        yield f"{path}: {_missing_subject_id(columns)}"
    for column in columns:
        known = None if column in _KNOWN_COLUMNS else _misspelled(column)
        if known and (known not in columns or known == column.lower()):
            yield f"{path}: the column `{column}` looks like `{known}` misspelled; rename it"
    for column, count in Counter(columns).items():
        if count > 1:
            yield f"{path}: the column `{column}` is there {count} times; keep one"


def _missing_subject_id(columns: Sequence[str]) -> str:
    if any(delimiter in column for column in columns for delimiter in ";\t"):
        return f"the cells are separated by semicolons or tabs; {_REMEDY}"
    return f"the column `subject_id` is missing (columns are: {', '.join(columns) or 'none'}); add it"


def _repetitions(rows: Sequence[ManifestRow]) -> Iterator[str]:
    """Sessions listed twice, and subjects in two splits."""
    sessions: set[SessionKey] = set()
    splits: dict[str, set[str]] = {}
    for row in rows:
        if row.key in sessions:
            yield f"subject {row.name} is listed twice; give each session a session_id of its own"
        sessions.add(row.key)
        splits.setdefault(row.subject_id, set()).add(row.split)
    for subject, own in splits.items():
        if len(own) > 1:
            names = " and ".join(sorted(split or "none" for split in own))
            yield f"subject {subject} is in more than one split ({names}); keep all sessions of a subject in one"


def _shared_images(rows: Sequence[ManifestRow]) -> Iterator[str]:
    """One file as two contrasts of a row, or as an image of two subjects in different splits.

    Labels may be shared: subjects in one template space have one mask.
    """
    owners: dict[str, ManifestRow] = {}
    for row in rows:
        columns: dict[str, str] = {}
        for column in CONTRASTS:
            if column not in row.paths:
                continue
            path = followed(row.paths[column])
            if path in columns:
                yield f"subject {row.name}: `{columns[path]}` and `{column}` are the same file {path}; correct one"
            columns[path] = column
        for path in columns:
            owner = owners.setdefault(path, row)
            if owner.subject_id != row.subject_id and owner.split != row.split and owner.split and row.split:
                yield (
                    f"subjects {owner.name} ({owner.split}) and {row.name} ({row.split}) have the same file {path}; "
                    "correct the path, or keep them in one split as sessions of one subject"
                )


def _warn_of_case(rows: Sequence[ManifestRow]) -> None:
    """Log subject ids that differ in case alone: most are one subject, and many disks give them one folder."""
    subjects: dict[str, str] = {}
    pairs = []
    for subject in dict.fromkeys(row.subject_id for row in rows):
        other = subjects.setdefault(subject.casefold(), subject)
        if other != subject:
            pairs.append(f"{other} and {subject}")
    if pairs:
        log.warning(
            "%s differ in case alone and count as different subjects; give one subject one subject_id, and two "
            "subjects ids that a disk ignoring case tells apart",
            ", ".join(pairs[:5]) + f" and {len(pairs) - 5} more pairs" * (len(pairs) > 5),
        )


def _absent(rows: Sequence[ManifestRow], columns: Sequence[str]) -> Iterator[str]:
    for row, column in product(rows, columns):
        try:
            row.path(column)
        except ManifestError as error:
            yield str(error)


def _misspelled(column: str) -> str | None:
    name = column.lower()
    if name in _KNOWN_COLUMNS:
        return name
    return next((known for known in _KNOWN_COLUMNS if one_letter_away(name, known)), None)


def _raise_if(name: str, problems: Sequence[str]) -> None:
    if not problems:
        return
    if len(problems) == 1:
        (problem,) = problems
        raise ManifestError(problem if problem.startswith(name) else f"{name}: {problem}")
    shown = [*problems[:20], *([f"and {len(problems) - 20} more"] if len(problems) > 20 else [])]
    raise ManifestError(f"{name}: {len(problems)} problems:\n  " + "\n  ".join(shown))
