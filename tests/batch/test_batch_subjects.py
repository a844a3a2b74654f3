import logging
import os
import shutil
import signal
import threading
import time
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import dataclass
from multiprocessing import resource_tracker, spawn

import pytest

from volumetric.batch.progress import progress
from volumetric.batch.subjects import exit_status, run_subjects
from volumetric.errors import InputError


class Doubling:
    """Doubles numbers; some of them cannot be read."""

    def __init__(self, errors=None, done=()):
        self.errors, self.done, self.calls = errors or {}, done, []

    def name(self, item):
        return f"n{item}"

    def finished(self, item):
        return {"doubled": "before"} if item in self.done else None

    def read(self, item):
        self.calls.append(("read", item))
        if item in self.errors:
            raise self.errors[item]
        return item

    def compute(self, item, loaded):
        return 2 * loaded

    def write(self, item, result):
        self.calls.append(("write", item))
        return {"doubled": result}


def test_each_subject_is_read_computed_and_written_in_order():
    outcomes = run_subjects(Doubling(), [1, 2], title="t")
    assert [(o.name, o.status, o.record["doubled"]) for o in outcomes] == [("n1", "ok", 2), ("n2", "ok", 4)]
    assert exit_status(outcomes) == 0


@pytest.mark.parametrize("error", [InputError("no such scan"), OSError("disk full"), MemoryError("too big")])
def test_a_bad_subject_costs_itself_alone(error, caplog):
    task = Doubling({2: error})
    outcomes = run_subjects(task, [1, 2, 3], title="t")
    assert [o.status for o in outcomes] == ["ok", "failed", "ok"]
    assert str(error) in outcomes[1].error
    assert ("write", 3) in task.calls
    assert ("write", 2) not in task.calls
    assert exit_status(outcomes) == 1
    assert f"n2: {outcomes[1].error}" in caplog.text


@pytest.mark.parametrize("said", ["CUDA out of memory. Tried to allocate 2 GiB", "can't allocate memory: 8 bytes"])
def test_running_out_of_memory_costs_the_subject(said):
    error = RuntimeError(said)
    assert run_subjects(Doubling({1: error}), [1], title="t")[0].status == "failed"


def test_a_defect_is_not_hidden():
    with pytest.raises(RuntimeError, match="shape mismatch"):
        run_subjects(Doubling({1: RuntimeError("shape mismatch")}), [1], title="t")


def test_finished_subjects_are_skipped_unread():
    task = Doubling(done=(1,))
    outcomes = run_subjects(task, [1, 2], title="t")
    assert [o.status for o in outcomes] == ["skipped", "ok"]
    assert outcomes[0].record == {"doubled": "before"}
    assert ("read", 1) not in task.calls


def test_without_a_terminal_progress_is_a_line_every_tenth(caplog):
    caplog.set_level(logging.INFO, "volumetric")
    with progress("work", 50, "things", done=30) as advance:
        for number in range(20):
            advance(str(number))
    assert [r.message.split(" of")[0] for r in caplog.records] == ["work: 35", "work: 40", "work: 45", "work: 50"]


@dataclass(frozen=True)
class Dying:
    """Doubles numbers in processes; one of them kills its own."""

    deadly: int | None = None

    def name(self, item):
        return f"n{item}"

    def finished(self, item):
        return None

    def read(self, item):
        if item == 3:
            raise InputError("no such scan")
        return item

    def compute(self, item, loaded):
        if item == self.deadly:
            os.kill(os.getpid(), signal.SIGKILL)
        return 2 * loaded

    def write(self, item, result):
        return {"doubled": result, "process": os.getpid()}


def test_processes_give_the_same_outcomes_in_the_same_order():
    outcomes = run_subjects(Dying(), [4, 3, 2, 1], title="t", jobs=2)
    assert [(o.name, o.status, (o.record or {}).get("doubled")) for o in outcomes] == [
        ("n4", "ok", 8),
        ("n3", "failed", None),
        ("n2", "ok", 4),
        ("n1", "ok", 2),
    ]
    assert os.getpid() not in {(o.record or {}).get("process") for o in outcomes}


class Counted(Dying):
    """Counts how often it is pickled."""

    pickled = 0

    def __reduce__(self):
        Counted.pickled += 1
        return Dying, ()


def test_the_task_goes_to_the_processes_once_and_not_with_each_subject():
    """That of `evaluate` has the predictions of all subjects, and volumes: 100,000 subjects took hours."""
    outcomes = run_subjects(Counted(), list(range(10, 60)), title="t", jobs=2)
    assert [o.record["doubled"] for o in outcomes] == [2 * n for n in range(10, 60)]
    assert Counted.pickled == 1


