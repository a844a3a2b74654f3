import numpy as np
import pytest

from volumetric.imaging.geometry import Space
from volumetric.simulation.artifacts import bias_field, draw_scale, rician


@pytest.mark.parametrize("sigma", [0.5, 3.0])
def test_noise_without_signal_is_rayleigh(sigma):
    noise = rician(np.random.default_rng(0), np.zeros(200_000, dtype=np.float32), sigma)
    assert noise.mean() == pytest.approx(sigma * np.sqrt(np.pi / 2), rel=0.01)
    assert noise.std() == pytest.approx(sigma * np.sqrt(2 - np.pi / 2), rel=0.01)


@pytest.mark.parametrize("signal", [1.0, 4.0, 20.0])
def test_second_moment_is_biased_by_twice_the_variance(signal):
    noisy = rician(np.random.default_rng(1), np.full(400_000, signal, dtype=np.float32), 2.0).astype(float)
    assert (noisy**2).mean() == pytest.approx(signal**2 + 2 * 2.0**2, rel=0.01)


def test_strong_signal_is_biased_by_half_the_variance_over_itself():
    noisy = rician(np.random.default_rng(2), np.full(400_000, 10.0, dtype=np.float32), 1.0).astype(float)
    assert noisy.mean() - 10 == pytest.approx(1 / 20, abs=0.01)


def test_no_noise_leaves_the_magnitude():
    signal = np.array([-2.0, 0.0, 3.0], dtype=np.float32)
    np.testing.assert_array_equal(rician(np.random.default_rng(0), signal, 0.0), [2, 0, 3])


def test_bias_is_smooth_positive_and_of_the_stated_strength():
    affine = np.diag([6.0, 6, 6, 1])
    affine[:3, 3] = -150
    logs = []
    for seed in range(20):
        field = bias_field(np.random.default_rng(seed), Space((50, 49, 48), affine), 0.1)
        assert field.min() > 0
        assert max(np.abs(np.diff(np.log(field), axis=a)).max() for a in range(3)) < 0.05
        logs.append(np.log(field))
    assert np.std(logs) == pytest.approx(0.1, rel=0.15)
    assert (bias_field(np.random.default_rng(0), Space((5, 6, 7), affine), 0.0) == 1).all()


def test_scales_cover_their_decade():
    scales = [draw_scale(np.random.default_rng(seed)) for seed in range(200)]
    assert 200 <= min(scales) < 300
    assert 1300 < max(scales) <= 2000
