"""Files that are whole or absent: atomic writing, content hashes, folder locks, and the versions behind a result."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import os
import platform
import re
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from importlib import metadata
from pathlib import Path
from typing import Any, BinaryIO, TextIO

from filelock import FileLock, Timeout

from volumetric.errors import InputError, one_line

FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")
"""Beginnings of a cell that a spreadsheet takes for a formula; before them stands an apostrophe in what is written."""

_ODD_BYTES = "backslashreplace"
_TEMPORARY = re.compile(r"\..+\.(\d+)\.tmp")
_LITTER_AGE_S = 60


class OutputError(InputError):
    """An output folder that cannot be written."""


def write_bytes(path: Path, data: bytes) -> None:
    """Write under a temporary name, then rename: whoever sees the file sees all of it.

    Raises:
        OutputError: a folder stands where the file belongs.
        OSError: it cannot be written; the error names it, and not the temporary file.
    """
    with _replacing(path) as file:
        file.write(data)


@contextmanager
def _replacing(path: Path) -> Iterator[BinaryIO]:
    """A file that takes the place of `path` once it is whole; errors as `write_bytes`."""
    if path.is_dir():
        raise OutputError(f"{path}: a folder stands where a file is to be written; rename or remove it")
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        if error.errno is None:
            raise
        raise OSError(error.errno, error.strerror, str(path)) from error
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """`write_bytes` of UTF-8 text; of a file name that is no UTF-8, the odd bytes are written as `\\udcXX`."""
    write_bytes(path, text.encode(errors=_ODD_BYTES))


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """`write_text` of indented JSON in the given key order."""
    write_text(path, json.dumps(content, indent=2, default=str) + "\n")


def write_csv(path: Path, rows: Iterable[Mapping[str, object]], columns: Sequence[str] | None = None) -> None:
    """Write rows as CSV; the columns are the given ones, else all keys in order of first appearance.

    Floats keep nine significant digits, more than float32 holds. Text that a spreadsheet would take for a formula gets
    an apostrophe in front, which `read_cells` takes away again.
    """
    if not columns:
        rows = list(rows)
        columns = list(dict.fromkeys(key for row in rows for key in row))
    with _replacing(path) as file:
        text = io.TextIOWrapper(file, "utf-8", _ODD_BYTES, newline="")
        writer = _csv_writer(text, columns)
        writer.writeheader()
        writer.writerows(map(_cells, rows))
        text.flush()


def append_csv(path: Path, rows: Iterable[Mapping[str, object]], columns: Sequence[str]) -> None:
    """Add rows to the CSV file that `write_csv` wrote with these columns, in one write; others see whole lines."""
    text = io.StringIO()
    _csv_writer(text, columns).writerows(map(_cells, rows))
    with path.open("ab") as file:
        file.write(text.getvalue().encode(errors=_ODD_BYTES))


def _csv_writer(text: TextIO, columns: Sequence[str]) -> csv.DictWriter[str]:
    return csv.DictWriter(text, columns, restval="", lineterminator="\n")


def _cells(row: Mapping[str, object]) -> dict[str, object]:
    return {key: _cell(value) for key, value in row.items()}


def _cell(value: object) -> object:
    if isinstance(value, float):
        return f"{value:.9g}"
    if isinstance(value, str) and value.lstrip("'").startswith(FORMULA_STARTS) and not _is_number(value):
        return f"'{value}"
    return value


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def hash_bytes(*parts: bytes) -> str:
    """SHA-256 of the parts one after another, as hexadecimal text."""
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part)
    return digest.hexdigest()


def hash_file(path: Path) -> str:
    """SHA-256 of a file's content."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def followed(path: Path) -> str:
    """The file that a link leads to, or the path itself; links among its folders stay."""
    with suppress(OSError):  # a name too long for the system
        if path.is_symlink():
            return os.path.realpath(path)
    return os.path.normpath(path)


def hash_path(path: Path | str) -> str:
    """SHA-256 of a path without links: tells two files apart and keeps the names of folders to itself."""
    return hash_bytes(os.fsencode(os.path.realpath(path)))


def hash_json(content: object) -> str:
    """SHA-256 of content written as JSON with sorted keys."""
    return hash_bytes(json.dumps(content, sort_keys=True, default=str).encode())


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold the folder for this process, so that two commands never write into it at once.

    A folder that is empty in the end is removed, with the folders above that were made for it: a command that failed
    before it wrote leaves nothing.

    Raises:
        OutputError: another process holds it, or it cannot be made or written.
    """
    lock = FileLock(folder / ".lock")
    try:
        made = [folder, *(above for above in folder.parents if not above.exists())]
        folder.mkdir(parents=True, exist_ok=True)
        lock.acquire(timeout=0)
    except Timeout as error:
        raise OutputError(
            f"{folder}: another process is writing into this folder; wait for it, or choose another --out"
        ) from error
    except OSError as error:
        raise OutputError(
            f"{folder}: no folder that can be written ({one_line(error)}); choose another --out"
        ) from error
    _remove_litter(folder)
    try:
        yield
    finally:
        lock.release()
        (folder / ".lock").unlink(missing_ok=True)
        with suppress(OSError):
            for empty in made:
                empty.rmdir()  # succeeds only where nothing was written


def check_unclaimed(paths: Iterable[Path]) -> None:
    """Check that none of the files is there that a command would write into a folder that it has not begun.

    Raises:
        OutputError: one is, and would be lost.
    """
    for path in paths:
        if os.path.lexists(path):
            raise OutputError(
                f"{path}: it was there before this command began in that folder, and would be replaced; choose another "
                "--out, or move it"
            )


def _remove_litter(folder: Path) -> None:
    """Remove what killed processes left of files half written."""
    for path in folder.rglob(".*.tmp"):
        name = _TEMPORARY.fullmatch(path.name)
        with suppress(OSError):  # another process was first
            if name and time.time() - path.stat().st_mtime > _LITTER_AGE_S and not _runs(int(name[1])):
                path.unlink()


def _runs(process: int) -> bool:
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        return True
    return True


def without_folders(text: str, paths: Iterable[Path]) -> str:
    """A message in which these paths are file names alone: names of folders may be those of patients."""
    folders = {str(path).rpartition(os.sep)[0] for path in paths} - {""}
    for folder in sorted(folders, key=len, reverse=True):
        text = text.replace(f"{folder}{os.sep}", "")
    return text


def versions(*more: str) -> dict[str, str]:
    """The versions that decide a result: this package, Python and the numerical libraries, and `more` packages."""
    packages = ("volumetric", "torch", "monai", "lightning-fabric", "numpy", "nibabel", "SimpleITK", *more)
    return {"python": platform.python_version()} | {name: metadata.version(name) for name in packages}