def test_a_killed_process_costs_its_own_subject_alone():
    outcomes = run_subjects(Dying(deadly=2), [1, 2, 4, 5], title="t", jobs=2)
    assert [o.status for o in outcomes] == ["ok", "failed", "ok", "ok"]
    assert "killed" in outcomes[1].error
    assert "--jobs" in outcomes[1].error


@dataclass(frozen=True)
class Heavy(Dying):
    """Holds more than the 64 kB of a pipe."""

    volume: bytes = bytes(1_000_000)


def test_a_process_that_dies_before_it_has_its_task_does_not_keep_its_parent_waiting():
    def too_long(*_):
        raise TimeoutError("the parent still waits")

    resource_tracker.ensure_running()  # by Python itself
    executable = spawn.get_executable()
    before = signal.signal(signal.SIGALRM, too_long)
    spawn.set_executable(shutil.which("true"))
    signal.alarm(60)
    try:
        outcomes = run_subjects(Heavy(), [1, 2], title="t", jobs=2)
    finally:
        signal.alarm(0)
        spawn.set_executable(executable)
        signal.signal(signal.SIGALRM, before)
    assert ["killed" in outcome.error for outcome in outcomes] == [True, True]


def test_a_process_that_is_started_while_the_pool_breaks_is_ended(monkeypatch):
    """It waited for work, and its parent for its end."""
    spawn_process = ProcessPoolExecutor._spawn_process
    late = []

    def spawn_late(pool):
        if len(pool._processes) != 1 or late:
            spawn_process(pool)
            return
        (first,) = list(pool._processes.values())
        process = pool._mp_context.Process(target=time.sleep, args=(60,))
        process.start()
        late.append(process)
        os.kill(first.pid, signal.SIGKILL)
        while not pool._broken:
            time.sleep(0.01)

    monkeypatch.setattr(ProcessPoolExecutor, "_spawn_process", spawn_late)
    outcomes = run_subjects(Dying(), [1, 2], title="t", jobs=2)
    assert [outcome.status for outcome in outcomes] == ["ok", "ok"]
    late[0].join(5)
    assert late[0].exitcode == -signal.SIGKILL


class Staged(Doubling):
    """Fails in a stage of its choice, and counts subjects that are read and not yet written."""

    def __init__(self, failing=(), done=()):
        super().__init__(done=done)
        self.failing, self.held, self.most, self.lock = dict(failing), 0, 0, threading.Lock()

    def _stage(self, name, item, change):
        with self.lock:
            self.held += change
            self.most = max(self.most, self.held)
        if self.failing.get(item) == name:
            raise InputError(f"{name} of {item}")

    def read(self, item):
        self._stage("read", item, 1)
        return item

    def compute(self, item, loaded):
        self._stage("compute", item, 0)
        return 2 * loaded

    def write(self, item, result):
        self._stage("write", item, -1)
        return {"doubled": result}


@pytest.mark.parametrize("items", [[], [1], list(range(9))])
def test_overlapping_stages_come_to_the_same_outcomes_in_order(items):
    failing, done = {2: "read", 3: "compute", 5: "write"}, (6,)
    plain, overlapped = (
        run_subjects(Staged(failing, done), items, title="t", overlap=overlap) for overlap in (False, True)
    )
    keep = [(o.name, o.status, o.error, o.record) for o in plain]
    assert [(o.name, o.status, o.error, o.record) for o in overlapped] == keep
    assert [o.status for o in overlapped].count("failed") == (3 if len(items) > 5 else 0)


def test_only_one_subject_is_read_ahead_and_one_written_behind():
    task = Staged()
    outcomes = run_subjects(task, list(range(40)), title="t", overlap=True)
    assert [o.record["doubled"] for o in outcomes] == [2 * n for n in range(40)]
    assert 1 < task.most <= 3


def test_many_subjects_that_fail_or_are_finished_are_handed_over_together():
    """Each cost two exchanges of threads, a third of the time of 100,000 missing scans."""
    task, threads = Staged(dict.fromkeys(range(500), "read"), done=range(500, 1000)), []
    task.finished = lambda item: threads.append(threading.current_thread()) or Staged.finished(task, item)
    submitted = []
    with pytest.MonkeyPatch.context() as patch:
        submit = ThreadPoolExecutor.submit
        patch.setattr(ThreadPoolExecutor, "submit", lambda *words: submitted.append(words) or submit(*words))
        outcomes = run_subjects(task, list(range(1000)), title="t", overlap=True)
    assert [o.status for o in outcomes] == ["failed"] * 500 + ["skipped"] * 500
    assert threading.main_thread() not in threads
    assert len(submitted) < 500


def test_a_defect_in_an_overlapped_stage_is_raised():
    class Broken(Doubling):
        def write(self, item, result):
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        run_subjects(Broken(), [1, 2, 3], title="t", overlap=True)
