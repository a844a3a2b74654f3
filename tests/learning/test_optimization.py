import numpy as np
import pytest
import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel

from tests.conftest import TINY
from volumetric.config.resolve import resolve
from volumetric.learning.optimization import TrainingError, _memory_advice, _toward, learning_rate, memory_advice


def averages_of(decay, values):
    """The moving average of a single weight that takes these values after its steps."""
    weight = nn.Linear(1, 1, bias=False)
    average = AveragedModel(weight, multi_avg_fn=_toward(decay))
    seen = []
    for value in values:
        nn.init.constant_(weight.weight, value)
        average.update_parameters(weight)
        seen.append(average.module.weight.item())
    return seen


def test_the_average_by_hand():
    """The first value is taken whole; then the decay is (1 + n) / (10 + n) while that is below its limit."""
    first, second = 2 / 11 * 1 + 9 / 11 * 2, 0.25
    expected = [1, first, second * first + (1 - second) * 5]
    assert averages_of(0.99, [1, 2, 5]) == pytest.approx(expected)
    assert averages_of(0.2, [1, 2, 5])[2] == pytest.approx(0.2 * first + 0.8 * 5)
    assert averages_of(0, [1, 2, 5]) == [1, 2, 5]


def test_a_long_average_loses_the_past_at_the_rate_of_its_decay():
    values = averages_of(0.9, [0.0] * 200 + [1.0] * 10)
    assert values[-1] == pytest.approx(1 - 0.9**10)


def test_learning_rate_rises_and_falls():
    optim = resolve(TINY, ["optim.num_steps=100", "optim.warmup_fraction=0.1", "optim.lr=1"]).optim
    rates = [learning_rate(optim, step) for step in range(100)]
    np.testing.assert_allclose(rates[:10], np.arange(1, 11) / 10)
    assert rates[10] == 1
    assert rates[55] == pytest.approx(0.5)
    assert rates == sorted(rates[:11]) + sorted(rates[11:], reverse=True)
    assert 0 < rates[-1] < 1e-3


def test_memory_advice_names_what_to_lower_and_to_what():
    config = resolve(None, ["patch.size=[96,128,64]", "patch.batch_size=4", "patch.num_per_volume=4"])
    advice = memory_advice(config)
    for way in (
        "--set patch.batch_size=2 --set patch.num_per_volume=2",
        "--set patch.size=[72,96,48]",
        "--set network.channels=[16,32,64,128]",
    ):
        assert way in advice
        resolve(None, ["patch.size=[96,128,64]", *way.replace("--set ", "").split()])  # each is a configuration
    smallest = resolve(
        None, ["network.name=seed_unet", "patch.size=[16,8,8]", "patch.batch_size=1", "patch.num_per_volume=1"]
    )
    assert "--set patch.size=[8,8,8]" in memory_advice(smallest)


def test_running_out_of_memory_becomes_advice_and_other_errors_stay():
    config = resolve(TINY)
    with pytest.raises(TrainingError, match="out of memory with patches of"), _memory_advice(config):
        torch.empty(1 << 50)
    with pytest.raises(TrainingError, match="out of memory"), _memory_advice(config):
        raise torch.OutOfMemoryError("CUDA out of memory")
    with pytest.raises(RuntimeError, match="shapes"), _memory_advice(config):
        raise RuntimeError("shapes do not fit")
