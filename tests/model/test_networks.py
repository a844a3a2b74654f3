import numpy as np
import pytest
import torch
from torch import nn

from volumetric.config.network import (
    NETWORK_NAMES,
    DynUNetConfig,
    SeedUNetConfig,
    SegResNetConfig,
    SpadeConfig,
    SwinUNETRConfig,
    UNetConfig,
)
from volumetric.model.networks import NETWORKS, build_network, num_parameters
from volumetric.model.networks.norms import FixedGroupNorm

TINY = {
    "unet": UNetConfig(channels=(8, 12, 16), num_blocks=1),
    "unet, stem 2": UNetConfig(channels=(8, 12, 16), num_blocks=1, stem_stride=2),
    "seed_unet": SeedUNetConfig(name="seed_unet"),
    "segresnet": SegResNetConfig(name="segresnet", width=8, num_blocks=(1, 1, 1)),
    "dynunet": DynUNetConfig(name="dynunet", channels=(8, 12, 16)),
    "swinunetr": SwinUNETRConfig(name="swinunetr", width=12),
    "spade": SpadeConfig(name="spade", channels=(8, 12, 16), hidden=8),
}


def shaken(network):
    """With random weights everywhere: blocks start as the identity, which would hide what they do."""
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    return network


def test_the_table_and_the_configuration_know_the_same_networks():
    assert tuple(NETWORKS) == NETWORK_NAMES
    assert {config.name for config in TINY.values()} == set(NETWORKS)


@pytest.mark.parametrize("config", TINY.values(), ids=TINY)
def test_shape_in_is_shape_out_for_unequal_sides_and_every_weight_learns(config):
    torch.manual_seed(0)
    network = shaken(build_network(config, 2))
    sides = [config.stride * n for n in ((2, 3, 4) if config.stride < 32 else (1, 2, 1))]
    out = network(torch.randn(2, 2, *sides))
    assert out.shape == (2, 1, *sides)
    (out**2).mean().backward()
    dead = [n for n, p in network.named_parameters() if p.grad is None or not p.grad.any()]
    assert dead == []
    assert torch.isfinite(out).all()


@pytest.mark.parametrize("norm", ["instance", "batch", "group", "fixed_group", "none"])
def test_every_norm_of_the_unet_learns_and_only_two_depend_on_the_window(norm):
    torch.manual_seed(0)
    network = shaken(build_network(TINY["unet"].model_copy(update={"norm": norm}), 1))
    network(torch.randn(2, 1, 16, 24, 32)).square().mean().backward()
    assert all(p.grad.any() for p in network.parameters())
    network.eval()
    volume = torch.randn(1, 1, 96, 16, 16)
    volume[:, :, 48:] *= 5
    with torch.inference_mode():
        whole, part = network(volume)[:, :, :8], network(volume[:, :, :48])[:, :, :8]
    far_from_the_cut = torch.allclose(whole, part, rtol=1e-3, atol=1e-4)
    assert far_from_the_cut == (norm in ("batch", "fixed_group", "none"))


def test_fixed_group_norm_is_group_norm_in_training_and_its_average_after():
    torch.manual_seed(0)
    ours, reference = FixedGroupNorm(2, 6, momentum=1), nn.GroupNorm(2, 6)
    features = 3 * torch.randn(1, 6, 5, 7, 4) + 1
    torch.testing.assert_close(ours(features), reference(features))
    ours.eval()
    torch.testing.assert_close(ours(features), reference(features))  # momentum 1: the average is the newest
    assert not torch.allclose(ours(2 * features), reference(2 * features))
    half = FixedGroupNorm(1, 2, momentum=0.5)
    half(torch.full((1, 2, 2, 2, 2), 4.0))
    assert half.running_mean.item() == 2
    assert half.running_var.item() == 0.5


def test_number_of_parameters_by_hand():
    # stem 1*4*27+4; level 0: block; down 4*6*27+6; level 1: block; narrow 6*4+4; block; head 4+1
    def block(n):
        return 2 * (2 * n) + (n * n * 27) + (n * n * 27 + n)

    expected = 112 + block(4) + 654 + block(6) + 28 + block(4) + 5
    network = build_network(UNetConfig(channels=(4, 6), num_blocks=1, norm="instance"), 1)
    assert num_parameters(network) == expected


