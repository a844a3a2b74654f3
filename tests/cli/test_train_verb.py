import errno
import shutil

import pytest
import torch
from lightning_fabric.strategies import Strategy
from typer.testing import CliRunner

from tests.conftest import TINY
from volumetric.cli import app, main
from volumetric.cli.options import OptionError
from volumetric.config.shipped import shipped
from volumetric.learning.losses import MaskedLoss


@pytest.fixture
def run(run_folder, tmp_path):
    """A run that was killed just before its model was written."""
    copy = tmp_path / "run"
    shutil.copytree(run_folder, copy)
    shutil.rmtree(copy / "model")
    return copy


def refused(volumetric, cohort, run, *options):
    result = volumetric("train", cohort, "--config", "tiny", "--out", run, *options)
    assert result.returncode == 2, result.stderr
    assert "Traceback" not in result.stderr
    return next(line for line in result.stderr.splitlines() if line.startswith("error: "))


def test_a_damaged_settings_file_is_named_with_the_way_out(volumetric, cohort, run):
    (run / "settings.json").write_bytes((run / "settings.json").read_bytes()[:100])
    message = refused(volumetric, cohort, run)
    assert f"{run / 'settings.json'}: not readable JSON" in message
    assert "start over with --fresh" in message


def test_a_truncated_checkpoint_is_named_with_the_way_out(volumetric, cohort, run):
    last = run / "checkpoints" / "last.ckpt"
    last.write_bytes(last.read_bytes()[:1000])
    message = refused(volumetric, cohort, run)
    assert f"{last}: not a whole checkpoint of this run" in message
    assert "start over with --fresh" in message
    last.write_bytes(b"")
    assert "not a whole checkpoint" in refused(volumetric, cohort, run)


