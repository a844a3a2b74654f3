"""Processes of this machine that do subjects, several at a time."""

from __future__ import annotations

import logging
import os
import pickle
from collections.abc import Generator, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import suppress
from functools import cache
from itertools import islice
from multiprocessing import get_context
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from volumetric.batch.subjects import ItemT, LoadedT, Outcome, RecordT, ResultT, SubjectTask, do_subject
from volumetric.interrupts import children_killed_on_error, children_unsignaled, end_with_parent, held, kill_children
from volumetric.machine import num_cores

_AHEAD = 4
"""Subjects that each process may have before it."""


def in_processes(
    task: SubjectTask[ItemT, LoadedT, ResultT, RecordT], items: Sequence[ItemT], jobs: int
) -> Generator[tuple[int, Outcome[RecordT]], None, None]:
    """Do a task for each subject in processes; yields each number and outcome as it ends.

    A process that dies breaks its whole pool, so what it left undone is then done one by one.

    Args:
        task: what to do; each process reads it once.
        items: the subjects.
        jobs: number of processes.
    """
    # in a file: a parent that has more to tell a process than a pipe holds, 64 kB, waits for ever if it dies first
    with TemporaryDirectory() as folder:
        file = Path(folder) / "task"
        file.write_bytes(pickle.dumps(task))
        yield from _in_pools(task, file, items, jobs)


def _in_pools(
    task: SubjectTask[ItemT, LoadedT, ResultT, RecordT], file: Path, items: Sequence[ItemT], jobs: int
) -> Generator[tuple[int, Outcome[RecordT]], None, None]:
    left = dict(enumerate(items))
    for at_once in (jobs, *[1] * len(items)):
        if not left:
            return
        threads = max(1, num_cores() // at_once)
        pool = ProcessPoolExecutor(at_once, get_context("spawn"), _begin_worker, (threads, file))
        with pool, children_killed_on_error():
            # one by one, only the first may be lost to a broken pool
            these = dict(left) if at_once > 1 else dict([next(iter(left.items()))])
            for number, future in _as_they_end(pool, these, at_once):
                try:
                    outcome = future.result()
                except BrokenProcessPool:
                    if at_once > 1:
                        continue
                    died = "its process was killed, perhaps for want of memory; give fewer --jobs"
                    outcome = Outcome(task.name(left[number]), "failed", error=died)
                del left[number]
                yield number, outcome
            if these.keys() & left.keys():
                kill_children()  # a process that is started while the pool breaks is not ended by it


def _as_they_end(
    pool: ProcessPoolExecutor, items: Mapping[int, Any], at_once: int
) -> Iterator[tuple[int, Future[Outcome[Any]]]]:
    """Give the pool a few subjects at a time; each number, and its outcome or the end of the pool."""
    left = iter(items.items())
    futures: dict[Future[Outcome[Any]], int] = {}
    # a pool that breaks closes the pipes that a process of it is about to get; a pool of one starts nothing then
    broken = (BrokenProcessPool, OSError) if at_once > 1 else (BrokenProcessPool,)
    while True:
        # half a start would leave a process that its parent does not know
        with suppress(*broken), held(), children_unsignaled():
            for number, item in islice(left, _AHEAD * at_once - len(futures)):
                futures[pool.submit(_do_in_worker, item)] = number
        if not futures:
            return
        for future in wait(futures, return_when=FIRST_COMPLETED).done:
            yield futures.pop(future), future


_files: list[Path] = []
"""The file of a worker's task, which it reads once and does not get with each subject: it may hold volumes."""


def _begin_worker(threads: int, file: Path) -> None:
    begin_process(threads)
    _files.append(file)


@cache
def _task_of_worker() -> Any:
    return pickle.loads(_files[0].read_bytes())  # not before the process is set up: torch comes with it


def _do_in_worker(item: Any) -> Outcome[Any]:
    return do_subject(_task_of_worker(), item)


def begin_process(threads: int) -> None:
    """Set a worker process up: its end, threads and log."""
    end_with_parent()
    os.environ["OMP_NUM_THREADS"] = str(threads)
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    logging.getLogger("volumetric").setLevel(logging.INFO)