def test_the_seed_unet_has_the_parameters_it_had_in_2021():
    assert num_parameters(build_network(TINY["seed_unet"], 1)) == 4_067_457


@pytest.mark.parametrize("config", TINY.values(), ids=TINY)
def test_the_head_is_linear_and_no_up_sampling_is_transposed(config):
    network = build_network(config, 1)
    assert not [name for name, m in network.named_modules() if isinstance(m, nn.ConvTranspose3d)]
    last = [m for m in network.modules() if isinstance(m, nn.Conv3d) and m.out_channels == 1][-1]
    assert last.kernel_size == (1, 1, 1)
    with torch.no_grad():
        last.weight.zero_()
        last.bias.fill_(-3.0)
    side = 64 if config.stride == 32 else 16
    assert (network(torch.randn(1, 1, side, side, side)) == -3).all()


def test_a_constant_input_gives_no_checkerboard():
    """The signature of transposed convolutions is a lattice where the input has nothing at all."""
    for stem in (1, 2):
        torch.manual_seed(1)
        config = TINY["unet"].model_copy(update={"norm": "none", "stem_stride": stem})
        network = shaken(build_network(config, 1)).eval()
        with torch.inference_mode():
            out = network(torch.ones(1, 1, 144, 144, 144))[0, 0]
        middle = out[64:80, 64:80, 64:80].numpy()  # out of reach of the zero padding
        assert np.ptp(middle) < 1e-4 * np.abs(middle).max()


def train_shortly(network, side=32, steps=25):
    """A few steps on a task that needs all scales: a smooth field and its sharp edges."""
    generator = torch.Generator().manual_seed(3)
    optimizer = torch.optim.AdamW(network.parameters(), lr=3e-3)
    for _ in range(steps):
        coarse = torch.randn(1, 1, 8, 8, 8, generator=generator)
        volume = nn.functional.interpolate(coarse, size=(side,) * 3, mode="trilinear")
        loss = (network(volume) - (volume > 0.3).float()).abs().mean()
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    return network.eval()


def lattice_peak(network, side=64):
    """The power at the frequencies of strides 2, 4 and 8 over that of their neighbors, the largest; noise in."""
    generator = torch.Generator().manual_seed(4)
    spectra = []
    for _ in range(3):
        with torch.inference_mode():
            out = network(torch.randn(1, 1, side, side, side, generator=generator))[0, 0].numpy()
        power = np.abs(np.fft.fftn(out - out.mean())) ** 2
        spectra += [power.mean(axis=axes)[: side // 2 + 1] for axes in ((1, 2), (0, 2), (0, 1))]
    spectrum = np.mean(spectra, axis=0)
    peaks = [spectrum[side // 2] / np.median(spectrum[side // 2 - 5 : side // 2])]
    for place in (side // 4, side // 8):
        peaks.append(spectrum[place] / np.median(np.r_[spectrum[place - 3 : place], spectrum[place + 1 : place + 4]]))
    return max(peaks)


SLOW = ("seed_unet", "spade", "swinunetr")
"""A quarter to half a minute each to train."""


@pytest.mark.parametrize(
    "config",
    [pytest.param(config, id=name, marks=[pytest.mark.reliability] * (name in SLOW)) for name, config in TINY.items()],
)
def test_a_trained_network_shows_no_peak_at_its_upsampling_frequencies(config):
    torch.manual_seed(2)
    sizes = {"side": 64, "steps": 3} if config.stride == 32 else {}
    assert lattice_peak(train_shortly(build_network(config, 1), **sizes)) < 1.5


def test_the_same_look_does_find_the_dots_of_transposed_convolutions():
    torch.manual_seed(2)
    dotty = nn.Sequential(
        nn.Conv3d(1, 8, 3, stride=2, padding=1),
        nn.LeakyReLU(),
        nn.ConvTranspose3d(8, 8, 3, 2, 1, 1),
        nn.Conv3d(8, 1, 1),
    )
    assert lattice_peak(train_shortly(dotty)) > 1.5
