"""The manifest: which subjects there are, where their images lie, and which of them train."""

from __future__ import annotations

import csv
import difflib
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from volumetric.errors import InputError
from volumetric.outputs import hash_json, write_csv

CONTRASTS = ("t1w", "t2w", "pdw", "flair")
LABELS = ("mask", "tissues", "lesions")
NATIVE = "native_"
"""Before a contrast or `mask`: the same on the raw reference scan's own grid, where `prepare` made another."""
PATH_COLUMNS = (*CONTRASTS, *LABELS, *(NATIVE + column for column in (*CONTRASTS, "mask")))
SPLITS = ("train", "val", "test")
_KNOWN_COLUMNS = ("subject_id", "session_id", "split", "fold", *PATH_COLUMNS)


class ManifestError(InputError):
    """A manifest that cannot be used; the message lists every problem found."""


@dataclass(frozen=True)
class ManifestRow:
    """One visit of one person.

    Attributes:
        subject_id: the person.
        session_id: the visit; empty where there is only one.
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
        """How messages call this row: `ms01` or `ms01/study2`."""
        return f"{self.subject_id}/{self.session_id}" if self.session_id else self.subject_id

    def native(self) -> ManifestRow | None:
        """The same visit on the raw reference scan's own grid, or None where the manifest has no such columns."""
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
        if not path.is_file():
            raise ManifestError(f"subject {self.name}: the `{column}` file {path} does not exist; correct the path")
        return path


@dataclass(frozen=True)
class Manifest:
    """The rows of one or several manifests, in file order."""

    rows: tuple[ManifestRow, ...]
    sources: tuple[Path, ...] = ()

    @property
    def name(self) -> str:
        """The files it came from, for messages."""
        return ", ".join(str(path) for path in self.sources)

    def split(self, split: str) -> tuple[ManifestRow, ...]:
        """The rows of one split; all rows for `all`."""
        return self.rows if split == "all" else tuple(row for row in self.rows if row.split == split)

    def digest(self) -> str:
        """A hash of who is in it and in which split; it does not change when the files move."""
        return hash_json([[r.subject_id, r.session_id, r.split, r.fold, sorted(r.paths)] for r in self.rows])

    def require(self, rows: Sequence[ManifestRow], columns: Sequence[str]) -> None:
        """Check that these rows have these files.

        Raises:
            ManifestError: naming every row and column without one.
        """
        _raise_if(self.name, list(_absent(rows, columns)))


def read_manifest(*paths: Path | str) -> Manifest:
    """Read and join manifests, checking everything at once.

    Args:
        paths: CSV files. Relative paths in them are relative to the file they stand in.

    Raises:
        ManifestError: no such file, no `subject_id` column, a misspelled known column, a repeated row, a split
            that is none, or a subject in two splits; all problems of all files in one message.
    """
    problems: list[str] = []
    rows: list[ManifestRow] = []
    for path in map(Path, paths):
        if not path.is_file():
            raise ManifestError(f"{path}: there is no such manifest; check the path")
        with path.open(newline="", encoding="utf-8-sig") as file:
            try:
                reader = csv.DictReader(file)
                columns = [column.strip() for column in reader.fieldnames or ()]
                reader.fieldnames = columns
                records = list(reader)
            except UnicodeDecodeError as error:
                raise ManifestError(f"{path}: not a text file; a manifest is a CSV") from error
        problems += _column_problems(path, columns)
        if "subject_id" not in columns:
            continue
        for line, record in enumerate(records, start=2):
            if None in record:
                problems.append(f"{path} line {line}: more cells than columns")
                continue
            row = _row(path.resolve().parent, {k: (v or "").strip() for k, v in record.items()})
            if not row.subject_id:
                problems.append(f"{path} line {line}: the subject_id is empty")
            if row.split and row.split not in SPLITS:
                problems.append(f"{path} line {line}: split is '{row.split}', expected one of {', '.join(SPLITS)}")
            rows.append(row)
    problems += _row_problems(rows)
    name = ", ".join(str(path) for path in paths)
    if not rows and not problems:
        problems.append("it has no rows")
    _raise_if(name, problems)
    return Manifest(tuple(rows), tuple(map(Path, paths)))


