"""Trainings in several processes: real ones, over gloo, held against the training of one process."""

import multiprocessing
import os
import random
import re
import signal
import socket
import subprocess
import sys
import time
import warnings
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.conftest import TINY, write_cohort
from volumetric.config.resolve import resolve
from volumetric.config.run import PatchConfig
from volumetric.learning.optimization import Optimization
from volumetric.learning.ranks import GIVE_WAY_S, START_S, RankError, check_shares, meet_ranks, one_message
from volumetric.learning.train import find_lr, train
from volumetric.model.folder import load_model
from volumetric.outputs import hash_file
from volumetric.records.run import HistoryRow

SHARED = ["patch.num_per_volume=1", "validation.every_steps=1"]  # two volumes a step, one a rank


class StoppedError(Exception):
    """The end of a process that was to stop."""


def free_port():
    with socket.socket() as listener:
        listener.bind(("localhost", 0))
        return listener.getsockname()[1]


def train_on(num_ranks, manifest, config, out):
    """`train` in forked processes, which have imported everything already; one that fails fails the test."""

    def one(rank, port):
        os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "GROUP_RANK": "0", "TORCHELASTIC_RUN_ID": "test"}
        os.environ |= {"WORLD_SIZE": str(num_ranks), "LOCAL_WORLD_SIZE": str(num_ranks)}
        os.environ |= {"MASTER_ADDR": "localhost", "MASTER_PORT": port}
        with suppress(StoppedError):
            train([manifest], config, out)

    port, context = str(free_port()), multiprocessing.get_context("fork")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # forking with threads; these are one each
        processes = [context.Process(target=one, args=(rank, port)) for rank in range(num_ranks)]
        for process in processes:
            process.start()
    for process in processes:
        process.join(300)
    assert [process.exitcode for process in processes] == [0] * num_ranks
    return HistoryRow.read_table(out / "history.csv")


@pytest.fixture(scope="module")
def subjects(tmp_path_factory):
    """Three to train on, none to validate on."""
    return write_cohort(tmp_path_factory.mktemp("subjects"), ["train"] * 3)


@pytest.fixture(scope="module")
def alone(subjects, tmp_path_factory):
    """The run of one process."""
    out = tmp_path_factory.mktemp("alone")
    train([subjects], resolve(TINY, SHARED), out)
    return out


def curve(rows):
    return np.array([[row.step, row.lr, row.train_loss] for row in rows])


def assert_same_training(out, expected, rtol=1e-5):
    losses = [curve(HistoryRow.read_table(folder / "history.csv")) for folder in (out, expected)]
    np.testing.assert_allclose(*losses, rtol=rtol)
    weights = [torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True) for folder in (out, expected)]
    for name, value in weights[1]["averaged"].items():
        torch.testing.assert_close(weights[0]["averaged"][name], value, rtol=1e-3, atol=1e-5)


def stop_before(step, monkeypatch):
    """Let a training end before a step, in this process and in those that it forks."""
    go_on = Optimization.step

    def stop(self, batch, progress, lr):
        if progress.step == step:
            raise StoppedError
        go_on(self, batch, progress, lr)

    monkeypatch.setattr(Optimization, "step", stop)


def test_two_processes_train_to_the_curve_of_one(subjects, alone, tmp_path):
    train_on(2, subjects, resolve(TINY, SHARED), tmp_path / "two")
    assert_same_training(tmp_path / "two", alone)


def test_a_step_in_several_passes_is_the_step_in_one(subjects, alone, tmp_path):
    config = resolve(TINY, SHARED)
    train([subjects], config.model_copy(update={"max_patches_per_pass": 1}), tmp_path / "passes")
    assert_same_training(tmp_path / "passes", alone)


def test_two_processes_that_add_up_passes_train_to_the_curve_of_one(subjects, tmp_path):
    config = resolve(TINY, ["patch.batch_size=6", "validation.every_steps=1", "optim.num_steps=3"])  # not 4: 2 and 1
    config = config.model_copy(update={"patch": config.patch.model_copy(update={"num_per_volume": 1})})
    train([subjects], config, tmp_path / "one")
    train_on(2, subjects, config.model_copy(update={"max_patches_per_pass": 2}), tmp_path / "two")
    assert_same_training(tmp_path / "two", tmp_path / "one")


