import numpy as np
import pytest
import torch

from volumetric.config.network import NetworkConfig
from volumetric.model.networks import NETWORKS, build_network
from volumetric.model.networks.unet import num_parameters


@pytest.fixture(params=[1, 2], ids=["stem1", "stem2"])
def config(request):
    return NetworkConfig(channels=(8, 12, 16), num_blocks=1, stem_stride=request.param)


@pytest.mark.parametrize("norm", ["instance", "batch", "group", "none"])
@pytest.mark.parametrize("name", NETWORKS)
def test_shape_in_is_shape_out_for_unequal_sides_and_every_weight_learns(name, norm, config):
    torch.manual_seed(0)
    network = build_network(config.model_copy(update={"name": name, "norm": norm}), 2)
    for parameter in network.parameters():  # blocks start as the identity, which would hide dead weights
        torch.nn.init.normal_(parameter, std=0.1)
    out = network(torch.randn(2, 2, 16, 24, 32))
    assert out.shape == (2, 1, 16, 24, 32)
    (out**2).mean().backward()
    dead = [n for n, p in network.named_parameters() if p.grad is None or not p.grad.any()]
    assert dead == []
    assert torch.isfinite(out).all()


def test_number_of_parameters_by_hand():
    # stem 1*4*27+4; level 0: block; down 4*6*27+6; level 1: block; narrow 6*4+4; block; head 4+1
    def block(n):
        return 2 * (2 * n) + (n * n * 27) + (n * n * 27 + n)

    expected = 112 + block(4) + 654 + block(6) + 28 + block(4) + 5
    network = build_network(NetworkConfig(channels=(4, 6), num_blocks=1), 1)
    assert num_parameters(network) == expected


def test_the_head_is_linear():
    network = build_network(NetworkConfig(channels=(4, 6), num_blocks=1), 1)
    assert isinstance(network.head, torch.nn.Conv3d)
    assert network.head.kernel_size == (1, 1, 1)
    with torch.no_grad():
        network.head.weight.zero_()
        network.head.bias.fill_(-3.0)
    assert (network(torch.randn(1, 1, 8, 8, 8)) == -3).all()


def test_a_constant_input_gives_no_checkerboard(config):
    """The signature of transposed convolutions is a lattice where the input has nothing at all."""
    torch.manual_seed(1)
    network = build_network(config.model_copy(update={"norm": "none"}), 1).eval()
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    with torch.inference_mode():
        out = network(torch.ones(1, 1, 144, 144, 144))[0, 0]
    middle = out[64:80, 64:80, 64:80].numpy()  # out of reach of the zero padding
    assert np.ptp(middle) < 1e-4 * np.abs(middle).max()
    # the network that the test is about: a transposed convolution does draw a lattice on a constant
    dotty = torch.nn.ConvTranspose3d(1, 1, 3, stride=2)(torch.ones(1, 1, 32, 32, 32))[0, 0, 16:32, 16:32, 16:32]
    assert np.ptp(dotty.detach().numpy()) > 1e-2 * dotty.abs().max()


def test_noise_in_gives_no_peak_at_the_upsampling_frequencies(config):
    torch.manual_seed(2)
    network = build_network(config.model_copy(update={"norm": "none"}), 1).eval()
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    spectra = []
    for _ in range(4):
        with torch.inference_mode():
            out = network(torch.randn(1, 1, 64, 64, 64))[0, 0].numpy()
        line = np.abs(np.fft.fft(out - out.mean(), axis=0)) ** 2
        spectra.append(line.mean(axis=(1, 2))[:33])
    spectrum = np.mean(spectra, axis=0)
    for peak in (16, 8):  # 1/4 and 1/8 of the sampling frequency; 1/2 is the end of the spectrum
        neighbours = np.median(np.r_[spectrum[peak - 3 : peak], spectrum[peak + 1 : peak + 4]])
        assert spectrum[peak] < 1.5 * neighbours
    assert spectrum[32] < 1.5 * np.median(spectrum[27:32])
