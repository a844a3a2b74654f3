"""Count of the subjects of an output folder that are done, failed and missing, from its tables alone."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from volumetric.batch.shards import Shard, ShardError, find_shards, is_held, latest
from volumetric.records.prediction import PREDICTIONS, PredictionRow
from volumetric.records.preparation import QUALITY, QualityRow
from volumetric.records.record import RecordError
from volumetric.records.scores import SCORES_FILE
from volumetric.records.shards import CALL, SUBJECTS, ShardCall, ShardRow
from volumetric.records.table import scan_cells

ShardState = Literal["running", "ended", "stopped", "not begun"]
_NOT_BEGUN = "the shard has not begun"
_STOPPED = "the shard stopped before"
_RUNNING = "the shard is running"


@dataclass
class Tally:
    """Subjects of a run or a shard; `reasons` counts those that are not done."""

    done: int = 0
    failed: int = 0
    missing: int = 0
    reasons: Counter[str] = field(default_factory=Counter)

    def add_failure(self, subject: str, error: str) -> None:
        """Count a failure by its sentence without the subject, the files and the numbers."""
        self.failed += 1
        self.reasons[kind_of_failure(subject, error)] += 1


@dataclass(frozen=True)
class FolderStatus:
    """Status of an output folder.

    Attributes:
        command: that writes it.
        total: of all subjects.
        shards: each with its state and its own subjects; empty where the run has ended and was merged.
    """

    command: str
    total: Tally
    shards: dict[Shard, tuple[ShardState, Tally]]


def read_status(out: Path) -> FolderStatus:
    """Count the subjects of an output folder, while it is written or later.

    Raises:
        ShardError: no command that works subject by subject has written there.
        RecordError: a table is damaged.
    """
    found = find_shards(out)
    call = next((call for shard in found if (call := _call(out, shard)) is not None), None)
    if call is None:
        return _of_tables(out)
    shards = {}
    for number in range(1, call.num_shards + 1):
        shard = Shard(number, call.num_shards)
        shards[shard] = _of_shard(out, shard, len(shard.positions(call.num_subjects)))
    total = Tally()
    for _, tally in shards.values():
        total.done += tally.done
        total.failed += tally.failed
        total.missing += tally.missing
        total.reasons += tally.reasons
    return FolderStatus(call.command, total, shards)


def _call(out: Path, shard: Shard) -> ShardCall | None:
    try:
        return ShardCall.read(shard.folder(out) / CALL)
    except RecordError:
        return None  # it is just being begun


def _of_shard(out: Path, shard: Shard, num_subjects: int) -> tuple[ShardState, Tally]:
    folder, tally = shard.folder(out), Tally()
    running = is_held(out if shard.total == 1 else folder)  # before its table is read: what ended since is in there
    for row in latest(ShardRow.read_written(folder / SUBJECTS)).values():
        if row.status == "failed":
            tally.add_failure(row.subject, row.error)
        else:
            tally.done += 1
    tally.missing = num_subjects - tally.done - tally.failed
    state: ShardState = "running" if running else "stopped" if tally.missing else "ended"
    if not running and not folder.exists():
        state = "not begun"
    if tally.missing:
        tally.reasons[{"running": _RUNNING, "not begun": _NOT_BEGUN}.get(state, _STOPPED)] += tally.missing
    return state, tally


def _of_tables(out: Path) -> FolderStatus:
    """Status of a run that has ended."""
    for name, (command, ends) in _TABLES.items():
        if (out / name).is_file():
            total = Tally()
            for subject, error in ends(out / name):
                if error is None:
                    total.done += 1
                else:
                    total.add_failure(subject, error)
            return FolderStatus(command, total, {})
    raise ShardError(
        f"{out}: prepare, infer and evaluate have begun nothing here; name the --out folder of one of them"
    )


def _predictions(path: Path) -> Iterator[tuple[str, str | None]]:
    for row in PredictionRow.read_table(path):
        yield row.key.name, row.error if row.status == "failed" else None


def _quality(path: Path) -> Iterator[tuple[str, str | None]]:
    """A subject may have several rows; one that failed has nothing but the reason."""
    rows = QualityRow.read_table(path)
    return _once((row.key.name, row.reasons if row.mask_rule is None else None) for row in rows)


def _scores(path: Path) -> Iterator[tuple[str, str | None]]:
    cells = scan_cells(path, ("subject_id", "session_id", "method", "status", "error"))
    ends = ((s, i, error if status == "failed" else None) for s, i, method, status, error in cells if method == "model")
    return _once(("/".join(filter(None, (s, i))), error) for s, i, error in ends)


def _once(ends: Iterable[tuple[str, str | None]]) -> Iterator[tuple[str, str | None]]:
    return iter(dict(ends).items())


_TABLES = {
    PREDICTIONS: ("infer", _predictions),
    SCORES_FILE: ("evaluate", _scores),
    QUALITY: ("prepare", _quality),
}


def kind_of_failure(subject: str, error: str) -> str:
    """The sentence of a failure without the subject, the files and the numbers."""
    sentence = error.replace(f"subject {subject}: ", "").replace(subject, "SUBJECT")
    sentence = re.sub(r"\S*/\S*[\w)]", "FILE", sentence)
    return re.sub(r"\d+(\.\d+)?", "N", sentence)