def write_manifest(path: Path, rows: Sequence[ManifestRow]) -> None:
    """Write rows as a manifest whose paths are relative to it."""
    records = []
    for row in rows:
        record: dict[str, object] = {"subject_id": row.subject_id}
        record |= {key: value for key in ("session_id", "split", "fold") if (value := getattr(row, key))}
        record |= {c: Path(os.path.relpath(p, path.parent)).as_posix() for c, p in row.paths.items()}
        records.append(record | dict(row.covariates))
    order = [c for c in _KNOWN_COLUMNS if any(c in record for record in records)]
    write_csv(path, records, order + sorted({c for record in records for c in record} - set(order)))


def is_covariate(column: str) -> bool:
    """Whether a column of this name is read as a covariate: neither a known one nor one misspelled."""
    return not any(_one_letter_away(column.lower(), known) for known in _KNOWN_COLUMNS)


def _row(folder: Path, record: Mapping[str, str]) -> ManifestRow:
    return ManifestRow(
        **{key: record.get(key, "") for key in ("subject_id", "session_id", "split", "fold")},
        paths={column: folder / record[column] for column in PATH_COLUMNS if record.get(column)},
        covariates={column: value for column, value in record.items() if column not in _KNOWN_COLUMNS},
    )


def _column_problems(path: Path, columns: Sequence[str]) -> list[str]:
    problems = []
    if "subject_id" not in columns:
        problems.append(f"{path}: the column `subject_id` is missing (columns are: {', '.join(columns) or 'none'})")
    for column in columns:
        if column in _KNOWN_COLUMNS:
            continue
        meant = next((known for known in _KNOWN_COLUMNS if _one_letter_away(column.lower(), known)), None)
        if meant and meant not in columns:
            problems.append(f"{path}: the column `{column}` looks like `{meant}` misspelled; rename it")
    problems += [
        f"{path}: the column `{c}` stands there twice" for c in sorted({c for c in columns if columns.count(c) > 1})
    ]
    return problems


def _row_problems(rows: Sequence[ManifestRow]) -> list[str]:
    problems = []
    seen: set[tuple[str, str]] = set()
    splits: dict[str, set[str]] = {}
    for row in rows:
        key = (row.subject_id, row.session_id)
        if key in seen:
            problems.append(f"subject {row.name} stands there twice; give each visit its own session_id")
        seen.add(key)
        splits.setdefault(row.subject_id, set()).add(row.split)
    for subject, found in splits.items():
        if len(found) > 1:
            named = " and ".join(sorted(split or "none" for split in found))
            problems.append(
                f"subject {subject} is in more than one split ({named}); keep all visits of a person in one"
            )
    return problems


def _absent(rows: Sequence[ManifestRow], columns: Sequence[str]) -> list[str]:
    problems = []
    for row in rows:
        for column in columns:
            try:
                row.path(column)
            except ManifestError as error:
                problems.append(str(error))
    return problems


def _one_letter_away(a: str, b: str) -> bool:
    """Whether one insertion, deletion, exchange or swap of neighbors makes `a` into `b`; also other case or plural."""
    if a == b:
        return True
    if len(a) == len(b):
        differing = [i for i, (x, y) in enumerate(zip(a, b, strict=True)) if x != y]
        swapped = len(differing) == 2 and a[differing[0]] == b[differing[1]] and a[differing[1]] == b[differing[0]]
        # t1w and t2w are one letter apart too, but both are known: only unknown columns come here
        return len(differing) == 1 or swapped
    short, long = sorted((a, b), key=len)
    return len(long) - len(short) == 1 and any(long[:i] + long[i + 1 :] == short for i in range(len(long)))


def _raise_if(name: str, problems: Sequence[str]) -> None:
    if problems:
        shown = [*problems[:20], *([f"and {len(problems) - 20} more"] if len(problems) > 20 else [])]
        head = f"{name}: " if len(problems) == 1 else f"{name}: {len(problems)} problems:\n  "
        raise ManifestError(head + "\n  ".join(shown))


def closest(word: str, known: Sequence[str]) -> str | None:
    """The known word nearest to a misspelled one, or None if none is near."""
    return next(iter(difflib.get_close_matches(word, known, n=1, cutoff=0.5)), None)
