import csv
import signal
from pathlib import Path

import pytest
import torch
from lightning_fabric import Fabric
from monai.networks.nets import PatchDiscriminator
from torch import nn
from typer.testing import CliRunner

from volumetric.cli import app
from volumetric.config.adversarial import AdversarialConfig
from volumetric.config.resolve import ConfigError, resolve
from volumetric.interrupts import Interruption
from volumetric.learning.adversarial import (
    Adversary,
    accuracy,
    adversarial_criterion,
    balance_columns,
    build_discriminator,
    feature_distance,
)
from volumetric.learning.optimization import Optimization
from volumetric.learning.train import train
from volumetric.model.folder import load_model
from volumetric.outputs import hash_file

SMALL = [
    "space.spacing_mm=[4,4,4]", "network.channels=[8,16]", "network.stem_stride=1", "patch.size=[16,16,24]",
    "patch.batch_size=2", "patch.num_per_volume=2", "optim.num_steps=6", "validation.every_steps=3", "optim.lr=3e-3",
    "adversarial.num_layers=2", "adversarial.channels=4", "device=cpu",
]  # fmt: skip
BALANCE = ("adversarial_loss", "discriminator_loss", "discriminator_accuracy")


def by_command(cohort, out, name, *overrides):
    sets = [word for override in (*SMALL, *overrides) for word in ("--set", override)]
    result = CliRunner().invoke(app, ["train", str(cohort), "--config", name, "--out", str(out), *sets])
    assert result.exit_code == 0, result.output


def rows(path):
    with path.open() as file:
        return [{name: float(value) for name, value in row.items()} for row in csv.DictReader(file)]


@pytest.fixture(scope="module")
def run(cohort, tmp_path_factory):
    """A run of `cgan_t1w_to_t2w` through the command line."""
    out = tmp_path_factory.mktemp("cgan")
    by_command(cohort, out, "cgan_t1w_to_t2w")
    return out


def test_a_conditional_gan_trains_by_the_command_line_along_its_golden_curve(run):
    found = rows(run / "history.csv")
    for row, expected in zip(found, rows(Path(__file__).parent / "golden_cgan.csv"), strict=True):
        assert row == pytest.approx(expected, rel=1e-3)
    assert [0 < row["discriminator_accuracy"] < 1 for row in found] == [True, True]


def test_the_other_direction_has_the_same_sections(cohort, tmp_path):
    by_command(cohort, tmp_path, "cgan_t2w_to_t1w")
    assert load_model(tmp_path).spec.target == "t1w"
    there, back = resolve("cgan_t1w_to_t2w").model_dump(), resolve("cgan_t2w_to_t1w").model_dump()
    assert [key for key in there if there[key] != back[key]] == ["task"]
    assert set(BALANCE) < set(rows(tmp_path / "history.csv")[0])


def test_trained_twice_and_after_an_interruption_it_has_the_same_bytes(run, cohort, tmp_path, monkeypatch):
    weights, config = "model/model.safetensors", resolve("cgan_t1w_to_t2w", SMALL)
    step, numbers = Optimization.step, []

    def interrupted_once(self, batch, progress, lr):
        numbers.append(progress.step)
        if numbers == [0, 1, 2, 3, 4]:
            raise Interruption(signal.SIGINT)
        return step(self, batch, progress, lr)

    monkeypatch.setattr(Optimization, "step", interrupted_once)
    with pytest.raises(Interruption):
        train([cohort], config, tmp_path)
    train([cohort], config, tmp_path)
    assert numbers[5:] == [4, 5]  # a checkpoint between two validations
    assert hash_file(tmp_path / weights) == hash_file(run / weights)
    assert (tmp_path / "history.csv").read_text() == (run / "history.csv").read_text()
    states = [torch.load(out / "checkpoints" / "last.ckpt", weights_only=True) for out in (tmp_path, run)]
    assert all(torch.equal(states[0]["discriminator"][name], w) for name, w in states[1]["discriminator"].items())


def test_the_model_folder_holds_the_generator_alone(run):
    assert {path.name for path in (run / "model").iterdir() if path.is_file()} == {"model.yaml", "model.safetensors"}
    assert "adversarial" not in (run / "model" / "model.yaml").read_text()
    assert set(load_model(run).network.state_dict()) == {
        name.removeprefix("module.")
        for name in torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)["averaged"]
        if name != "n_averaged"
    }


def test_weight_0_is_training_as_before(run_folder, cohort, tmp_path):
    config = resolve("tiny", ["adversarial.weight=0", "adversarial.criterion=hinge"])
    train([cohort], config, tmp_path)
    for name in ("model/model.safetensors", "history.csv", "settings.json"):
        assert hash_file(tmp_path / name) == hash_file(run_folder / name)


@pytest.mark.parametrize(
    ("criterion", "real", "predicted", "network"),
    # judgments 0.5 and 3 of targets, -2 and 0 of predictions; the network's loss is that of its own judgments
    [
        ("least_squares", (0.25 + 4) / 2, (4 + 0) / 2, (9 + 1) / 2),
        ("hinge", (0.5 + 0) / 2, (0 + 1) / 2, (3 + 1) / 2),
    ],
)
def test_losses_by_hand(criterion, real, predicted, network):
    loss = adversarial_criterion(AdversarialConfig(criterion=criterion))
    of_targets, of_predictions = torch.tensor([0.5, 3.0]), torch.tensor([-2.0, 0.0])
    assert loss(of_targets, target_is_real=True, for_discriminator=True).item() == pytest.approx(real)
    assert loss(of_predictions, target_is_real=False, for_discriminator=True).item() == pytest.approx(predicted)
    assert loss(of_predictions, target_is_real=True, for_discriminator=False).item() == pytest.approx(network)


