import csv
import json
import logging
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from lightning_fabric import Fabric

from tests.conftest import TINY, write_cohort
from volumetric.config.network import UNetConfig
from volumetric.config.resolve import resolve
from volumetric.interrupts import Interruption
from volumetric.learning import loop, validation
from volumetric.learning.optimization import Optimization, TrainingError
from volumetric.learning.reading import read_pairs
from volumetric.learning.train import find_lr, train
from volumetric.manifest import ManifestError, read_manifest
from volumetric.model.folder import load_model
from volumetric.outputs import OutputError, hash_file


def history(run):
    with (run / "history.csv").open() as file:
        return [{k: float(v) for k, v in row.items()} for row in csv.DictReader(file)]


def test_a_run_folder_holds_what_it_should(run_folder, cohort):
    names = {p.relative_to(run_folder).as_posix() for p in run_folder.rglob("*") if p.is_file()}
    assert {Path(name).parts[0] for name in names} >= {"cache"}
    assert {name for name in names if not name.startswith(("cache/", "model/engines/"))} == {
        "config.yaml", "settings.json", "provenance.json", "log.txt", "history.csv",
        "validation.png", "checkpoints/last.ckpt", "checkpoints/best.ckpt",
        "model/model.yaml", "model/model.safetensors",
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


def test_other_subjects_in_the_manifest_are_another_run(cohort, tmp_path):
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
    state = torch.load(tmp_path / "run" / "checkpoints" / "best.ckpt", weights_only=True)["averaged"]
    exported = load_model(tmp_path / "run").network.state_dict()
    assert all(torch.equal(state[f"module.{name}"], exported[name]) for name in exported)


def test_a_loss_that_is_not_finite_stops_with_advice(cohort, tmp_path, monkeypatch):
    nan = torch.tensor(float("nan"), requires_grad=True)
    monkeypatch.setattr("volumetric.learning.optimization.MaskedLoss.__call__", lambda *_: nan)
    with pytest.raises(TrainingError, match=r"loss is nan at step 0; lower the learning rate.*optim\.lr=0\.001"):
        train([cohort], resolve(TINY), tmp_path / "run")


def test_weights_from_the_golden_curve(run_folder):
    """Losses and scores of `tiny.yaml` on the test cohort, as they were when it was last changed on purpose."""
    with (Path(__file__).parent / "golden_tiny.csv").open() as file:
        golden = [{k: float(v) for k, v in row.items()} for row in csv.DictReader(file)]
    for row, wanted in zip(history(run_folder), golden, strict=True):
        assert row == pytest.approx(wanted, rel=1e-3)


def test_averaged_weights_are_exported(cohort, tmp_path):
    train([cohort], resolve(TINY, ["optim.ema_decay=0"]), tmp_path / "plain")
    state = torch.load(tmp_path / "plain" / "checkpoints" / "last.ckpt", weights_only=True)
    exported = load_model(tmp_path / "plain").network.state_dict()
    assert all(torch.equal(state["network"][name], exported[name]) for name in exported)
    train([cohort], resolve(TINY, ["optim.ema_decay=0.9"]), tmp_path / "averaged")
    state = torch.load(tmp_path / "averaged" / "checkpoints" / "last.ckpt", weights_only=True)
    exported = load_model(tmp_path / "averaged").network.state_dict()
    assert all(torch.equal(state["averaged"][f"module.{name}"], exported[name]) for name in exported)
    assert not all(torch.equal(state["network"][name], exported[name]) for name in exported)


def test_patience_stops_early_and_a_repeated_call_trains_no_further(tmp_path):
    manifest = write_cohort(tmp_path / "cohort", ["train", "val"])
    config = resolve(TINY, ["optim.num_steps=40", "validation.every_steps=1", "validation.patience=2", "optim.lr=0.5"])
    train([manifest], config, tmp_path / "run")
    rows = history(tmp_path / "run")
    scores = [row["val_psnr_db"] for row in rows]
    assert len(rows) < 40
    assert len(scores) - 1 - int(np.argmax(scores)) == 2
    weights = hash_file(tmp_path / "run" / "model" / "model.safetensors")
    (tmp_path / "run" / "model" / "model.yaml").unlink()  # as if it had been killed just before the end
    train([manifest], config, tmp_path / "run")
    assert history(tmp_path / "run") == rows
    assert hash_file(tmp_path / "run" / "model" / "model.safetensors") == weights


def test_tensorboard_events_hold_the_curve(cohort, tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    train([cohort], resolve(TINY, ["tensorboard=true"]), tmp_path / "run")
    events = EventAccumulator(str(tmp_path / "run" / "tensorboard"))
    events.Reload()
    assert [event.step for event in events.Scalars("loss")] == [1, 2, 3, 4, 5, 6]
    psnr = [event.value for event in events.Scalars("val_psnr_db")]
    assert psnr == pytest.approx([row["val_psnr_db"] for row in history(tmp_path / "run")])


def test_workers_and_cache_may_change_between_calls(cohort, tmp_path):
    config = resolve(TINY, ["optim.num_steps=1"])
    train([cohort], config, tmp_path / "run")
    train([cohort], config.model_copy(update={"num_workers": 1, "cache": str(tmp_path / "c")}), tmp_path / "run")
    with pytest.raises(OutputError, match=r"optim\.lr"):
        train([cohort], resolve(TINY, ["optim.num_steps=1", "optim.lr=1"]), tmp_path / "run")


def test_find_lr_draws_a_curve_and_suggests_a_rate_before_the_loss_diverges(cohort, tmp_path):
    suggestion = find_lr([cohort], resolve(TINY), tmp_path / "run")
    with (tmp_path / "run" / "lr_range.csv").open() as file:
        rows = [{k: float(v) for k, v in row.items()} for row in csv.DictReader(file)]
    lowest = min(rows, key=lambda row: row["smoothed"])
    assert suggestion == pytest.approx(lowest["lr"] / 3)
    assert 1e-4 < suggestion < 0.1
    assert (tmp_path / "run" / "lr_range.png").read_bytes()[:4] == b"\x89PNG"
    assert lowest["smoothed"] < 0.9 * rows[0]["smoothed"]


@pytest.mark.parametrize("name", ["segresnet", "dynunet", "seed_unet"])
def test_other_networks_train_and_come_back_from_their_folder(name, cohort, tmp_path):
    small = {"segresnet": ["network.width=8", "network.num_blocks=[1,1]"], "dynunet": ["network.channels=[8,12,16]"]}
    config = resolve(TINY, [f"network.name={name}", *small.get(name, []), "optim.num_steps=1"])
    model = load_model(train([cohort], config, tmp_path / "run"))
    assert model.spec.network.name == name
    assert model.predict(cohort.parent / "p3" / "t1w.nii.gz").image.array.max() > 0


def test_one_pass_over_the_volume_is_recorded_where_it_scores_as_well(run_folder, tmp_path, caplog):
    """Zeros in the last layer make windows and one pass alike; an instance norm needs windows."""
    caplog.set_level(logging.INFO)
    manifest = write_cohort(tmp_path / "cohort", ["train", "val"])
    model = load_model(run_folder)
    config = resolve(TINY)
    pairs = read_pairs(read_manifest(manifest).split("val"), config, tmp_path / "cache", title="reading val")
    torch.nn.init.zeros_(model.network.head.weight)
    assert validation.prefer_whole_volume(model.network, model.spec, pairs, Fabric(accelerator="cpu"))
    assert "infer uses one pass" in caplog.text
    assert not validation.prefer_whole_volume(model.network, model.spec, [], Fabric(accelerator="cpu"))
    normed = model.spec.model_copy(update={"network": UNetConfig(norm="instance")})
    assert not validation.prefer_whole_volume(model.network, normed, pairs, Fabric(accelerator="cpu"))


@pytest.mark.parametrize(("whole_db", "chosen"), [(19.96, True), (19.94, False), (21.0, True)])
def test_one_pass_may_cost_a_twentieth_of_a_decibel(run_folder, monkeypatch, whole_db, chosen):
    scores = {False: 20.0, True: whole_db}
    monkeypatch.setattr(
        validation, "validate", lambda *arguments, whole_volume: validation.ValidationScores(scores[whole_volume], 0.9)
    )
    model = load_model(run_folder)
    assert validation.prefer_whole_volume(model.network, model.spec, ["subject"], Fabric(accelerator="cpu")) == chosen


def test_a_volume_that_does_not_fit_into_the_memory_costs_no_training(run_folder, pairs, monkeypatch, caplog):
    plans, synthesize = iter(["windows", "windows", "whole"]), validation.synthesize

    def greedy(*arguments):
        if next(plans) == "whole":
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory")
        return synthesize(*arguments)

    monkeypatch.setattr(validation, "synthesize", greedy)
    model = load_model(run_folder)
    assert not validation.prefer_whole_volume(model.network, model.spec, pairs, Fabric(accelerator="cpu"))
    assert "infer uses windows" in caplog.text


def test_an_interrupted_training_writes_a_checkpoint_and_goes_on_to_the_same_bytes(
    cohort, tiny_config, run_folder, tmp_path, monkeypatch
):
    """In a step, whose work is lost, and in a validation, which is made up for."""
    for place, at, expected in ((Optimization, "step", 4), (loop, "validate", 3)):
        out, original, calls = tmp_path / at, getattr(place, at), []

        def interrupt(*arguments, original=original, calls=calls, at=at, **options):
            calls.append(at)
            if len(calls) == {"step": 5, "validate": 1}[at]:
                raise Interruption(15)
            return original(*arguments, **options)

        with monkeypatch.context() as patch, pytest.raises(Interruption):
            patch.setattr(place, at, interrupt)
            train([cohort], tiny_config, out)
        saved = torch.load(out / "checkpoints" / "last.ckpt", weights_only=True)["progress"]
        assert saved["step"] == expected
        assert len(saved["losses"]) == expected % 3 or at == "validate"
        train([cohort], tiny_config, out)
        for file in ("history.csv", "model/model.safetensors"):
            assert (out / file).read_bytes() == (run_folder / file).read_bytes()


def test_checkpoints_are_written_by_time_too(cohort, tiny_config, tmp_path, monkeypatch):
    """Validations may be hours apart."""
    tiny_config = tiny_config.model_copy(update={"checkpoint_every_s": 0})
    saved = []
    monkeypatch.setattr(loop, "_save_last", lambda optimization, progress, out: saved.append(progress.step))
    train([cohort], tiny_config, tmp_path)
    assert saved == [1, 2, 3, 4, 5, 6]


def test_fresh_leaves_a_model_that_no_training_began(cohort, tmp_path):
    (tmp_path / "run" / "model").mkdir(parents=True)
    (tmp_path / "run" / "model" / "model.yaml").write_text("theirs")
    with pytest.raises(OutputError, match="model: it was there before"):
        train([cohort], resolve(TINY), tmp_path / "run", fresh=True)
    assert (tmp_path / "run" / "model" / "model.yaml").read_text() == "theirs"


@pytest.mark.parametrize("name", ["config.yaml", "history.csv", "model/notes.txt", "checkpoints/mine.ckpt"])
def test_attack_10_files_of_others_are_not_replaced(cohort, tiny_config, tmp_path, name):
    file = tmp_path / "run" / name
    file.parent.mkdir(parents=True)
    file.write_text("mine")
    for fresh in (False, True):
        with pytest.raises(OutputError, match=f"{name.partition('/')[0]}: it was there before"):
            train([cohort], tiny_config, tmp_path / "run", fresh=fresh)
    assert [path.read_text() for path in (tmp_path / "run").rglob("*") if path.is_file()] == ["mine"]


def test_attack_7_fresh_deletes_nothing_before_all_scans_are_read(cohort, run_folder, tmp_path):
    run, broken = tmp_path / "run", tmp_path / "broken"
    shutil.copytree(run_folder, run, ignore=shutil.ignore_patterns("cache"))
    shutil.copytree(cohort.parent, broken)
    (broken / "p1" / "t2w.nii.gz").write_bytes(b"no scan")
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    with pytest.raises(ManifestError, match="p1"):
        train([broken / cohort.name], resolve(TINY, ["optim.num_steps=1"]), run, fresh=True)
    assert {path: path.read_bytes() for path in before} == before
    train([cohort], resolve(TINY, ["optim.num_steps=1"]), run, fresh=True)
    assert [row["step"] for row in history(run)] == [1]
