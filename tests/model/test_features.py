import numpy as np
import pytest
import torch
from torch import nn

from tests.conftest import brain_pair, oblique_affine
from tests.model.test_networks import TINY
from volumetric.model.features import FeatureStatistics, pooled_features
from volumetric.model.folder import load_model
from volumetric.model.networks import build_network
from volumetric.model.training_range import out_of_distribution

CPU = torch.device("cpu")


def test_the_limit_is_the_distance_that_95_percent_keep_each_from_the_others():
    """39 of 40 features at 0 and 1 in turn; one far away."""
    features = np.tile([[0.0, 3.0], [1.0, 5.0]], (20, 1))
    features[7] = [40, 4]
    statistics = FeatureStatistics.of(features)
    assert statistics.score(np.array([0.5, 4.0])) < 1
    assert statistics.score(features[7]) > 1
    assert "that 95 % of 40 training scans keep" in statistics.warning(2.0)


def test_of_few_subjects_the_farthest_sets_the_limit():
    features = np.random.default_rng(0).standard_normal((6, 5))
    statistics = FeatureStatistics.of(features)
    assert all(statistics.score(own) < 1 for own in features)  # each is nearer to a mean that it is part of
    assert statistics.score(features.mean(axis=0) + 30) > 5
    assert "that all of 6 training scans keep" in statistics.warning(2.0)


def test_the_distance_is_mahalanobis_with_the_shrunk_diagonal():
    """Variances 1 and 3, of 5 subjects shrunk by a quarter toward 2: 1.25 and 2.75."""
    spread = np.array([-1.0, -1, 0, 1, 1])
    features = np.stack([spread, np.sqrt(3) * spread + 7], axis=1)
    statistics = FeatureStatistics.of(features)
    assert np.square(statistics.sd) == pytest.approx([1.25, 2.75], rel=1e-4)
    expected = np.sqrt((2**2 / 1.25 + 3**2 / 2.75) / 2)
    assert statistics.score(np.array([2.0, 10.0])) * statistics.limit == pytest.approx(expected, rel=1e-4)


class Pyramid(nn.Module):
    """The input, its mean over blocks of 4 voxels in three channels, and back."""

    def __init__(self):
        super().__init__()
        self.down, self.wide, self.up = nn.AvgPool3d(4), nn.Conv3d(1, 3, 1, bias=False), nn.Upsample(scale_factor=4)
        nn.init.constant_(self.wide.weight, 1)
        with torch.no_grad():
            self.wide.weight[2] = -2

    def forward(self, volume):
        return self.up(self.wide(self.down(volume)))


def test_features_are_mean_and_sd_of_the_deepest_channels_in_the_middle():
    volume = np.full((1, 16, 8, 6), 9.0, np.float32)
    volume[0, 4:12] = 1
    volume[0, 4:8] = 3
    pooled = pooled_features(Pyramid(), volume, (8, 8, 8), CPU)  # blocks: half 3 and 1, a fourth of the last empty
    middle = torch.nn.functional.avg_pool3d(torch.from_numpy(np.pad(volume[:, 4:12], ((0, 0),) * 3 + ((0, 2),))), 4)
    mean, sd = float(middle.mean()), float(middle.std(correction=0))
    assert pooled == pytest.approx([mean, mean, -2 * mean, sd, sd, 2 * sd])


@pytest.mark.parametrize("name", TINY)
def test_every_network_has_features_that_noise_moves(name):
    torch.manual_seed(0)
    config = TINY[name]
    network = build_network(config, 1).eval()
    size = [config.stride * n for n in ((2, 2, 2) if config.stride < 32 else (2, 1, 1))]
    volume = np.random.default_rng(0).standard_normal((1, *size)).astype(np.float32)
    smooth, noisy = pooled_features(network, 0 * volume, size, CPU), pooled_features(network, volume, size, CPU)
    assert smooth.shape == noisy.shape
    assert len(noisy) <= 256
    assert np.abs(smooth - noisy).max() > 1e-4
    assert not network._forward_hooks


def test_spacing_and_intensity_are_1_at_the_limits_of_the_warnings(run_folder):
    spec = load_model(run_folder).spec
    q = spec.training.source_quantiles["t1w"]
    quartiles = np.tile(np.array([q[1] - (q[3] - q[1]), q[3]], np.float32), 500)
    sides = 1.5 * np.sort(spec.training.spacing_mm_high)
    t1w, _ = brain_pair(0, affine=oblique_affine(spacing=sides, degrees=0))
    scores = out_of_distribution(spec, t1w, np.sort(quartiles)[None, :, None, None], np.ones((1000, 1, 1), bool))
    assert scores.spacing == pytest.approx(1, abs=2e-3)
    assert scores.intensity == pytest.approx(1, abs=2e-3)
    assert scores._replace(features=1.7).score == 1.7