def test_accuracy_counts_judgments_on_the_right_side_of_the_middle():
    real, predicted = torch.tensor([0.4, 0.6, 3.0, 0.1]), torch.tensor([-2.0, 0.2, 0.9, 0.4])
    assert accuracy(real, predicted, AdversarialConfig(criterion="least_squares")) == 5 / 8
    assert accuracy(real, predicted, AdversarialConfig(criterion="hinge")) == 5 / 8
    assert accuracy(real, -real, AdversarialConfig(criterion="hinge")) == 1


def test_feature_distance_by_hand():
    expected, features = [torch.zeros(2, 3), torch.ones(4)], [torch.full((2, 3), -2.0), torch.tensor([1.0, 1, 1, 5])]
    assert feature_distance(expected, features).item() == (2 + 1) / 2


def test_spectral_norm_bounds_the_gain_of_each_layer_and_without_it_the_network_is_monais():
    torch.manual_seed(0)
    normed = build_discriminator(AdversarialConfig(channels=4, num_layers=2), 2)
    for _ in range(30):
        normed(torch.randn(1, 2, 16, 16, 16))  # power iterations
    gains = [torch.linalg.matrix_norm(m.weight.flatten(1), 2).item() for m in normed.modules()
             if isinstance(m, nn.Conv3d)]  # fmt: skip
    assert gains == pytest.approx([1] * 4, abs=0.02)
    plain = build_discriminator(AdversarialConfig(channels=4, num_layers=2, spectral_norm=False), 2)
    monai = PatchDiscriminator(3, 4, 2, num_layers_d=2, norm="INSTANCE")
    assert {k: v.shape for k, v in plain.state_dict().items()} == {k: v.shape for k, v in monai.state_dict().items()}


@pytest.fixture
def batch():
    generator = torch.Generator().manual_seed(0)
    source, target = (torch.randn(2, 1, 12, 14, 16, generator=generator) for _ in range(2))
    mask = torch.ones(2, 1, 12, 14, 16, dtype=torch.bool)
    mask[..., 9:] = False
    return {"source": source * mask, "target": target * mask, "mask": mask}


def adversary(*overrides):
    torch.manual_seed(0)
    return Adversary(Fabric(accelerator="cpu"), resolve("cgan_t1w_to_t2w", [*SMALL, *overrides]), 1)


def test_the_adversary_is_blind_outside_the_mask_and_leaves_its_weights_to_its_own_step(batch):
    ours = adversary("adversarial.ramp_fraction=0")
    prediction = torch.randn(batch["target"].shape, requires_grad=True)
    loss = ours.loss(batch, prediction, 3)
    loss.backward()
    assert prediction.grad[batch["mask"]].abs().max() > 0
    assert not prediction.grad[~batch["mask"]].any()
    assert all(p.grad is None and p.requires_grad for p in ours.state()["discriminator"].parameters())


def test_weights_rise_linearly_and_noise_falls_to_nothing(batch):
    def losses(*overrides):
        torch.manual_seed(1)
        return [adversary(*overrides).loss(batch, 2 * batch["target"], n).item() for n in (0, 2, 5, 6)]

    quiet = "adversarial.instance_noise=0"
    flat = losses(quiet, "adversarial.ramp_fraction=0")
    assert losses(quiet, "adversarial.ramp_fraction=1") == pytest.approx([flat[0] / 6, flat[0] / 2, flat[0], flat[0]])
    noisy = losses("adversarial.instance_noise=3", "adversarial.ramp_fraction=0")
    assert noisy == losses("adversarial.instance_noise=3", "adversarial.ramp_fraction=0")
    gaps = [abs(a - b) for a, b in zip(noisy, flat, strict=True)]
    assert gaps[0] > gaps[2] > gaps[3] == 0


@pytest.mark.parametrize("criterion", ["least_squares", "hinge"])
def test_the_discriminator_learns_to_tell_blurred_predictions_from_sharp_targets(batch, criterion):
    ours = adversary(f"adversarial.criterion={criterion}", "adversarial.lr=5e-3", "adversarial.instance_noise=0")
    steps = []
    for number in range(45):
        ours.loss(batch, 0 * batch["target"], number)
        steps.append(ours.step(batch, number, 3e-3 if number < 40 else 0))
    first, last = balance_columns(steps[:1]), balance_columns(steps[40:])
    assert tuple(last) == BALANCE
    assert last["discriminator_accuracy"] > 0.9
    assert last["discriminator_loss"] < 0.5 * first["discriminator_loss"]


def test_several_passes_are_refused():
    with pytest.raises(ConfigError, match="leave max_patches_per_pass out"):
        resolve("cgan_t1w_to_t2w", ["max_patches_per_pass=1"])


def test_a_patch_too_small_for_the_discriminator_is_refused_with_the_way_out():
    with pytest.raises(ConfigError, match=r"num_layers 3: give at least 24 voxels a side, or fewer layers"):
        resolve("cgan_t1w_to_t2w", ["patch.size=[16,96,96]"])
    assert resolve("cgan_t1w_to_t2w", ["patch.size=[24,96,96]", "network.channels=[8,16]"])
    least = build_discriminator(AdversarialConfig(channels=2), 2)(torch.zeros(1, 2, 24, 32, 96))
    assert least[-1].shape == (1, 1, 1, 2, 10)
