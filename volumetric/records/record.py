"""A JSON file of one kind: typed, with a format version, read and written in one place."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import ClassVar, Self

from pydantic import BaseModel, ConfigDict, ValidationError

from volumetric.errors import InputError
from volumetric.outputs import write_json

log = logging.getLogger(__name__)


class RecordError(InputError):
    """A file of the project's own that cannot be used."""


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
    def read(cls, path: Path) -> Self:
        """Read a file of this kind.

        Raises:
            RecordError: no such file, not JSON, another format version, or content of another kind.
        """
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError, RecursionError) as error:
            reason = "there is no such file" if isinstance(error, FileNotFoundError) else f"not readable JSON ({error})"
            raise RecordError(f"{path}: {reason}; {cls.REMEDY}") from error
        if not isinstance(content, dict):
            raise RecordError(f"{path}: expected a JSON object, got {type(content).__name__}; {cls.REMEDY}")
        version, expected = content.get("format_version"), cls.model_fields["format_version"].default
        if version != expected:
            raise RecordError(
                f"{path}: format_version is {version}, this version of volumetric reads {expected}; {cls.REMEDY}"
            )
        try:
            return cls.model_validate(content)
        except ValidationError as error:
            problem = error.errors()[0]
            where = ".".join(map(str, problem["loc"]))
            raise RecordError(f"{path}: `{where}`: {problem['msg']}; {cls.REMEDY}") from error

    @classmethod
    def read_if_usable(cls, path: Path) -> Self | None:
        """Read a file that can be made again: None where it is absent, or damaged, which is logged."""
        if not path.is_file():
            return None
        try:
            return cls.read(path)
        except RecordError as error:
            log.warning("%s; it is made again", str(error).removesuffix(f"; {cls.REMEDY}"))
            return None

    def write(self, path: Path) -> None:
        """Write the file, whole or not at all, in the order of the fields."""
        write_json(path, self.model_dump(mode="json"))
