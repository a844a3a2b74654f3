"""Workers of a Ray cluster that do subjects: one at a time each, retried elsewhere where a worker dies."""

from __future__ import annotations

import logging
import math
import os
import socket
from collections import deque
from collections.abc import Generator, Sequence
from typing import Any, Generic

from volumetric.batch.processes import begin_process
from volumetric.batch.subjects import (
    ItemT,
    LoadedT,
    Outcome,
    RecordT,
    ResultT,
    SubjectTask,
    do_subject,
)
from volumetric.errors import InputError, one_line


class ClusterError(InputError):
    """A cluster that cannot be reached, has no room, or a machine without Ray."""


os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # or Ray reports the use of clusters that it starts

try:
    import ray
    from ray.exceptions import RayError, RayTaskError
except ImportError as _error:
    raise ClusterError("--executor ray needs Ray; install it with: pip install 'volumetric[ray]'") from _error

log = logging.getLogger(__name__)

RETRIES = 3
"""Times that a subject is tried again after the worker that did it died."""
_PATIENCE_S = 120.0
"""Wait for a worker while none works; a cluster without room for one would wait forever."""


class _Worker:
    """A process that holds the task, and with it what the task loads, such as the model."""

    def __init__(self, task: Sequence[Any], threads: int) -> None:
        begin_process(threads)  # before the task, and torch with it, is unpickled
        self._task = ray.get(task[0])

    def is_ready(self) -> bool:
        return True

    def do(self, item: Any) -> Outcome[Any]:
        return do_subject(self._task, item)


def in_cluster(
    task: SubjectTask[ItemT, LoadedT, ResultT, RecordT],
    items: Sequence[ItemT],
    *,
    jobs: int | None,
    gb_each: float,
    address: str,
) -> Generator[tuple[int, Outcome[RecordT]]]:
    """Do a task for each subject in a Ray cluster; yields each number and outcome as it ends.

    A worker gets a subject only when it is free, so no more than `jobs` are under way. Where a worker, its process or
    its machine dies, another takes its place, and the subject is tried again there, `RETRIES` times.

    Args:
        task: what to do; it goes to each worker once.
        items: the subjects.
        jobs: number of workers; None is one for each core of the cluster.
        gb_each: memory that a worker asks for.
        address: of the cluster: `auto`, `HOST:PORT`, or `local` for a new one on this machine.

    Raises:
        ClusterError: no cluster there, or no room for one worker.
    """
    connected = ray.is_initialized()
    if not connected:
        _connect(address)
    try:
        yield from _stream(task, items, jobs, gb_each)
    finally:
        if not connected:
            ray.shutdown()


def _connect(address: str) -> None:
    options = {"include_dashboard": False} if address == "local" else {}
    try:
        _check_port(address)
        ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR, **options)
    except Exception as error:  # a node that does not start in time is a plain one
        raise ClusterError(
            f"--address {address}: no Ray cluster can be reached ({one_line(error)}); start one with `ray start "
            "--head`, or give its HOST:PORT"
        ) from error


def _check_port(address: str) -> None:
    """Raise OSError where nothing listens: Ray itself would try for two minutes."""
    host, _, port = address.rpartition(":")
    if host and port.isdecimal():
        socket.create_connection((host, int(port)), timeout=10).close()


def _stream(
    task: SubjectTask[ItemT, LoadedT, ResultT, RecordT], items: Sequence[ItemT], jobs: int | None, gb_each: float
) -> Generator[tuple[int, Outcome[RecordT]]]:
    if not items:
        return
    workers = _Workers(task, items, jobs, gb_each)
    left = deque(range(len(items)))
    tries = [0] * len(items)
    while left or workers.num_busy:
        while left and workers.num_free:
            workers.give(left.popleft())
        ended = workers.wait()
        if ended is None:
            continue
        number, outcome = ended
        if outcome is not None:
            yield number, outcome
            continue
        tries[number] += 1
        if tries[number] <= RETRIES:
            log.warning("%s: its worker died; another tries it again", task.name(items[number]))
            left.appendleft(number)
        else:
            died = f"its worker died {tries[number]} times, perhaps for want of memory; give fewer --jobs"
            yield number, Outcome(task.name(items[number]), "failed", error=died)


class _Workers(Generic[ItemT]):
    """The workers of a run: each gets ready, is free, or does one subject; one that dies is replaced."""

    def __init__(self, task: object, items: Sequence[ItemT], jobs: int | None, gb_each: float) -> None:
        self._task, self._items = ray.put(task), items
        cores = sorted(int(node["Resources"].get("CPU", 0)) for node in ray.nodes() if node["Alive"])
        jobs = min(jobs or max(1, sum(cores)), len(items))
        self._threads = _threads(cores, jobs)
        gpus = ray.cluster_resources().get("GPU", 0)
        self._needs = {
            "num_cpus": self._threads,
            "num_gpus": 1 / math.ceil(jobs / gpus) if gpus else 0,
            "memory": int(gb_each * 1e9),
        }
        self._free: list[Any] = []
        self._busy: dict[Any, tuple[Any, int | None]] = {}  # a reference -> worker, and its subject; None: gets ready
        self._has_begun = False
        for _ in range(jobs):
            self._hire()

    @property
    def num_free(self) -> int:
        return len(self._free)

    @property
    def num_busy(self) -> int:
        """Workers that do a subject."""
        return sum(number is not None for _, number in self._busy.values())

    def give(self, number: int) -> None:
        """Let a free worker do a subject."""
        worker = self._free.pop()
        self._busy[worker.do.remote(self._items[number])] = (worker, number)

    def wait(self) -> tuple[int, Outcome[Any] | None] | None:
        """Wait until a worker is ready or ends a subject: its number and outcome, None where the worker died."""
        done, _ = ray.wait(list(self._busy), timeout=None if self.num_busy else _PATIENCE_S)
        if not done:
            raise ClusterError(
                f"no worker began within {_PATIENCE_S:.0f} s: no machine of the cluster has {self._threads} free cores "
                f"and {self._needs['memory'] / 1e9:.1f} GB; give more --jobs, so that each takes fewer cores, or wait"
            )
        worker, number = self._busy.pop(done[0])
        try:
            result = ray.get(done[0])
        except RayTaskError:
            raise  # a defect of this program, as on one machine
        except RayError as error:
            if not self._has_begun:
                raise ClusterError(f"no worker can begin in the cluster: {one_line(error)}") from error
            ray.kill(worker)
            self._hire()
            return None if number is None else (number, None)
        self._has_begun = True
        self._free.append(worker)
        return None if number is None else (number, result)

    def _hire(self) -> None:
        worker = ray.remote(**self._needs)(_Worker).remote([self._task], self._threads)
        self._busy[worker.is_ready.remote()] = (worker, None)


def _threads(cores: Sequence[int], jobs: int) -> int:
    """The most threads of each of `jobs` workers for which all find room on machines with so many cores."""
    most = max(1, max(cores, default=1))
    return next((n for n in range(most, 1, -1) if sum(own // n for own in cores) >= jobs), 1)