def test_a_trained_run_whose_weights_are_damaged_says_so_and_how_to_mend_it(volumetric, cohort, run_folder, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(run_folder, run)
    weights = run / "model" / "model.safetensors"
    whole = weights.read_bytes()
    weights.write_bytes(whole[:-4] + b"\xff\xff\xff\x7f")
    message = refused(volumetric, cohort, run)
    assert f"{run / 'model'}: the run is trained, and its model is damaged (model.safetensors has changed)" in message
    shutil.rmtree(run / "model")
    assert volumetric("train", cohort, "--config", "tiny", "--out", run).returncode == 0
    assert weights.read_bytes() == whole


def test_a_foreign_checkpoint_is_named_with_the_way_out(volumetric, cohort, run):
    last = run / "checkpoints" / "last.ckpt"
    copy_of_last = last.with_name("copy.ckpt")
    shutil.copy(last, copy_of_last)
    torch.save({"network": {"weight": torch.zeros(3)}}, last)
    assert f"{last}: not a whole checkpoint of this run" in refused(volumetric, cohort, run)
    state = torch.load(copy_of_last, weights_only=True)
    torch.save(state | {"settings_sha256": "0" * 64}, last)  # of the same network, trained on other subjects
    assert f"{last}: not a whole checkpoint of this run (another run wrote it)" in refused(volumetric, cohort, run)
    torch.save([1, 2], last)
    assert f"{last}: not a whole checkpoint of this run" in refused(volumetric, cohort, run)
    again = volumetric("train", cohort, "--config", "tiny", "--out", run, "--fresh")
    assert again.returncode == 0, again.stderr


@pytest.mark.parametrize("content", [b"optim: {lr: [", b"\xff\xfe\x00", b"- 1\n", b"optim: {lrr: 1}\n"])
def test_a_damaged_plan_is_named_with_the_way_out(volumetric, cohort, tmp_path, content):
    (tmp_path / "auto.yaml").write_bytes(content)
    result = volumetric("train", cohort, "--config", "auto", "--out", tmp_path)
    assert result.returncode == 2
    assert f"error: {tmp_path / 'auto.yaml'}: " in result.stderr
    assert "Traceback" not in result.stderr
    assert "plan anew with --fresh" in result.stderr


def test_a_shipped_configuration_is_named_without_a_path_from_anywhere(volumetric, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    listed = volumetric("config", "--list")
    assert listed.returncode == 0
    assert [line.split()[0] for line in listed.stdout.splitlines()] == list(shipped())
    assert "T2w from T1w at 1 mm" in listed.stdout
    assert volumetric("config", "tiny").stdout == volumetric("config", TINY).stdout
    (tmp_path / "mine.yaml").write_text("extends: tiny\nseed: 5\n")
    assert "seed: 5" in volumetric("config", "mine.yaml").stdout
    unknown = volumetric("train", "m.csv", "--config", "tinny", "--out", tmp_path / "out")
    assert unknown.returncode == 2
    assert "tinny: there is no such configuration file" in unknown.stderr
    assert ", ".join(shipped()) in unknown.stderr
    assert {"demo", "t1w_to_t2w", "t1w_to_t2w_cpu", "tiny"} < set(shipped())


def test_from_starts_from_a_model_with_the_steps_of_fine_tune(volumetric, run_folder, cohort, tmp_path, caplog):
    quick = ["--set", "optim.num_steps=2", "--set", "patch.size=[16,16,16]"]
    result = volumetric("train", cohort, "--from", run_folder, "--out", tmp_path / "run", *quick)
    assert result.returncode == 0, result.stderr
    assert f"{run_folder} decides space, network" in caplog.text
    config = (tmp_path / "run" / "config.yaml").read_text()
    assert "lr: 0.0003" in config
    assert f"pretrained: {run_folder}" in config


def test_from_names_a_folder_that_holds_no_model(volumetric, cohort, tmp_path):
    result = volumetric("train", cohort, "--from", tmp_path, "--out", tmp_path / "run")
    assert result.returncode == 2
    assert f"{tmp_path}: no model.yaml there" in result.stderr


@pytest.fixture
def train(monkeypatch, capsys, cohort, tmp_path):
    """The command in this process, two steps into `tmp_path/new`; exit status and standard error."""

    def run():
        command = ["volumetric", "train", cohort, "--config", "tiny", "--out", tmp_path / "new",
                   "--set", "optim.num_steps=2", "--set", "validation.every_steps=1"]  # fmt: skip
        monkeypatch.setattr("sys.argv", [str(word) for word in command])
        with pytest.raises(SystemExit) as stop:
            main()
            raise SystemExit(0)
        return stop.value.code or 0, capsys.readouterr().err

    return run


def test_item_14_a_gradient_that_is_not_finite_has_the_advice_of_a_loss_that_is_not(train, monkeypatch):
    loss = MaskedLoss.__call__

    def without_gradient(self, truth, prediction, *rest):
        return loss(self, truth, prediction, *rest) + (0 * prediction).sum().sqrt()

    monkeypatch.setattr(MaskedLoss, "__call__", without_gradient)
    status, error = train()
    assert status == 2
    assert "error: the norm of the gradient is nan at step 0; lower the learning rate, for example --set" in error


def test_item_11_a_disk_that_is_full_at_a_checkpoint_is_named_and_the_training_goes_on_later(
    train, monkeypatch, tmp_path
):
    save, saved = Strategy.save_checkpoint, []

    def full_at_the_second(self, path, state, **options):
        saved.append(path)
        save(self, path, state, **options)
        if len(saved) > 1:
            path.write_bytes(path.read_bytes()[:100])
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Strategy, "save_checkpoint", full_at_the_second)
    status, error = train()
    assert status == 2
    folder = tmp_path / "new" / "checkpoints"
    assert f"error: {folder / 'last.ckpt'}: the checkpoint cannot be written ([Errno 28] No space left" in error
    assert "make room on the disk and repeat the command" in error
    assert {path.name for path in folder.iterdir()} == {"best.ckpt"}
    monkeypatch.setattr(Strategy, "save_checkpoint", save)
    assert train()[0] == 0
    assert (tmp_path / "new" / "model" / "model.yaml").is_file()


@pytest.mark.parametrize(("option", "value"), [("--devices", "2"), ("--fresh", None)])
def test_attack_4_an_option_that_find_lr_does_not_take_is_refused(cohort, tmp_path, option, value):
    words = ["train", str(cohort), "--config", "tiny", "--out", str(tmp_path / "run"), "--find-lr", option]
    with pytest.raises(OptionError, match=f"--find-lr and {option}: .*leave out {option}"):
        CliRunner().invoke(app, words + ([value] if value else []), catch_exceptions=False)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    "options", [["--list", "--set", "seed=1"], ["--list", "tiny"], ["--list", "--schema"], ["--list", "--recipe"],
                ["--schema", "--set", "seed=1"], ["--schema", "tiny"]],
)  # fmt: skip
def test_attack_5_what_list_and_schema_would_ignore_is_refused(options):
    with pytest.raises(OptionError, match=f"^{options[0]} prints all there is, .*leave out {options[1]}$"):
        CliRunner().invoke(app, ["config", *options], catch_exceptions=False)
    assert CliRunner().invoke(app, ["config", "--schema", "--recipe"]).exit_code == 0
