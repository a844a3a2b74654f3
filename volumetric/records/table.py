"""A CSV file of the project's own: typed rows, read and written in one place."""

from __future__ import annotations

import csv
import io
import logging
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import ClassVar, NamedTuple, Self

from pydantic import BaseModel, ConfigDict, ValidationError

from volumetric.outputs import FORMULA_STARTS, write_csv
from volumetric.records.record import AbsentError, RecordError, check_regular

log = logging.getLogger(__name__)

Cell = str | int | float | bool | None


class TableRow(BaseModel):
    """A row of a CSV file; frozen. Subclasses add the columns, in the file's order.

    An empty cell takes the column's default. A table whose columns vary overrides `from_cells` and `to_cells`.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    REMEDY: ClassVar[str] = "remove the file and repeat the command that wrote it"
    """The way out that an error names."""

    @classmethod
    def required_columns(cls) -> list[str]:
        """The columns without which a file is not a table of this kind."""
        return [name for name, field in cls.model_fields.items() if field.is_required()]

    @classmethod
    def from_cells(cls, cells: Mapping[str, str]) -> Self:
        """From the cells of a row by column.

        Raises:
            ValidationError: a cell that does not fit its column.
        """
        return cls.model_validate({column: text for column, text in cells.items() if text != ""})

    def to_cells(self) -> dict[str, Cell]:
        """The cells of a row by column; None is an empty cell."""
        return self.model_dump()

    @classmethod
    def read_table(cls, path: Path) -> list[Self]:
        """Read a table of this kind.

        Raises:
            RecordError: no such file, not a CSV, a missing column, or a cell that does not fit its column.
        """
        return cls.parse_table(path, *read_cells(path, remedy=cls.REMEDY))

    @classmethod
    def parse_table(
        cls, path: Path, columns: Sequence[str], records: Sequence[Mapping[str, str]], lines: Sequence[int]
    ) -> list[Self]:
        """Rows from the columns, cells and line numbers that `read_cells` found in a file.

        Raises:
            RecordError: a missing column, or a cell that does not fit its column.
        """
        missing = [column for column in cls.required_columns() if column not in columns]
        if missing:
            raise RecordError(f"{path}: the columns {', '.join(missing)} are missing; {cls.REMEDY}")
        rows = []
        for line, record in zip(lines, records, strict=True):
            try:
                rows.append(cls.from_cells(record))
            except ValidationError as error:
                problem = error.errors()[0]
                where = ".".join(map(str, problem["loc"]))
                raise RecordError(
                    f"{path} line {line}: `{where}` is {problem['input']!r}: {problem['msg']}; {cls.REMEDY}"
                ) from error
        return rows

    @classmethod
    def read_if_usable(cls, path: Path) -> list[Self] | None:
        """Read a table that can be made again: None where it is absent, or damaged, which is logged."""
        try:
            return cls.read_table(path)
        except AbsentError:
            return None
        except RecordError as error:
            log.warning("%s; it is made again", str(error).removesuffix(f"; {cls.REMEDY}"))
            return None

    @classmethod
    def write_table(cls, path: Path, rows: Iterable[Self], columns: Sequence[str] | None = None) -> None:
        """Write a table, whole or not at all; the columns are the given ones, else those of the fields."""
        write_csv(path, (row.to_cells() for row in rows), columns or list(cls.model_fields))


class SessionKey(NamedTuple):
    """Subject and session; the session is empty where the manifest names none."""

    subject_id: str
    session_id: str = ""

    @property
    def name(self) -> str:
        """`subject` or `subject/session`."""
        return "/".join(filter(None, self))

    @property
    def folder(self) -> Path:
        """Relative folder of what is written of this session: `ms01` or `ms01/study2`, odd characters replaced."""
        return Path(*(re.sub(r"[^\w-]", "_", part) for part in self if part))


class SessionRow(TableRow):
    """A row about one subject and session."""

    subject_id: str
    session_id: str = ""

    @property
    def key(self) -> SessionKey:
        """Subject and session."""
        return SessionKey(self.subject_id, self.session_id)


class Cells(NamedTuple):
    """The content of a CSV file as text.

    Attributes:
        columns: their names, in order.
        records: of each row, the cells by column; lines without any cell are none.
        lines: of each row, the number of the line where it begins.
    """

    columns: list[str]
    records: list[dict[str, str]]
    lines: list[int]


def read_cells(
    path: Path,
    *,
    remedy: str,
    delimiter: str = ",",
    encoding: str = "utf-8-sig",
    overlong: list[int] | None = None,
    whole_lines: bool = False,
) -> Cells:
    """The columns of a CSV file, and its rows as text; a cell that is missing at a row's end is empty.

    Args:
        path: the file, with or without a byte order mark.
        remedy: the way out that an error names.
        delimiter: between cells.
        encoding: of the text.
        overlong: collects the numbers of the lines with more cells than columns, whose surplus is dropped;
            without it, such a line is an error, and so is a last line without an end: the file was cut short.
        whole_lines: drop a last line without an end, for a file that is still written to.

    Raises:
        RecordError: no such file, not a CSV, or a row with more cells than columns.
    """
    check_regular(path, remedy)
    try:
        with path.open(newline="", encoding=encoding) as file:
            text = file.read()
        if whole_lines:
            text = text[: text.rfind("\n") + 1]
        (_, header), *rows = _numbered_rows(text, delimiter) or [(1, [])]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        said = str(error).replace("unexpected end of data", "a quote is not closed")
        raise RecordError(f"{path}: not a readable CSV file ({said}); {remedy}") from error
    _check_text(path, text, remedy, must_end=overlong is None)
    columns = [column.strip() for column in header]
    too_long = _longer(rows, len(columns))
    if overlong is not None:
        overlong += too_long
    elif too_long:
        raise RecordError(f"{path} line {too_long[0]}: more cells than columns; {remedy}")
    empty = dict.fromkeys(columns, "")
    records = [empty | dict(zip(columns, map(_as_text, cells), strict=False)) for _, cells in rows]
    return Cells(columns, records, [line for line, _ in rows])


def scan_cells(path: Path, columns: Sequence[str]) -> Iterator[tuple[str, ...]]:
    """Some cells of each row of a large CSV file of the project's own, which is never whole in memory.

    Raises:
        RecordError: not a CSV with these columns.
    """
    with path.open(newline="", encoding="utf-8") as file:
        reader = csv.reader(file)
        header = next(reader, [])
        if missing := [column for column in columns if column not in header]:
            raise RecordError(f"{path}: the columns {', '.join(missing)} are missing; {TableRow.REMEDY}")
        places = [header.index(column) for column in columns]
        for cells in reader:
            if len(cells) != len(header):
                raise RecordError(f"{path} line {reader.line_num}: not {len(header)} cells; {TableRow.REMEDY}")
            yield tuple(cells[place] for place in places)


def one_letter_away(a: str, b: str) -> bool:
    """True if one insertion, deletion, exchange or swap of neighbors makes `a` into `b`; also other case or plural."""
    if a == b:
        return True
    if len(a) == len(b):
        differing = [i for i, (x, y) in enumerate(zip(a, b, strict=True)) if x != y]
        swapped = len(differing) == 2 and a[differing[0]] == b[differing[1]] and a[differing[1]] == b[differing[0]]
        # t1w and t2w are one letter apart too, but both are known: only unknown columns come here
        return len(differing) == 1 or swapped
    short, long = sorted((a, b), key=len)
    return len(long) - len(short) == 1 and any(long[:i] + long[i + 1 :] == short for i in range(len(long)))


def _numbered_rows(text: str, delimiter: str) -> list[tuple[int, list[str]]]:
    """The rows, each with the number of the line where it begins; empty lines are none."""
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    rows, first = [], 1
    for cells in reader:
        if cells:
            rows.append((first, cells))
        first = reader.line_num + 1
    return rows


def _longer(rows: Sequence[tuple[int, list[str]]], num_columns: int) -> list[int]:
    """The lines of rows with more cells than columns."""
    return [line for line, cells in rows if len(cells) > num_columns]


def _as_text(cell: str) -> str:
    """A cell without the apostrophe that keeps spreadsheets from calculating."""
    return cell[1:] if cell.startswith("'") and cell.lstrip("'").startswith(FORMULA_STARTS) else cell


def _check_text(path: Path, text: str, remedy: str, *, must_end: bool) -> None:
    if "\0" in text:
        raise RecordError(f"{path}: not a readable CSV file (it holds binary data); {remedy}")
    if must_end and text and not text.endswith("\n"):
        raise RecordError(f"{path}: the file is cut short (its last line has no end); {remedy}")
