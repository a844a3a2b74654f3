"""Reads the tables that come with a data set: who is how old, of which sex, from which site."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from volumetric.errors import InputError

_EMPTY = {"", "n/a", "na", "nan", "none"}


class TableError(InputError):
    """A table of people that cannot be read."""


@dataclass(frozen=True)
class Table:
    """A table by its key.

    Attributes:
        columns: all but the key, in file order.
        records: the cells per key; absent values are empty.
        problems: (key, reason) of cells that are not used because two lines of one key differ.
    """

    columns: tuple[str, ...]
    records: Mapping[str, Mapping[str, str]]
    problems: tuple[tuple[str, str], ...]


def read_table(path: Path, key: str, *, delimiter: str | None = None) -> Table:
    """Read a CSV or TSV whose lines are found by one column.

    Lines without a key are passed over. Where lines of one key differ in a cell, that cell is empty and
    reported: nobody can tell which one is right.

    Args:
        path: the file, UTF-8 or Latin-1.
        key: the column that names a person.
        delimiter: between cells; without it, the one of comma, semicolon and tabulator that the first line has most of.

    Raises:
        TableError: not a text file, or it has no such column.
    """
    data = path.read_bytes()
    if b"\x00" in data:
        raise TableError(
            f"{path}: expected a text file of comma-separated values; export the table as CSV and give that"
        )
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = data.decode("latin-1")
    first = text.split("\n", 1)[0]
    lines = csv.DictReader(io.StringIO(text), delimiter=delimiter or max(",;\t", key=first.count))
    columns = [column.strip() for column in lines.fieldnames or ()]
    lines.fieldnames = columns
    if key not in columns:
        raise TableError(f"{path}: the column `{key}` is missing (columns are: {', '.join(columns) or 'none'})")
    records: dict[str, dict[str, str]] = {}
    problems = []
    for line in lines:
        name = (line[key] or "").strip()
        if name.lower() in _EMPTY:
            continue
        cells = {column: _cell(line[column]) for column in columns if column != key}
        known = records.setdefault(name, dict(cells))
        for column, value in cells.items():
            if value and known[column] and value != known[column]:
                problems.append((name, f"two lines give {column} {known[column]} and {value}; neither is used"))
                known[column] = ""
            elif value and not any(p[0] == name and f"give {column} " in p[1] for p in problems):
                known[column] = value
    return Table(tuple(c for c in columns if c != key), records, tuple(problems))


def _cell(value: str | None) -> str:
    text = (value or "").strip()
    return "" if text.lower() in _EMPTY else text
