"""Real trainings, killed by a real signal, that end in the bytes of the one that was left alone."""

import random
import re
import signal
import subprocess
import sys
import time

import pytest

from tests.conftest import TINY
from volumetric.outputs import hash_file

KILLS = 5
STEPS = 40


def words(cohort, out, *overrides):
    sets = [word for override in overrides for word in ("--set", override)]
    return ["train", str(cohort), "--config", str(TINY), "--out", str(out), *sets]


def command(*arguments):
    return [sys.executable, "-m", "volumetric", *words(*arguments)]


def kill_after(call, ready, delay=0.0):
    """Start, wait until something is there, a little longer, and kill."""
    process = subprocess.Popen(call, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    while not ready() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.002)
    time.sleep(delay)
    process.send_signal(signal.SIGKILL)
    process.wait()


def results(out):
    return hash_file(out / "model" / "model.safetensors"), (out / "history.csv").read_text()


def test_a_killed_training_goes_on_to_the_same_weights(run_folder, cohort, volumetric, tmp_path, caplog):
    """Killed as soon as its first checkpoint is there."""
    out = tmp_path / "run"
    kill_after(command(cohort, out), (out / "checkpoints" / "last.ckpt").exists)
    (out / "model" / "model.yaml").unlink(missing_ok=True)  # were it faster than the signal
    assert volumetric(*words(cohort, out)).returncode == 0
    assert re.search(r"from step [36] of 6", caplog.text)
    assert results(out) == results(run_folder)


@pytest.mark.reliability
@pytest.mark.parametrize("num_workers", [0, 4])
def test_killed_at_five_random_moments_it_ends_in_the_same_bytes(num_workers, cohort, tmp_path):
    overrides = [f"optim.num_steps={STEPS}", "validation.every_steps=2", f"num_workers={num_workers}"]
    subprocess.run(command(cohort, tmp_path / "whole", *overrides), check=True, capture_output=True)
    out = tmp_path / "killed"
    call = command(cohort, out, *overrides)
    moments = random.Random(num_workers)
    history = out / "history.csv"
    starts = []
    for _ in range(KILLS):
        before = history.read_text() if history.exists() else ""
        kill_after(call, lambda b=before: history.exists() and history.read_text() != b, moments.uniform(0, 0.3))
        starts.append(len(history.read_text().splitlines()) - 1)
    finished = (out / "model" / "model.yaml").exists()
    subprocess.run(call, check=True, capture_output=True)
    assert not finished, f"the last kill came too late: {starts}"
    assert starts == sorted(set(starts)), "each start went further than the one before"
    assert results(out) == results(tmp_path / "whole")
