"""A JSON file of one kind: typed, with a format version, read and written in one place."""

from __future__ import annotations

import json
import logging
from collections.abc import Set
from contextlib import suppress
from pathlib import Path
from typing import ClassVar, Self

from pydantic import BaseModel, ConfigDict, ValidationError

from volumetric.errors import InputError, first_problem
from volumetric.outputs import write_json

log = logging.getLogger(__name__)


class RecordError(InputError):
    """A file of the project's own that cannot be used."""


class AbsentError(RecordError):
    """A file of the project's own that is not there."""


def check_regular(path: Path, remedy: str) -> None:
    """Check that a path is a file: a pipe would never end, and a folder is nothing to read.

    Raises:
        RecordError: it is none.
        AbsentError: there is nothing, or the name is too long for the system.
    """
    with suppress(OSError):
        if path.is_file():
            return
        if path.exists():
            raise RecordError(f"{path}: a folder or a pipe stands where a file belongs; {remedy}")
    raise AbsentError(f"{path}: there is no such file; {remedy}")


def keys_of(path: Path) -> Set[str] | None:
    """The keys of a JSON file of any kind; None where it is absent or damaged."""
    try:
        return frozenset(json.loads(path.read_text(encoding="utf-8")).keys())
    except (OSError, ValueError, RecursionError, AttributeError):
        return None


class Record(BaseModel):
    """The content of a JSON file; frozen, closed to unknown keys. Subclasses add the fields.

    Attributes:
        format_version: of the file. A subclass that changes its fields gives it a higher default.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    REMEDY: ClassVar[str] = "remove the file and repeat the command that wrote it"
    """The way out that an error names."""

    format_version: int = 1

    @classmethod
    def read(cls, path: Path, *, remedy: str | None = None) -> Self:
        """Read a file of this kind; `remedy` is the way out that an error names, `REMEDY` without one.

        Raises:
            RecordError: no such file, not JSON, another format version, or content of another kind.
        """
        remedy = remedy or cls.REMEDY
        check_regular(path, remedy)
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError, RecursionError) as error:
            raise RecordError(f"{path}: not readable JSON ({error}); {remedy}") from error
        if not isinstance(content, dict):
            raise RecordError(f"{path}: expected a JSON object, got {type(content).__name__}; {remedy}")
        version, expected = content.get("format_version"), cls.model_fields["format_version"].default
        if version != expected:
            raise RecordError(
                f"{path}: format_version is {version!r}, this version of volumetric reads {expected}; {remedy}"
            )
        try:
            return cls.model_validate(content)
        except ValidationError as error:
            raise RecordError(f"{path}: {first_problem(error)}; {remedy}") from error

    @classmethod
    def read_if_usable(cls, path: Path, *, silent: bool = False) -> Self | None:
        """Read a file that can be made again: None where it is absent, or damaged, which is logged unless `silent`."""
        try:
            return cls.read(path, remedy="it is made again")
        except AbsentError:
            return None
        except RecordError as error:
            if not silent:
                log.warning("%s", error)
            return None

    def write(self, path: Path) -> None:
        """Write the file, whole or not at all, in the order of the fields."""
        write_json(path, self.model_dump(mode="json"))
