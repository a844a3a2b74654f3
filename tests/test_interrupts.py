"""Signals to processes of their own, which import next to nothing."""

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from volumetric.interrupts import GRACE_S

START = """
import sys, time, threading
from volumetric.interrupts import Interruption, check, held, interruptible, say_last_words

def ready():
    print("ready", flush=True)

def go_on():
    {body}

with interruptible("the last words"):
    try:
        go_on()
    except Interruption as interruption:
        say_last_words()
        sys.exit(interruption.status)
"""


def interrupted(body, number):
    """Status, output, errors and seconds of a process that gets a signal when it is ready."""
    process = subprocess.Popen(
        [sys.executable, "-c", START.format(body=body.replace("\n", "\n    "))],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout.readline() == "ready\n"
    sent = time.monotonic()
    process.send_signal(number)
    output, errors = process.communicate(timeout=60)
    return process.returncode, output, errors, time.monotonic() - sent


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_a_process_with_its_status_and_the_last_words(number, status):
    ended = interrupted("ready(); time.sleep(60)", number)
    assert ended[:3] == (status, "", "the last words\n")
    assert ended[3] < 30


def test_a_block_that_is_held_ends_first():
    status, output, *_ = interrupted(
        "with held():\n    ready(); time.sleep(0.5); print('written')\nprint('not this')", 15
    )
    assert (status, output) == (143, "written\n")


def test_an_exception_lost_in_a_destructor_is_raised_again():
    """One SIGINT to `train` in seven was ignored."""
    lost = "try:\n    ready(); time.sleep(60)\nexcept BaseException:\n    print('lost')\ncheck()\nprint('not this')"
    assert interrupted(lost, signal.SIGINT)[:2] == (130, "lost\n")


def test_code_that_hears_no_signal_is_ended_after_the_grace():
    """As a registration in C++ does: the main thread gets to no exception."""
    deaf = "ready()\nfor _ in range(60):\n    try:\n        time.sleep(1)\n    except BaseException:\n        pass"
    status, _, errors, seconds = interrupted(f"with held():\n    {deaf.replace(chr(10), chr(10) + '    ')}", 15)
    assert (status, errors) == (143, "the last words\n")
    assert seconds >= GRACE_S


def test_a_second_signal_ends_at_once():
    twice = "import os\nwith held():\n    ready(); time.sleep(0.2); os.kill(os.getpid(), 2); time.sleep(60)"
    status, *_, seconds = interrupted(twice, signal.SIGINT)
    assert status == 130
    assert seconds < 30


WORKERS = """
import os, sys, time
from volumetric.batch.subjects import run_subjects
from volumetric.interrupts import interruptible

class Sleeping:
    def name(self, item): return str(item)
    def finished(self, item): return None
    def read(self, item): open(f"{sys.argv[1]}/{os.getpid()}", "w").close()
    def compute(self, item, loaded): time.sleep(60)
    def write(self, item, result): return item

if __name__ == "__main__":
    with interruptible(""):
        run_subjects(Sleeping(), range(4), title="t", jobs=2)
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_workers_end_with_the_command(number, tmp_path):
    """`evaluate --jobs 2` and SIGTERM to the parent: workers went on without the lock, and then idled for ever."""
    script, pids = tmp_path / "script.py", tmp_path / "pids"
    script.write_text(WORKERS.replace("sys.argv[1]", repr(str(pids))))
    pids.mkdir()
    process = subprocess.Popen([sys.executable, str(script)], stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    while len(list(pids.iterdir())) < 2 and time.monotonic() < deadline:
        time.sleep(0.05)
    workers = [int(path.name) for path in pids.iterdir()]
    assert len(workers) == 2
    process.send_signal(number)
    process.wait(timeout=60)
    deadline = time.monotonic() + 30
    while (left := [pid for pid in workers if is_running(pid)]) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not left


def is_running(pid):
    """False also for one that only waits to be collected by a parent that is gone."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False
