"""The estimate of a batch command before it runs: subjects, bytes, memory and time, from headers and one subject."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from math import prod
from multiprocessing import get_context
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

from volumetric.batch.processes import begin_process
from volumetric.batch.progress import progress
from volumetric.batch.spread import Arguments, Spread, SpreadTask
from volumetric.batch.subjects import (
    ItemT,
    LoadedT,
    Outcome,
    RecordT,
    ResultT,
    do_subject,
)
from volumetric.imaging.nifti import read_space
from volumetric.interrupts import check, children_killed_on_error, children_unsignaled
from volumetric.machine import num_cores, peak_bytes

_THREADS = 16
"""Headers that are read at a time, for disks that answer late."""
_TRIES = 3
"""Subjects that are tried until one can be measured."""
_LONG_S = 20.0
"""A run of a subject that is not repeated: libraries and model are a small part of it."""


@dataclass(frozen=True)
class Measurement:
    """One subject, done in a process and a folder of its own.

    Attributes:
        subject: its name.
        voxels: of its input files, by their headers.
        seconds: of its second run, when libraries and model are loaded; of the first where that took long.
        peak_bytes: most memory of the process.
        own_bytes: part of it that came with the subject; the rest are libraries.
        written_bytes: of its outputs.
    """

    subject: str
    voxels: int
    seconds: float
    peak_bytes: int
    own_bytes: int
    written_bytes: int


@dataclass(frozen=True)
class Estimate:
    """Subjects and needs of a batch command that has not run.

    Attributes:
        command: its name.
        jobs: subjects at a time.
        voxels: by subject to do, those of its input files.
        num_skipped: subjects that are finished.
        invalid: outcomes of those whose files cannot be used.
        measured: one of the subjects to do; None where there is none, or `_TRIES` failed.
    """

    command: str
    jobs: int
    voxels: Mapping[str, int]
    num_skipped: int
    invalid: Sequence[Outcome[Any]]
    measured: Measurement | None

    @property
    def seconds(self) -> float:
        """Computing time of all subjects to do, in proportion to their voxels."""
        return self.measured.seconds * self._times_measured if self.measured else 0.0

    @property
    def written_bytes(self) -> int:
        """Bytes to be written, in proportion to voxels."""
        return round(self.measured.written_bytes * self._times_measured) if self.measured else 0

    @property
    def peak_bytes(self) -> int:
        """Memory of a job with the largest subject, whose own part grows at most with its voxels."""
        if self.measured is None:
            return 0
        larger = max(self.voxels.values()) / self.measured.voxels
        return round(self.measured.peak_bytes + (larger - 1) * self.measured.own_bytes)

    @property
    def _times_measured(self) -> float:
        return sum(self.voxels.values()) / self.measured.voxels if self.measured else 0.0


class _Headers(NamedTuple):
    """The task of a dry run: skip what is finished, and read the headers of the rest; the result is their voxels."""

    task: SpreadTask[Any, Any, Any, Any]
    fresh: bool

    def name(self, item: Any) -> str:
        return self.task.name(item)

    def finished(self, item: Any) -> int | None:
        return None if self.fresh or self.task.finished(item) is None else 0

    def read(self, item: Any) -> int:
        return sum(prod(read_space(path).shape) for path in self.task.inputs(item).values())

    def compute(self, item: Any, loaded: int) -> int:
        return loaded

    def write(self, item: Any, result: int) -> int:
        return result


@dataclass(frozen=True)
class DryRun(Spread):
    """A spread that does no subject and writes nothing, and estimates what the command would need.

    Attributes:
        fresh: count finished subjects as to be done.
        tell: gets the estimate.
    """

    fresh: bool = False
    tell: Callable[[Estimate], None] = field(default=print, kw_only=True)

    @property
    def is_whole(self) -> bool:
        return False

    @property
    def is_dry(self) -> bool:
        return True

    @contextmanager
    def held(self, out: Path) -> Iterator[None]:
        yield

    def run(
        self,
        task: SpreadTask[ItemT, LoadedT, ResultT, RecordT],
        items: Sequence[ItemT],
        *,
        out: Path,
        command: str,
        arguments: Arguments,
        jobs: int | None,
        usual: int,
        gb_each: float,
        overlap: bool = False,
    ) -> list[Outcome[RecordT]]:
        """Tell the estimate; returns the outcomes of the subjects that are invalid."""
        items = self.own(items)
        outcomes = _read_headers(_Headers(task, self.fresh), items)
        jobs = jobs or (usual if self.address is None else num_cores())
        jobs = max(1, min(jobs, sum(outcome.status == "ok" for outcome in outcomes)))
        measured = None
        for number in _from_the_median(outcomes):
            done = _measure(task, items[number], outcomes[number].result, max(1, num_cores() // jobs))
            if isinstance(done, Measurement):
                measured = done
                break
            outcomes[number] = replace(outcomes[number], status="failed", error=done, record=None)
        invalid: list[Outcome[RecordT]] = [Outcome(o.name, o.status, o.error) for o in outcomes if o.status == "failed"]
        voxels = {outcome.name: outcome.result for outcome in outcomes if outcome.status == "ok"}
        num_skipped = len(outcomes) - len(voxels) - len(invalid)
        self.tell(Estimate(command, jobs, voxels, num_skipped, invalid, measured))
        return invalid


def _read_headers(task: _Headers, items: Sequence[Any]) -> list[Outcome[int]]:
    outcomes = []
    with progress("dry run", len(items), "subjects") as advance, ThreadPoolExecutor(_THREADS) as pool:
        for outcome in pool.map(partial(do_subject, task), items):
            check()
            outcomes.append(outcome)
            advance(outcome.name)
    return outcomes


def _from_the_median(outcomes: Sequence[Outcome[int]]) -> list[int]:
    """Numbers of the subjects to measure, that of the median size first; the next are of about its size."""
    to_do = [number for number, outcome in enumerate(outcomes) if outcome.status == "ok"]
    by_size = sorted(to_do, key=lambda number: outcomes[number].result)
    middle = len(by_size) // 2
    return [*by_size[middle:], *by_size[:middle][::-1]][:_TRIES]


def _measure(task: SpreadTask[Any, Any, Any, Any], item: Any, voxels: int, threads: int) -> Measurement | str:
    """A subject's measurement, or the reason why it cannot be done; what it writes is removed."""
    with TemporaryDirectory(prefix="volumetric-dry-run-") as folder:
        tasks = [task.into(Path(folder, name)) for name in ("first", "second")]
        pool = ProcessPoolExecutor(1, get_context("spawn"), begin_process, (threads,))
        with pool, children_killed_on_error():
            with children_unsignaled():
                future = pool.submit(_do_twice, tasks, item)
            try:
                seconds, peak, own, error = future.result()
            except BrokenProcessPool:
                return "its process was killed, perhaps for want of memory"
        written = sum(path.stat().st_size for path in Path(folder, "first").rglob("*") if path.is_file())
    return error or Measurement(task.name(item), voxels, seconds, peak, own, written)


def _do_twice(tasks: Sequence[SpreadTask[Any, Any, Any, Any]], item: Any) -> tuple[float, int, int, str]:
    before = peak_bytes()
    for task in tasks:
        outcome = do_subject(task, item)
        if outcome.status == "failed" or outcome.seconds > _LONG_S:
            break
    return outcome.seconds, peak_bytes(), peak_bytes() - before, outcome.error
