"""Files that are whole or absent: atomic writing, content hashes, folder locks, and where a result came from."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import os
import platform
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from importlib import metadata
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from volumetric.errors import InputError, one_line


class OutputError(InputError):
    """An output folder that cannot be written as asked."""


def write_bytes(path: Path, data: bytes) -> None:
    """Write under a temporary name, then rename: whoever sees the file sees all of it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """`write_bytes` of UTF-8 text."""
    write_bytes(path, text.encode())


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """`write_text` of indented JSON in the given key order."""
    write_text(path, json.dumps(content, indent=2, default=str) + "\n")


def write_csv(path: Path, rows: Iterable[Mapping[str, object]], columns: Sequence[str] | None = None) -> None:
    """Write rows as CSV; the columns are the given ones, else all keys in order of first appearance.

    Floats keep nine significant digits, more than float32 holds.
    """
    rows = list(rows)
    columns = list(columns or dict.fromkeys(key for row in rows for key in row))
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows({k: f"{v:.9g}" if isinstance(v, float) else v for k, v in row.items()} for row in rows)
    write_text(path, text.getvalue())


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


def check_same_settings(path: Path, settings: Mapping[str, Any], *, what: str) -> bool:
    """Whether the settings a folder was begun with, kept in the JSON file `path`, equal the ones asked for now.

    Returns:
        True if they are equal; False if there are none yet.

    Raises:
        OutputError: they differ; the message names every difference.
    """
    if not path.exists():
        return False
    before = flatten(json.loads(path.read_text()))
    now = flatten(json.loads(json.dumps(settings, default=str)))
    differences = [
        f"{key} was {before.get(key, 'absent')}, is {now.get(key, 'absent')}"
        for key in sorted(before.keys() | now.keys())
        if before.get(key) != now.get(key)
    ]
    if differences:
        raise OutputError(
            f"{path.parent} holds {what} with other settings ({'; '.join(differences)}); "
            "choose another --out, or start over with --fresh"
        )
    return True


def flatten(content: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested mappings as one level: `{"a": {"b": 1}}` -> `{"a.b": 1}`."""
    flat: dict[str, Any] = {}
    for key, value in content.items():
        if isinstance(value, Mapping):
            flat |= flatten(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value
    return flat


def versions(*more: str) -> dict[str, str]:
    """The versions that decide a result: this package, Python and the numerical libraries, and `more` packages."""
    packages = ("volumetric", "torch", "monai", "lightning-fabric", "numpy", "nibabel", "SimpleITK", *more)
    return {"python": platform.python_version()} | {name: metadata.version(name) for name in packages}


def provenance(**facts: object) -> dict[str, object]:
    """Who made a result: the command, the source's git commit, versions and machine, then the given facts."""
    return {
        "command": " ".join(sys.argv),
        "git_commit": _git_commit(),
        "versions": versions(),
        "platform": platform.platform(),
    } | facts


def _git_commit() -> str | None:
    """The commit of the checkout this package runs from, with `-dirty` after it if files differ."""
    root = Path(__file__).resolve().parents[1]
    if not (root / ".git").exists():
        return None
    git = ["git", "-C", str(root), "describe", "--always", "--abbrev=40", "--dirty", "--exclude=*"]
    try:
        return subprocess.run(git, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None
