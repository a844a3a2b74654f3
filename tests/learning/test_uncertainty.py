import csv
import math
import signal
from pathlib import Path

import pytest
import torch
from scipy.stats import laplace
from typer.testing import CliRunner

from tests.model.test_networks import TINY
from volumetric.cli import app
from volumetric.config.network import NETWORK_NAMES
from volumetric.config.resolve import resolve
from volumetric.config.run import LossConfig
from volumetric.interrupts import Interruption
from volumetric.learning.losses import MaskedLoss, masked_laplace
from volumetric.learning.optimization import Optimization
from volumetric.learning.pretrained import fitted
from volumetric.learning.train import train
from volumetric.model.folder import load_model
from volumetric.model.networks import build_network
from volumetric.model.spec import AffineMap
from volumetric.outputs import hash_file

SMALL = [
    "space.spacing_mm=[4,4,4]", "network.channels=[8,16]", "network.stem_stride=1", "patch.size=[16,16,24]",
    "patch.batch_size=2", "patch.num_per_volume=2", "optim.num_steps=6", "validation.every_steps=3", "optim.lr=3e-3",
    "device=cpu",
]  # fmt: skip


@pytest.fixture(scope="module")
def run(cohort, tmp_path_factory):
    """A run of `t1w_to_t2w_uncertainty` through the command line."""
    out = tmp_path_factory.mktemp("uncertainty")
    sets = [word for override in SMALL for word in ("--set", override)]
    call = ["train", str(cohort), "--config", "t1w_to_t2w_uncertainty", "--out", str(out), *sets]
    result = CliRunner().invoke(app, call)
    assert result.exit_code == 0, result.output
    return out


def rows(path):
    with path.open() as file:
        return [{name: float(value) for name, value in row.items()} for row in csv.DictReader(file)]


def test_widths_are_learned_by_the_command_line_along_their_golden_curve(run):
    golden = rows(Path(__file__).parent / "golden_uncertainty.csv")
    for row, expected in zip(rows(run / "history.csv"), golden, strict=True):
        assert row == pytest.approx(expected, rel=1e-3)
    model = load_model(run)
    assert model.spec.out_channels == 2
    assert len(model.network.head.weight) == 2


def test_interrupted_it_ends_in_the_same_bytes(run, cohort, tmp_path, monkeypatch):
    config, step, numbers = resolve("t1w_to_t2w_uncertainty", SMALL), Optimization.step, []

    def interrupted_once(self, batch, progress, lr):
        numbers.append(progress.step)
        if numbers == [0, 1, 2, 3, 4]:
            raise Interruption(signal.SIGINT)
        return step(self, batch, progress, lr)

    monkeypatch.setattr(Optimization, "step", interrupted_once)
    with pytest.raises(Interruption):
        train([cohort], config, tmp_path)
    train([cohort], config, tmp_path)
    assert numbers[5:] == [4, 5]
    for name in ("model/model.safetensors", "model/model.yaml"):
        assert hash_file(tmp_path / name) == hash_file(run / name)


def test_weight_0_leaves_no_trace(run_folder):
    for name in ("settings.json", "model/model.yaml"):
        assert "uncertainty" not in (run_folder / name).read_text()


def test_the_likelihood_is_scipys_and_blind_outside_the_mask():
    generator = torch.Generator().manual_seed(0)
    target, prediction, log_width = (torch.randn(2, 1, 3, 4, 5, generator=generator) for _ in range(3))
    mask = torch.rand(2, 1, 3, 4, 5, generator=generator) < 0.7
    ours = masked_laplace(target, prediction, log_width, mask).item()
    inside = [volume[mask].numpy() for volume in (target, prediction, log_width.exp())]
    assert ours == pytest.approx(-laplace.logpdf(inside[0], inside[1], inside[2]).mean(), rel=1e-5)
    changed = [torch.where(mask, volume, 50.0) for volume in (prediction, log_width)]
    assert masked_laplace(target, *changed, mask).item() == pytest.approx(ours)


def test_the_likelihood_is_least_where_the_width_is_the_expected_error():
    target, mask = torch.tensor([1.0, 3.0]).reshape(1, 1, 2, 1, 1), torch.ones(1, 1, 2, 1, 1, dtype=torch.bool)
    prediction, log_width = torch.zeros_like(target), torch.full_like(target, math.log(2), requires_grad=True)
    masked_laplace(target, prediction, log_width, mask).backward()  # errors 1 and 3
    assert log_width.grad.sum().item() == pytest.approx(0, abs=1e-6)


def test_a_width_beyond_all_bounds_gives_a_finite_loss():
    target, mask = torch.ones(1, 1, 2, 1, 1), torch.ones(1, 1, 2, 1, 1, dtype=torch.bool)
    for log_width in (-1e4, 1e4):
        assert math.isfinite(masked_laplace(target, 0 * target, torch.full_like(target, log_width), mask).item())


def test_the_term_joins_the_others_by_its_weight_and_the_others_see_the_first_output_alone():
    generator = torch.Generator().manual_seed(0)
    target, mask = torch.randn(1, 1, 9, 8, 10, generator=generator), torch.ones(1, 1, 9, 8, 10, dtype=torch.bool)
    output, unit = torch.randn(1, 2, 9, 8, 10, generator=generator), AffineMap(center=0, scale=1)
    plain, joined = (MaskedLoss(LossConfig(), unit, 2.0, laplace=weight) for weight in (0, 0.3))
    likelihood = masked_laplace(target, output[:, :1], output[:, 1:], mask).item()
    expected = plain(target, output[:, :1], mask).item() + 0.3 * likelihood
    assert joined(target, output, mask).item() == pytest.approx(expected, rel=1e-6)
    assert len(joined.counts(mask)) == len(plain.counts(mask)) + 1


def test_every_network_has_two_outputs_where_two_are_wanted():
    assert {config.name for config in TINY.values()} == set(NETWORK_NAMES)
    for config in TINY.values():
        sides = [config.stride * n for n in ((2, 3, 4) if config.stride < 32 else (1, 2, 1))]
        with torch.inference_mode():
            assert build_network(config, 1, 2).eval()(torch.zeros(1, 1, *sides)).shape == (1, 2, *sides)


def test_a_trained_network_starts_one_with_another_number_of_outputs():
    one, two = (build_network(TINY["unet"], 1, num) for num in (1, 2))
    more, fewer = fitted(one.state_dict(), two.state_dict()), fitted(two.state_dict(), one.state_dict())
    assert torch.equal(more["head.weight"][:1], one.head.weight)
    assert torch.equal(more["head.bias"][1:], two.head.bias[1:])
    assert torch.equal(more["stem.weight"], one.stem.weight)
    assert torch.equal(fewer["head.weight"], two.head.weight[:1])


def test_the_model_folder_keeps_the_factor_of_the_validation_subject(run):
    calibration = load_model(run).spec.uncertainty.calibration
    assert calibration.num_subjects == 1
    assert calibration.coverage is None
    assert 0.1 < calibration.factor < 30
