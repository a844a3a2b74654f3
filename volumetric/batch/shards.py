"""Shards of a batch run: who does which subjects, the folder of each, and their union."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from filelock import FileLock, Timeout

from volumetric.batch.subjects import ItemT, Outcome, RecordT
from volumetric.errors import InputError
from volumetric.outputs import locked
from volumetric.records.shards import CALL, SHARDS, SUBJECTS, ShardCall, ShardRow

_LOCK_WAIT_S = 10


class ShardError(InputError):
    """A shard that does not exist or does not fit the others."""


class Shard(NamedTuple):
    """One of several jobs that share a cohort; `number` counts from 1 to `total`."""

    number: int
    total: int

    @classmethod
    def parse(cls, text: str) -> Shard:
        """`"3/7"` as a shard.

        Raises:
            ShardError: another text, or a number that is not between 1 and the total.
        """
        number, _, total = text.partition("/")
        if not (number.isdecimal() and total.isdecimal() and 1 <= int(number) <= int(total)):
            raise ShardError(f"--shard {text}: expected number/total, from 1/7 to 7/7 for seven jobs")
        return cls(int(number), int(total))

    def positions(self, num_subjects: int) -> range:
        """Positions of its subjects in the cohort: every `total`-th, so that a long manifest is shared evenly."""
        return range(self.number - 1, num_subjects, self.total)

    def folder(self, out: Path) -> Path:
        """Folder of its call and its table."""
        return out / SHARDS / f"{self.number}-of-{self.total}"


ALL = Shard(1, 1)
"""The shard of a run that is not divided."""


def find_shards(out: Path) -> list[Shard]:
    """Shards that were begun in an output folder and are not merged, in order."""
    names = (folder.name.partition("-of-") for folder in (out / SHARDS).glob("*-of-*"))
    return sorted(Shard(int(n), int(total)) for n, _, total in names if n.isdecimal() and total.isdecimal())


def is_held(folder: Path, *, wait_s: float = 0) -> bool:
    """True where a process holds the lock of a folder; wait some seconds for one that only tests it, as this does."""
    lock = folder / ".lock"
    if not lock.exists():
        return False
    try:
        with FileLock(lock, timeout=wait_s):
            return False
    except Timeout:
        return True
    except OSError:  # of a folder that may not be written: whoever holds it may
        return False


@contextmanager
def held(out: Path, shard: Shard = ALL) -> Iterator[None]:
    """Hold the output folder, or one shard of it, while it is written.

    Shards of one total may run at once. A whole run, and shards of another total, may not run beside them; what such
    a run left behind when it ended is removed, since its finished subjects are skipped.

    Raises:
        OutputError: another process holds the same.
        ShardError: another process holds a part of it.
    """
    with locked(out if shard == ALL else shard.folder(out)):
        if shard != ALL and is_held(out, wait_s=_LOCK_WAIT_S):
            raise ShardError(f"{out}: a run of all subjects is writing into this folder; wait for it")
        for other in find_shards(out):
            if other.total != shard.total:
                _remove(out, other)
        yield
        if shard == ALL:
            shutil.rmtree(out / SHARDS, ignore_errors=True)


@contextmanager
def held_to_merge(out: Path) -> Iterator[None]:
    """Hold the output folder while its shards are merged, and remove them at the end.

    Raises:
        OutputError: another process holds it.
        ShardError: a shard is still running.
    """
    with locked(out):
        running = [shard for shard in find_shards(out) if is_held(shard.folder(out))]
        if running:
            raise ShardError(f"{out}: shards {_numbers(running)} are still running; merge when they have ended")
        yield
        shutil.rmtree(out / SHARDS, ignore_errors=True)


def read_call(out: Path) -> ShardCall:
    """The call that the shards of an output folder belong to.

    Raises:
        ShardError: there are none.
        RecordError: its file is damaged.
    """
    for shard in find_shards(out):
        if (shard.folder(out) / CALL).is_file():
            return ShardCall.read(shard.folder(out) / CALL)
    raise ShardError(f"{out}: there are no shards to merge; name the --out folder of a command that ran with --shard")


class Journal:
    """The table of a shard, to which each subject is added as it ends."""

    def __init__(self, out: Path, shard: Shard, call: ShardCall) -> None:
        """Begin or go on with the table.

        Raises:
            ShardError: another shard was begun by another call.
        """
        if shard != ALL:
            _check_call(out, shard, call)
        file, self._table = shard.folder(out) / CALL, shard.folder(out) / SUBJECTS
        goes_on = ShardCall.read_if_usable(file) == call
        before = ShardRow.read_written(self._table) if goes_on else []
        call.write(file)
        ShardRow.write_table(self._table, latest(before).values())

    def add(self, position: int, outcome: Outcome[object]) -> None:
        """Add the end of the subject at a position of the cohort."""
        row = ShardRow(
            position=position,
            subject=outcome.name,
            status=outcome.status,
            error=outcome.error,
            seconds=round(outcome.seconds, 3),
        )
        ShardRow.append(self._table, [row])


def latest(rows: Iterable[ShardRow]) -> dict[int, ShardRow]:
    """By position, the row that counts: the last one, but what was done is not undone by being skipped later."""
    newest: dict[int, ShardRow] = {}
    for row in rows:
        before = newest.get(row.position)
        if before is None or row.status != "skipped" or before.status == "failed":
            newest[row.position] = row
    return newest


def merged(
    out: Path, items: Sequence[ItemT], recall: Callable[[ItemT], RecordT], call: ShardCall
) -> list[Outcome[RecordT]]:
    """The outcomes of all shards, in the order of the cohort.

    Args:
        out: folder of the shards.
        items: the subjects of the cohort.
        recall: reads the record of a subject that is done.
        call: of this merge, with the subjects as they are now.

    Raises:
        ShardError: subjects are missing, or the cohort has changed.
        RecordError: the record of a finished subject is gone or damaged.
    """
    shards = find_shards(out)
    if not shards:
        raise ShardError(f"{out}: there are no shards to merge")
    call = call.model_copy(update={"num_shards": shards[0].total})
    _check_call(out, shards[0], call)
    rows = latest(row for shard in shards for row in ShardRow.read_written(shard.folder(out) / SUBJECTS))
    missing = [position for position in range(len(items)) if position not in rows]
    if missing:
        numbers = sorted({position % call.num_shards + 1 for position in missing})
        raise ShardError(
            f"{out}: {len(missing)} of {len(items)} subjects are missing; run shards {_some(numbers)} of "
            f"{call.num_shards} again, then merge"
        )
    outcomes = []
    for position, item in enumerate(items):
        row = rows[position]
        record = None if row.status == "failed" else recall(item)
        outcomes.append(Outcome(row.subject, row.status, row.error, record, row.seconds))
    return outcomes


def _check_call(out: Path, shard: Shard, call: ShardCall) -> None:
    for other in find_shards(out):
        file = other.folder(out) / CALL
        if other.total != shard.total or not file.is_file():
            continue
        before = ShardCall.read(file)
        if before != call:
            raise ShardError(
                f"{out}: shard {other.number}/{other.total} was begun with other {_difference(before, call)}; give "
                f"all shards the same, or delete {out / SHARDS} to begin anew"
            )


def _difference(before: ShardCall, call: ShardCall) -> str:
    if before.command != call.command:
        return f"command ({before.command})"
    changed = [key for key, value in call.arguments.items() if before.arguments.get(key) != value]
    return "arguments (" + ", ".join(changed) + ")" if changed else "subjects (the manifest has changed)"


def _remove(out: Path, shard: Shard) -> None:
    folder = shard.folder(out)
    if is_held(folder, wait_s=1):
        raise ShardError(f"{folder}: this shard of {shard.total} is still running; wait for it, or stop it")
    shutil.rmtree(folder, ignore_errors=True)


def _numbers(shards: Sequence[Shard]) -> str:
    return _some([shard.number for shard in shards])


def _some(numbers: Sequence[int]) -> str:
    more = [f"and {len(numbers) - 20} more"] if len(numbers) > 20 else []
    return ", ".join([*map(str, numbers[:20]), *more])
