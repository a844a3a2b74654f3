import csv
import json
import re
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import torch

from tests.conftest import TINY, write_cohort
from volumetric.config.resolve import resolve
from volumetric.learning.train import TrainingError, learning_rate, train
from volumetric.manifest import ManifestError
from volumetric.model.folder import load_model
from volumetric.outputs import OutputError, hash_file


def history(run):
    with (run / "history.csv").open() as file:
        return [{k: float(v) for k, v in row.items()} for row in csv.DictReader(file)]


def test_a_run_folder_holds_what_it_should(run_folder, cohort):
    names = {p.relative_to(run_folder).as_posix() for p in run_folder.rglob("*") if p.is_file()}
    assert names == {
        "config.yaml", "settings.json", "provenance.json", "log.txt", "history.csv",
        "checkpoints/last.ckpt", "checkpoints/best.ckpt", "model/model.yaml", "model/model.safetensors",
    }  # fmt: skip
    rows = history(run_folder)
    assert [row["step"] for row in rows] == [3, 6]
    assert all(np.isfinite(list(row.values())).all() for row in rows)
    assert 0 < rows[-1]["val_ssim"] < 1
    assert json.loads((run_folder / "provenance.json").read_text())["seed"] == 0
    spec = load_model(run_folder).spec
    assert spec.training.num_subjects == 2
    assert spec.data_range > 1


def test_the_same_seed_gives_the_same_weights_and_another_seed_does_not(run_folder, cohort, tiny_config, tmp_path):
    weights = "model/model.safetensors"
    train([cohort], tiny_config, tmp_path / "same")
    assert hash_file(tmp_path / "same" / weights) == hash_file(run_folder / weights)
    train([cohort], resolve(TINY, ["seed=1"]), tmp_path / "other")
    assert hash_file(tmp_path / "other" / weights) != hash_file(run_folder / weights)


def test_a_killed_training_goes_on_to_the_same_weights(run_folder, cohort, tmp_path):
    """A real process, killed by a real signal as soon as its first checkpoint is there."""
    out = tmp_path / "run"
    command = [sys.executable, "-m", "volumetric", "train", str(cohort), "--config", str(TINY), "--out", str(out)]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    while not (out / "checkpoints" / "last.ckpt").exists() and time.monotonic() < deadline:
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    process.wait()
    (out / "model" / "model.yaml").unlink(missing_ok=True)  # were it faster than the signal
    again = subprocess.run(command, capture_output=True, text=True, check=True)
    assert re.search(r"from step [36] of 6", again.stderr)
    assert hash_file(out / "model/model.safetensors") == hash_file(run_folder / "model/model.safetensors")
    assert history(out) == history(run_folder)


def test_a_finished_run_is_left_alone_and_another_configuration_refused(cohort, tmp_path):
    out, quick = tmp_path / "run", ["optim.num_steps=2", "validation.every_steps=2"]
    train([cohort], resolve(TINY, quick), out)
    before = {p: p.stat().st_mtime_ns for p in out.rglob("*") if p.is_file()}
    train([cohort], resolve(TINY, quick), out)
    assert {p: p.stat().st_mtime_ns for p in out.rglob("*") if p.is_file()} == before
    with pytest.raises(OutputError, match=r"optim\.lr was 0\.003, is 0\.001.*--fresh"):
        train([cohort], resolve(TINY, [*quick, "optim.lr=1e-3"]), out)
    train([cohort], resolve(TINY, [*quick, "optim.lr=1e-3"]), out, fresh=True)
    assert "lr: 0.001" in (out / "config.yaml").read_text()


def test_other_people_in_the_manifest_are_another_run(cohort, tmp_path):
    quick = resolve(TINY, ["optim.num_steps=1"])
    train([cohort], quick, tmp_path / "run")
    other = write_cohort(tmp_path / "cohort", ["train", "test"])
    with pytest.raises(OutputError, match="training_manifest_sha256"):
        train([other], quick, tmp_path / "run")


def test_nothing_is_written_when_the_call_is_wrong(tmp_path, tiny_config):
    manifest = write_cohort(tmp_path / "cohort", ["val", "test"])
    with pytest.raises(TrainingError, match="no row has split `train`"):
        train([manifest], tiny_config, tmp_path / "run")
    manifest = write_cohort(tmp_path / "cohort", ["train", "val"])
    (tmp_path / "cohort" / "p1" / "t2w.nii.gz").unlink()
    with pytest.raises(ManifestError, match=r"subject p1: the `t2w` file .* does not exist"):
        train([manifest], tiny_config, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_with_three_validation_subjects_the_best_weights_are_exported(tmp_path):
    manifest = write_cohort(tmp_path / "cohort", ["train", "val", "val", "val"])
    # the rate falls to nothing at the end, so a run that starts over its best is a matter of a huge rate
    config = resolve(TINY, ["optim.num_steps=6", "validation.every_steps=1", "optim.lr=0.3"])
    train([manifest], config, tmp_path / "run")
    scores = [row["val_psnr_db"] for row in history(tmp_path / "run")]
    assert int(np.argmax(scores)) != len(scores) - 1
    state = torch.load(tmp_path / "run" / "checkpoints" / "best.ckpt", weights_only=True)["network"]
    exported = load_model(tmp_path / "run").network.state_dict()
    assert all(torch.equal(state[name], exported[name]) for name in exported)


def test_learning_rate_rises_and_falls():
    config = resolve(TINY, ["optim.num_steps=100", "optim.warmup_fraction=0.1", "optim.lr=1"])
    rates = [learning_rate(config, step) for step in range(100)]
    np.testing.assert_allclose(rates[:10], np.arange(1, 11) / 10)
    assert rates[10] == 1
    assert rates[55] == pytest.approx(0.5)
    assert rates == sorted(rates[:11]) + sorted(rates[11:], reverse=True)
    assert 0 < rates[-1] < 1e-3


def test_a_loss_that_is_not_finite_stops_with_advice(cohort, tmp_path, monkeypatch):
    monkeypatch.setattr("volumetric.learning.train.masked_l1", lambda *_: torch.tensor(float("nan")))
    with pytest.raises(TrainingError, match=r"loss is nan at step 0; lower the learning rate.*optim\.lr=0\.001"):
        train([cohort], resolve(TINY), tmp_path / "run")
