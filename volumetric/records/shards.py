"""Files of a run that is under way: the call it began with, and a row for each subject as it ends."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, JsonValue

from volumetric.outputs import append_csv
from volumetric.records.record import Record
from volumetric.records.table import TableRow, read_cells

SHARDS = ".shards"
"""Folder of an output folder, with one for each shard of a run that is under way; no subject's folder is named so."""
CALL = "call.json"
SUBJECTS = "subjects.csv"

OutcomeStatus = Literal["ok", "skipped", "failed"]
_REMEDY = f"delete the folder {SHARDS} and repeat the command; what is finished is skipped"


class ShardCall(Record):
    """`call.json`: the call that a shard belongs to, the same in all shards of a run.

    Attributes:
        command: name of the command.
        arguments: of its front door, with absolute paths.
        num_shards: number of shards.
        num_subjects: subjects of all shards.
        subjects_sha256: hash of their names in order.
    """

    REMEDY: ClassVar[str] = _REMEDY

    command: str
    arguments: dict[str, JsonValue]
    num_shards: int
    num_subjects: int
    subjects_sha256: str


class ShardRow(TableRow):
    """A row of `subjects.csv`: the end of one subject; a later row of the same subject counts.

    Attributes:
        position: of the subject among those of all shards, from 0.
        subject: its name.
        status: `ok`, `skipped` or `failed`.
        error: reason of a failure.
        seconds: time that reading, computing and writing took.
    """

    REMEDY: ClassVar[str] = _REMEDY

    position: Annotated[int, Field(ge=0)]
    subject: str
    status: OutcomeStatus
    error: str = ""
    seconds: float = 0.0

    @classmethod
    def read_written(cls, path: Path) -> list[Self]:
        """Read a table that is still written to: without a last line that is not whole; empty where it is absent.

        Raises:
            RecordError: not a table of this kind.
        """
        if not path.exists():
            return []
        return cls.parse_table(path, *read_cells(path, remedy=cls.REMEDY, whole_lines=True))

    @classmethod
    def append(cls, path: Path, rows: Iterable[Self]) -> None:
        """Add rows at the end of a table."""
        append_csv(path, [row.to_cells() for row in rows], list(cls.model_fields))
