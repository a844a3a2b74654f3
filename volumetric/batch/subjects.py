"""For each subject: skip if finished, else read, compute, write; errors become rows and the others go on."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from typing import Any, Generic, Protocol, TypeVar

from volumetric.batch.progress import progress
from volumetric.errors import FailedSubjectsError, InputError, file_problem
from volumetric.interrupts import check
from volumetric.machine import is_out_of_memory
from volumetric.records.shards import OutcomeStatus

log = logging.getLogger(__name__)

_BEGIN_S = 0.05
"""Time in which a thread begins subjects before it hands them over."""

_NUM_SHOWN = 5

ItemT = TypeVar("ItemT", contravariant=True)
LoadedT = TypeVar("LoadedT")
ResultT = TypeVar("ResultT")
RecordT = TypeVar("RecordT", covariant=True)


class SubjectTask(Protocol[ItemT, LoadedT, ResultT, RecordT]):
    """The work of a batch command on one subject; `volumetric.batch` does all the rest."""

    def name(self, item: ItemT) -> str:
        """Name of the subject in messages."""

    def finished(self, item: ItemT) -> RecordT | None:
        """The record of a subject whose outputs are whole and still match its inputs, else None."""

    def read(self, item: ItemT) -> LoadedT:
        """Everything from disk that `compute` needs."""

    def compute(self, item: ItemT, loaded: LoadedT) -> ResultT:
        """The work itself; touches no file."""

    def write(self, item: ItemT, result: ResultT) -> RecordT:
        """Write the outputs, each whole or not at all, and return the subject's record."""


@dataclass(frozen=True, slots=True)
class Outcome(Generic[RecordT]):
    """The end of one subject's processing.

    Attributes:
        name: of the subject.
        status: `ok`, `skipped` (finished before) or `failed`.
        error: the reason of a failure, one sentence.
        record: what the task's `write` or `finished` returned; None where it failed.
        seconds: time that reading, computing and writing took.
    """

    name: str
    status: OutcomeStatus
    error: str = ""
    record: RecordT | None = None
    seconds: float = 0.0

    @property
    def result(self) -> RecordT:
        """The record of a subject that did not fail."""
        assert self.record is not None, f"{self.name} {self.status}: {self.error}"
        return self.record


def run_subjects(
    task: SubjectTask[ItemT, LoadedT, ResultT, RecordT],
    items: Sequence[ItemT],
    *,
    title: str,
    jobs: int | None = 1,
    overlap: bool = False,
    address: str | None = None,
    gb_each: float = 0,
    ended: Callable[[int, Outcome[RecordT]], None] = lambda number, outcome: None,
) -> list[Outcome[RecordT]]:
    """Do a task for each subject.

    An `InputError` or `OSError`, or the device running out of memory, costs that subject alone; anything
    else is a defect of this program and is raised.

    Args:
        task: what to do.
        items: the subjects.
        title: the word on the progress bar.
        jobs: subjects at a time, each in a process of its own; 1 stays in this one. Task and items must then pickle.
        overlap: while one subject computes, read the next and write the last, each in a thread; for one job.
        address: of a Ray cluster that does the work, with a job a core where `jobs` is None; None for this machine.
        gb_each: memory that a subject asks for in a cluster.
        ended: called with each subject's number among the items, and its outcome, as it ends.

    Returns:
        One outcome per item, in the items' order.
    """
    outcomes: dict[int, Outcome[RecordT]] = {}
    with progress(title, len(items), "subjects") as advance:
        results: Generator[tuple[int, Outcome[RecordT]]]
        if address is not None:
            from volumetric.batch.cluster import in_cluster  # the extra `ray`

            results = in_cluster(task, items, jobs=jobs, gb_each=gb_each, address=address)
        elif jobs is not None and jobs > 1:
            from volumetric.batch.processes import in_processes  # which does subjects by this module

            results = in_processes(task, items, jobs)
        else:
            results = _in_this_process(task, items, overlap)
        with closing(results):
            for number, outcome in results:
                ended(number, outcome)
                check()
                if outcome.status == "failed":
                    log.error("%s: %s", outcome.name, outcome.error)
                outcomes[number] = outcome
                advance(outcome.name)
    return [outcomes[number] for number in range(len(items))]


def exit_status(outcomes: Iterable[Outcome[Any]]) -> int:
    """0 if every subject is done, 1 if some failed."""
    return int(any(outcome.status == "failed" for outcome in outcomes))


def check_all_done(outcomes: Sequence[Outcome[Any]]) -> None:
    """Check that no subject failed.

    Raises:
        FailedSubjectsError: naming those that did.
    """
    failed = [f"{outcome.name} ({outcome.error})" for outcome in outcomes if outcome.status == "failed"]
    if failed:
        shown = failed[:_NUM_SHOWN] + [f"and {len(failed) - _NUM_SHOWN} more"] * (len(failed) > _NUM_SHOWN)
        raise FailedSubjectsError(
            f"{len(failed)} of {len(outcomes)} subjects failed: {', '.join(shown)}; mend the cause and repeat the call"
        )


