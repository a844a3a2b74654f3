"""Tables that come with a data set: age, sex, site and other covariates of its subjects."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from volumetric.errors import InputError
from volumetric.records.table import read_cells

_EMPTY = {"", "n/a", "na", "nan", "none"}
_REMEDY = "export the table as CSV and give that"


class TableError(InputError):
    """A table of subjects that cannot be read."""


class Conflict(NamedTuple):
    """A cell that is not used because lines of one key differ in it.

    Attributes:
        key: of the lines.
        column: of the cell.
        reason: the sentence that names two of the values.
    """

    key: str
    column: str
    reason: str


@dataclass(frozen=True)
class SubjectTable:
    """The cells of a table by key.

    Attributes:
        columns: all but the key, in file order.
        cells: by key, then by column; absent values are empty.
        conflicts: cells that are empty because lines of one key differ.
    """

    columns: tuple[str, ...]
    cells: Mapping[str, Mapping[str, str]]
    conflicts: tuple[Conflict, ...]


def read_table(path: Path, key: str, *, delimiter: str | None = None) -> SubjectTable:
    """Read a CSV or TSV file whose lines are keyed by one column.

    Lines without a key are passed over. Where lines of one key differ in a cell, that cell is empty and
    reported, since nothing tells which one is right.

    Args:
        path: the file, UTF-8 or Latin-1.
        key: the column that names a subject or session.
        delimiter: between cells; without it, the one of comma, semicolon and tab that the first line has most of.

    Raises:
        InputError: not a readable text file, or it has no such column.
    """
    encoding, first_line = _encoding_and_first_line(path)
    delimiter = delimiter or max(",;\t", key=first_line.count)
    columns, records, _ = read_cells(path, remedy=_REMEDY, delimiter=delimiter, encoding=encoding, overlong=[])
    if key not in columns:
        raise TableError(f"{path}: the column `{key}` is missing (columns are: {', '.join(columns) or 'none'})")
    others = tuple(column for column in columns if column != key)
    values = _values_by_key(records, key, others)
    conflicts = (_conflict(name, column, texts) for name, own in values.items() for column, texts in own.items())
    cells = {name: {column: _agreed(texts) for column, texts in own.items()} for name, own in values.items()}
    return SubjectTable(others, cells, tuple(filter(None, conflicts)))


def _values_by_key(
    lines: Iterable[Mapping[str, str]], key: str, columns: Sequence[str]
) -> dict[str, dict[str, list[str]]]:
    """The different values of each key and column, in the order of the lines."""
    values: dict[str, dict[str, list[str]]] = {}
    for line in lines:
        if name := _cell(line[key]):
            own = values.setdefault(name, {column: [] for column in columns})
            for column in columns:
                text = _cell(line[column])
                if text and text not in own[column]:
                    own[column].append(text)
    return values


def _agreed(texts: Sequence[str]) -> str:
    return texts[0] if len(texts) == 1 else ""


def _conflict(key: str, column: str, texts: Sequence[str]) -> Conflict | None:
    if len(texts) < 2:
        return None
    return Conflict(key, column, f"two lines give {column} {texts[0]} and {texts[1]}; neither is used")


def _encoding_and_first_line(path: Path) -> tuple[str, str]:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise TableError(f"{path}: cannot be read ({error.strerror}); correct the path or its permissions") from error
    if b"\x00" in data:
        raise TableError(f"{path}: expected a text file of comma-separated values; {_REMEDY}")
    encoding = "utf-8-sig"
    try:
        data.decode(encoding)
    except UnicodeDecodeError:
        encoding = "latin-1"
    return encoding, data.split(b"\n", 1)[0].decode(encoding)


def _cell(text: str) -> str:
    text = text.strip()
    return "" if text.lower() in _EMPTY else text