def test_batch_norm_over_two_processes_stays_near_the_curve_of_one(subjects, tmp_path):
    """Statistics are those of a rank's own patches, so the curves differ; here by less than a tenth."""
    config = resolve(TINY, [*SHARED, "network.norm=batch"])
    train([subjects], config, tmp_path / "one")
    train_on(2, subjects, config, tmp_path / "two")
    losses = [curve(HistoryRow.read_table(tmp_path / name / "history.csv")) for name in ("two", "one")]
    np.testing.assert_allclose(*losses, rtol=0.1)
    assert not np.allclose(*losses, rtol=1e-3)


@pytest.mark.parametrize(("before", "after"), [(2, 1), (1, 2)])
def test_a_training_goes_on_in_another_number_of_processes(before, after, subjects, alone, tmp_path, monkeypatch):
    config, out = resolve(TINY, SHARED), tmp_path / "run"
    with monkeypatch.context() as patch:
        stop_before(3, patch)
        train_on(before, subjects, config, out)
    assert [row.step for row in HistoryRow.read_table(out / "history.csv")] == [1, 2, 3]
    train_on(after, subjects, config, out)
    assert_same_training(out, alone)


def test_validation_subjects_are_shared_and_their_scores_gathered(tmp_path):
    """Three among two processes; the best weights, which rank 0 wrote, are read by all."""
    manifest, config = (
        write_cohort(tmp_path / "c", ["train"] * 2 + ["val"] * 3),
        resolve(TINY, [*SHARED, "optim.num_steps=2"]),
    )
    train([manifest], config, tmp_path / "one")
    train_on(2, manifest, config, tmp_path / "two")
    scores = [
        [[row.val_psnr_db, row.val_ssim] for row in HistoryRow.read_table(tmp_path / name / "history.csv")]
        for name in ("two", "one")
    ]
    np.testing.assert_allclose(*scores, rtol=1e-5)
    specs = [
        load_model(tmp_path / name).spec.model_copy(update={"weights_sha256": None})  # they agree to 1e-5, not bytes
        for name in ("two", "one")
    ]
    assert specs[0] == specs[1]
    names = {path.name for path in (tmp_path / "two").iterdir()}
    assert names == {path.name for path in (tmp_path / "one").iterdir()}


@pytest.mark.parametrize(
    ("batch_size", "num_per_volume", "ranks", "way"),
    [
        (2, 2, 2, "--set patch.num_per_volume=1, or --set patch.batch_size=4"),
        (4, 1, 8, "--set patch.batch_size=8"),
        (6, 2, 2, "--set patch.num_per_volume=1, or --set patch.batch_size=8"),
    ],
)
def test_steps_that_cannot_be_shared_evenly_are_refused(batch_size, num_per_volume, ranks, way, monkeypatch):
    patch = PatchConfig(batch_size=batch_size, num_per_volume=num_per_volume)
    check_shares(patch)
    monkeypatch.setenv("WORLD_SIZE", str(ranks))
    with pytest.raises(RankError, match=f"{ranks} processes cannot share.*start fewer, or {way}"):
        check_shares(patch)