def _in_this_process(
    task: SubjectTask[ItemT, LoadedT, ResultT, RecordT], items: Sequence[ItemT], overlap: bool
) -> Generator[tuple[int, Outcome[RecordT]], None, None]:
    yield from enumerate(_overlapped(task, items) if overlap else (do_subject(task, item) for item in items))


def _overlapped(
    task: SubjectTask[ItemT, LoadedT, ResultT, RecordT], items: Sequence[ItemT]
) -> Iterator[Outcome[RecordT]]:
    """One after the other, with one subject being read ahead and one being written behind."""
    left = iter(items)
    with ThreadPoolExecutor(1) as reader, ThreadPoolExecutor(1) as writer:
        reading = reader.submit(_begin_some, task, left)
        writing: Future[Outcome[RecordT]] | None = None
        while begun := reading.result():
            reading = reader.submit(_begin_some, task, left)
            for steps in begun:
                steps.compute()
                if writing is not None:
                    yield writing.result()
                writing = writer.submit(steps.finish) if steps.has_result else None
                if writing is None:
                    yield steps.finish()
        if writing is not None:
            yield writing.result()


def _begin_some(
    task: SubjectTask[ItemT, LoadedT, ResultT, RecordT], left: Iterator[ItemT]
) -> list[_Steps[ItemT, LoadedT, ResultT, RecordT]]:
    """Begin subjects up to the first that is loaded; many that are finished or fail cost one exchange of threads."""
    begun = []
    end = time.monotonic() + _BEGIN_S
    for item in left:
        begun.append(_Steps.begin(task, item))
        if begun[-1].is_loaded or time.monotonic() > end:
            break
    return begun


def do_subject(task: SubjectTask[ItemT, LoadedT, ResultT, RecordT], item: ItemT) -> Outcome[RecordT]:
    """Read, compute and write one subject, unless it is finished; as `run_subjects`, wherever it runs."""
    steps = _Steps.begin(task, item)
    steps.compute()
    return steps.finish()


class _Steps(Generic[ItemT, LoadedT, ResultT, RecordT]):
    """One subject on its way; an error ends it and is kept for its outcome."""

    def __init__(self, task: SubjectTask[ItemT, LoadedT, ResultT, RecordT], item: ItemT) -> None:
        self._task, self._item, self._name = task, item, task.name(item)
        self._seconds = 0.0
        self._loaded: list[LoadedT] = []
        self._result: list[ResultT] = []
        self._outcome: Outcome[RecordT] | None = None

    @classmethod
    def begin(
        cls, task: SubjectTask[ItemT, LoadedT, ResultT, RecordT], item: ItemT
    ) -> _Steps[ItemT, LoadedT, ResultT, RecordT]:
        """Read what a subject needs, if it is not finished already."""
        steps = cls(task, item)
        with steps._errors():
            record = task.finished(item)
            if record is not None:
                steps._outcome = Outcome(steps._name, "skipped", record=record)
            else:
                steps._loaded.append(task.read(item))
        return steps

    @property
    def is_loaded(self) -> bool:
        """True before `compute` has what it needs to compute."""
        return bool(self._loaded)

    @property
    def has_result(self) -> bool:
        """True before `finish` has something to write."""
        return bool(self._result)

    def compute(self) -> None:
        with self._errors():
            if self._loaded:
                self._result.append(self._task.compute(self._item, self._loaded.pop()))

    def finish(self) -> Outcome[RecordT]:
        with self._errors():
            if self._result:
                record = self._task.write(self._item, self._result.pop())
                self._outcome = Outcome(self._name, "ok", record=record)
        assert self._outcome is not None
        return replace(self._outcome, seconds=self._seconds) if self._outcome.status == "ok" else self._outcome

    @contextmanager
    def _errors(self) -> Iterator[None]:
        start = time.perf_counter()
        try:
            yield
        except InputError as error:
            self._outcome = Outcome(self._name, "failed", error=_sentence(error))
        except OSError as error:
            self._outcome = Outcome(self._name, "failed", error=file_problem(error))
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            said = str(error).partition("\n")[0] or type(error).__name__
            reason = f"the memory ran out ({said}); give it more, or fewer --jobs or smaller windows"
            self._outcome = Outcome(self._name, "failed", error=reason)
        self._seconds += time.perf_counter() - start


def _sentence(error: BaseException) -> str:
    """The message in one line, as a row has it."""
    return " ".join(str(error).splitlines()) or type(error).__name__
