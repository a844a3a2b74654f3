"""Files that are whole or absent: atomic writing, content hashes, folder locks, and the versions behind a result."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import os
import platform
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from importlib import metadata
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from volumetric.errors import InputError, one_line


class OutputError(InputError):
    """An output folder that cannot be written."""


def write_bytes(path: Path, data: bytes) -> None:
    """Write under a temporary name, then rename: whoever sees the file sees all of it.

    Raises:
        OutputError: a folder stands where the file belongs.
        OSError: it cannot be written; the error names it, and not the temporary file.
    """
    if path.is_dir():
        raise OutputError(f"{path}: a folder stands where a file is to be written; rename or remove it")
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as file:
            file.write(data)
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
    write_bytes(path, text.encode(errors="backslashreplace"))


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """`write_text` of indented JSON in the given key order."""
    write_text(path, json.dumps(content, indent=2, default=str) + "\n")


def write_csv(path: Path, rows: Iterable[Mapping[str, object]], columns: Sequence[str] | None = None) -> None:
    """Write rows as CSV; the columns are the given ones, else all keys in order of first appearance.

    Floats keep nine significant digits, more than float32 holds.
    """
    rows = list(rows)
    columns = list(columns or dict.fromkeys(key for row in rows for key in row))
    write_text(path, _csv_text(rows, columns, header=True))


def append_csv(path: Path, rows: Iterable[Mapping[str, object]], columns: Sequence[str]) -> None:
    """Add rows to the CSV file that `write_csv` wrote with these columns, in one write; others see whole lines."""
    with path.open("ab") as file:
        file.write(_csv_text(rows, columns, header=False).encode())


def _csv_text(rows: Iterable[Mapping[str, object]], columns: Sequence[str], *, header: bool) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, restval="", lineterminator="\n")
    if header:
        writer.writeheader()
    writer.writerows({k: f"{v:.9g}" if isinstance(v, float) else v for k, v in row.items()} for row in rows)
    return text.getvalue()


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


def hash_json(content: object) -> str:
    """SHA-256 of content written as JSON with sorted keys."""
    return hash_bytes(json.dumps(content, sort_keys=True, default=str).encode())


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold the folder for this process, so that two commands never write into it at once.

    A folder that is empty in the end is removed: a command that failed before it wrote leaves nothing.

    Raises:
        OutputError: another process holds it, or it cannot be made or written.
    """
    lock = FileLock(folder / ".lock")
    try:
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
    try:
        yield
    finally:
        lock.release()
        (folder / ".lock").unlink(missing_ok=True)
        with suppress(OSError):
            folder.rmdir()  # succeeds only where nothing was written


def versions(*more: str) -> dict[str, str]:
    """The versions that decide a result: this package, Python and the numerical libraries, and `more` packages."""
    packages = ("volumetric", "torch", "monai", "lightning-fabric", "numpy", "nibabel", "SimpleITK", *more)
    return {"python": platform.python_version()} | {name: metadata.version(name) for name in packages}