def test_find_lr_is_refused_in_several_processes(subjects, tmp_path, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(RankError, match="--find-lr needs one process"):
        find_lr([subjects], resolve(TINY), tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_rank_gives_way_before_it_speaks_and_names_a_lost_one(monkeypatch):
    waits = []
    monkeypatch.setattr("volumetric.learning.ranks.time.sleep", waits.append)
    with pytest.raises(ZeroDivisionError), one_message():
        raise ZeroDivisionError
    assert waits == []
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(RankError, match="process 0 of 2 lost another one; the same command goes on"), one_message():
        raise RuntimeError("[gloo/transport/tcp/pair.cc:534] Connection closed by peer [127.0.0.1]:4711")
    monkeypatch.setenv("RANK", "1")
    with pytest.raises(ZeroDivisionError), one_message():
        raise ZeroDivisionError
    assert waits == [START_S, START_S]
    monkeypatch.setattr("torch.distributed.is_initialized", lambda: True)
    with pytest.raises(ZeroDivisionError), one_message():
        raise ZeroDivisionError
    assert waits[2:] == [GIVE_WAY_S]


def test_restarted_ranks_do_not_meet_those_that_are_gone(monkeypatch):
    store = torch.distributed.TCPStore("localhost", 0, is_master=True, wait_for_workers=False)
    for key, value in {"name": "old", "old/1": "gone", "old/met": "gone"}.items():
        store.set(key, value)
    for name, value in {"MASTER_ADDR": "localhost", "MASTER_PORT": str(store.port), "WORLD_SIZE": "2"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("TORCHELASTIC_USE_AGENT_STORE", "True")

    def one(rank):
        os.environ["RANK"] = str(rank)
        time.sleep(0.3 * (1 - rank))  # rank 1 answers to the old name first
        meet_ranks("gloo")
        total = torch.tensor(rank + 1)
        torch.distributed.all_reduce(total)
        assert total == 3

    context = multiprocessing.get_context("fork")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # forking with threads
        processes = [context.Process(target=one, args=(rank,)) for rank in (0, 1)]
        for process in processes:
            process.start()
    for process in processes:
        process.join(60)
    assert [process.exitcode for process in processes] == [0, 0]


def command(manifest, out, *overrides):
    sets = [f"--set={override}" for override in (*SHARED, *overrides)]
    return ["-m", "volumetric", "train", str(manifest), "--config", str(TINY), "--out", str(out), *sets]


def torchrun(max_restarts):
    """Two workers."""
    options = ["--standalone", "--nproc-per-node=2", "--monitor-interval=0.1", f"--max-restarts={max_restarts}"]
    return [sys.executable, "-m", "torch.distributed.run", *options]


def workers(process):
    """Ids of the processes that a process started."""
    return [int(number) for number in Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()]


def wait_until(true, process):
    deadline = time.monotonic() + 300
    while not true() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.005)
    assert process.poll() is None, process.communicate()


def num_rows(out):
    path = out / "history.csv"
    return len(path.read_text().splitlines()) - 1 if path.exists() else 0


def start(call):
    return subprocess.Popen(call, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def assert_killed_training_ends_whole(kills, steps, subjects, folder):
    """Kill one of two workers at random moments after progress; torchrun starts both again, no more often than that."""
    overrides, moments = [f"optim.num_steps={steps}", "checkpoint_every_s=0"], random.Random(kills)
    train_on(2, subjects, resolve(TINY, [*SHARED, *overrides]), folder / "whole")
    out, old = folder / "killed", set()
    process = start([*torchrun(kills), *command(subjects, out, *overrides)])
    for _ in range(kills):
        wait_until(lambda old=old: len(set(workers(process)) - old) == 2, process)
        before = num_rows(out)
        wait_until(lambda before=before: num_rows(out) > before, process)
        time.sleep(moments.uniform(0, 0.1))
        old = set(workers(process))
        os.kill(moments.choice(sorted(old)), signal.SIGKILL)
    _, said = process.communicate(timeout=300)
    assert process.returncode == 0, said
    assert len(re.findall(r"from step [1-9]\d* of", said)) == kills
    assert (out / "history.csv").read_text() == (folder / "whole" / "history.csv").read_text()
    sums = {hash_file(folder / name / "model" / "model.safetensors") for name in ("whole", "killed")}
    assert len(sums) == 1


needs_proc = pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="finds the workers in /proc, of Linux")


@needs_proc
@pytest.mark.reliability
def test_a_killed_worker_costs_a_restart_from_the_last_checkpoint(subjects, tmp_path):
    assert_killed_training_ends_whole(1, 60, subjects, tmp_path)


@needs_proc
@pytest.mark.reliability
def test_one_of_two_workers_killed_at_ten_random_moments_ends_in_the_same_bytes(subjects, tmp_path):
    assert_killed_training_ends_whole(10, 400, subjects, tmp_path)


def test_an_error_of_all_processes_is_one_message_and_the_status_of_one(subjects, tmp_path):
    call = [sys.executable, *command(subjects, tmp_path, "patch.num_per_volume=2"), "--devices=2"]
    result = subprocess.run(call, capture_output=True, text=True, timeout=300)
    assert result.returncode == 2
    assert result.stderr.count("error: ") == 1
    assert "2 processes cannot share the volumes of a step evenly (they are 1:" in result.stderr
    assert "Traceback" not in result.stderr


@needs_proc
def test_sigterm_ends_all_processes_and_the_command_goes_on(subjects, tmp_path):
    out = tmp_path / "run"
    process = start([sys.executable, *command(subjects, out, "optim.num_steps=100000"), "--devices=2"])
    wait_until(lambda: num_rows(out) > 1, process)
    started = workers(process)
    assert len(started) == 2
    process.send_signal(signal.SIGTERM)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 143, said
    assert said.count("interrupted; ") == 1
    assert "Traceback" not in said
    deadline = time.monotonic() + 20  # they get the signal after their parent, and 3.5 s of grace
    while any(Path(f"/proc/{number}").exists() for number in started):
        assert time.monotonic() < deadline, started
        time.sleep(0.05)
