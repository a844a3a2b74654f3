"""The job array of the docs, run as Slurm runs it: a process a task with Slurm's variables, killed and resubmitted."""

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.batch.test_shards import tree
from tests.conftest import REPOSITORY, write_heads
from volumetric.batch.shards import Shard, find_shards, is_held
from volumetric.batch.status import read_status
from volumetric.outputs import write_text
from volumetric.synthesis.infer import infer

PAGE = REPOSITORY / "docs" / "how-to" / "gpu-and-cluster.md"
POISONED = 1
"""Number of the head that is no image."""


def documented_array() -> str:
    """The sbatch file of the docs that runs `infer` in an array."""
    blocks = re.findall(r"```sh\n(#!/bin/bash\n.*?)```", PAGE.read_text(), re.DOTALL)
    (file,) = [block for block in blocks if "--array" in block and "volumetric infer" in block]
    return file


class SimulatedSlurm:
    """Starts tasks of one sbatch file, each in a process group of its own."""

    def __init__(self, file: str, folder: Path) -> None:
        self.folder, self.file = folder, folder / "infer.sbatch"
        write_text(self.file, file)
        first, last = re.search(r"#SBATCH --array=(\d+)-(\d+)", file).groups()
        self.tasks = range(int(first), int(last) + 1)
        self.cpus = re.search(r"#SBATCH --cpus-per-task=(\d+)", file)[1]

    def submit(self, task: int, *, count: int) -> subprocess.Popen:
        variables = {
            "SLURM_ARRAY_JOB_ID": "4711",
            "SLURM_ARRAY_TASK_ID": str(task),
            "SLURM_ARRAY_TASK_COUNT": str(count),
            "SLURM_CPUS_PER_TASK": self.cpus,
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            "PYTHONPATH": str(REPOSITORY),
        }
        with (self.folder / f"slurm-4711_{task}.out").open("ab") as log:
            return subprocess.Popen(
                ["/bin/bash", self.file], cwd=self.folder, env=os.environ | variables,
                stdout=log, stderr=log, start_new_session=True,
            )  # fmt: skip


def num_finished(out):
    """Predictions that are whole: their sidecars are written last."""
    return len(list(out.glob("**/*_desc-synth_*.json")))


def wait_for_rows(shard, out, number, process):
    """Wait until a shard has so many rows, while its process runs."""
    table = shard.folder(out) / "subjects.csv"
    while not table.exists() or table.read_bytes().count(b"\n") <= number:
        assert process.poll() is None, "the task ended before it was killed"
        time.sleep(0.002)


def wait_for_end(shard, out):
    """Wait until the last process of a killed group is gone, which holds the shard to its end."""
    while is_held(shard.folder(out)):
        time.sleep(0.01)


def check_status(out, num_subjects, *, ended, stopped=(), running=(), on_the_way=0):
    """Compare `volumetric status` with the files and with what was started."""
    status, written = read_status(out), num_finished(out)
    states = {shard.number: state for shard, (state, _) in status.shards.items()}
    named = {**dict.fromkeys(ended, "ended"), **dict.fromkeys(stopped, "stopped"), **dict.fromkeys(running, "running")}
    assert states == {number: named.get(number, "not begun") for number in states}
    total = status.total
    assert 0 <= written - total.done <= on_the_way
    assert total.done + total.failed + total.missing == num_subjects
    for shard, (state, tally) in status.shards.items():
        own = len(shard.positions(num_subjects))
        poisoned = POISONED in shard.positions(num_subjects)
        if state == "ended":
            assert (tally.done, tally.failed, tally.missing) == (own - poisoned, poisoned, 0)
        if state == "not begun":
            assert (tally.done, tally.failed, tally.missing) == (0, 0, own)


@pytest.mark.parametrize(
    ("num_heads", "num_tasks", "killed"),
    [(10, 2, (1,)), pytest.param(60, 7, (3, 6), marks=pytest.mark.reliability)],
)
def test_an_array_whose_tasks_are_killed_and_queued_again_ends_in_the_files_of_one_job(
    run_folder, volumetric, tmp_path, num_heads, num_tasks, killed
):
    one, folder = tmp_path / "one", tmp_path / "array"
    manifest = write_heads(tmp_path / "heads", ["test"] * num_heads)
    (tmp_path / "heads" / f"h{POISONED}" / "t1w.nii.gz").write_bytes(b"poison")
    (folder / "runs").mkdir(parents=True)
    (folder / "runs" / "mine").symlink_to(run_folder)
    (folder / "raw.csv").symlink_to(manifest)
    file = documented_array().replace("array=1-7", f"array=1-{num_tasks}").replace("/7", f"/{num_tasks}")
    slurm, out = SimulatedSlurm(file, folder), folder / "synthetic"
    assert list(slurm.tasks) == list(range(1, num_tasks + 1))
    ended, stopped = [], []
    for task in slurm.tasks:
        process = slurm.submit(task, count=num_tasks)
        if task in killed:
            wait_for_rows(Shard(task, num_tasks), out, 2, process)
            os.killpg(process.pid, signal.SIGSTOP)  # status and files of one moment
            check_status(out, num_heads, ended=ended, stopped=stopped, running=[task], on_the_way=1)
            os.killpg(process.pid, signal.SIGKILL)
            assert process.wait() == -signal.SIGKILL
            wait_for_end(Shard(task, num_tasks), out)
            stopped.append(task)
            # what was written in the moment of the kill, and has no row yet, counts when the task is queued again
            check_status(out, num_heads, ended=ended, stopped=stopped, on_the_way=len(stopped))
        else:
            assert process.wait() == (POISONED in Shard(task, num_tasks).positions(num_heads))
            ended.append(task)
            check_status(out, num_heads, ended=ended, stopped=stopped, on_the_way=len(stopped))
    refused = volumetric("merge", out)
    assert refused.returncode == 2
    assert f"run shards {', '.join(map(str, killed))} of {num_tasks} again, then merge" in refused.stderr
    for task in killed:
        assert slurm.submit(task, count=1).wait() == (POISONED in Shard(task, num_tasks).positions(num_heads))
    check_status(out, num_heads, ended=slurm.tasks)
    assert not (out / "predictions.csv").exists()
    assert volumetric("merge", out).returncode == 1  # one is poisoned
    assert find_shards(out) == []
    infer([manifest], model=run_folder, out=one)
    mine, other = tree(out), tree(one)
    mine = {name: content for name, content in mine.items() if not name.endswith(".tmp")}  # the kill's half a file
    assert mine.keys() == other.keys()
    for name, content in mine.items():
        assert content == other[name], name
