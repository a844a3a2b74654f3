import numpy as np
import pytest
import torch

from volumetric.simulation.tensors import SmoothField, along_axes, hat_matrix, integrate, noise

CPU = torch.device("cpu")
AXES = [np.arange(-40, 41, 2.0), np.arange(-30, 31, 3.0), np.arange(-25, 26, 2.5)]


def test_a_smooth_field_has_mean_0_and_variance_1_over_draws():
    values = torch.stack([SmoothField.draw(np.random.default_rng(k), 1, 8.0, CPU).on(AXES) for k in range(20)])
    assert abs(float(values.mean())) < 0.05
    assert float(values.var()) == pytest.approx(1, abs=0.08)


def test_a_smooth_field_is_the_same_on_every_grid():
    field = SmoothField.draw(np.random.default_rng(0), 2, 15.0, CPU)
    whole = field.on(AXES)
    torch.testing.assert_close(field.on([AXES[0][5:9], AXES[1][3:4], AXES[2][::2]]), whole[:, 5:9, 3:4, ::2])


def test_a_matrix_along_each_axis_is_the_einsum():
    rng = np.random.default_rng(0)
    volume, matrices = rng.normal(size=(2, 4, 5, 6)), [rng.normal(size=(n, m)) for n, m in ((3, 4), (7, 5), (2, 6))]
    matrices[1][:, :2] = 0  # columns that nothing needs
    got = along_axes(torch.from_numpy(volume.astype(np.float32)), [m.astype(np.float32) for m in matrices])
    np.testing.assert_allclose(got, np.einsum("cxyz,ix,jy,kz->cijk", volume, *matrices), atol=1e-4)


def test_linear_interpolation_is_numpys():
    samples, places = np.random.default_rng(0).normal(size=7), np.array([-9.0, -3.0, -1.2, 0.0, 4.4, 9.0, 20.0])
    wanted = np.interp(places, -3 + 2.0 * np.arange(7), samples)
    np.testing.assert_allclose(hat_matrix(places, -3, 2, 7) @ samples, wanted, atol=1e-6)


def test_a_steady_shift_moves_by_itself_and_a_turn_by_its_angle():
    """The flow (-y, x) of speed w turns by w in unit time."""
    axis = torch.linspace(-50, 50, 41)
    x, y, z = torch.meshgrid(axis, axis, axis, indexing="ij")
    shift = torch.stack([torch.full_like(x, 3.0), torch.zeros_like(x), torch.full_like(x, -2.0)])
    torch.testing.assert_close(integrate(shift, 2.5), shift, atol=1e-4, rtol=0)
    turned = integrate(0.2 * torch.stack([-y, x, torch.zeros_like(x)]), 2.5)
    inside = (x**2 + y**2 < 25**2) & (z.abs() < 40)
    cos, sin = np.cos(0.2), np.sin(0.2)
    wanted = torch.stack([x * cos - y * sin - x, x * sin + y * cos - y, torch.zeros_like(x)])
    torch.testing.assert_close(turned[:, inside], wanted[:, inside], atol=0.08, rtol=0)


def test_a_flow_backward_undoes_the_flow():
    axis = np.arange(-60, 61, 5.0)
    flow = 4 * SmoothField.draw(np.random.default_rng(1), 3, 30.0, CPU).on([axis] * 3)
    there, back = integrate(flow, 5.0), integrate(-flow, 5.0)
    hats = [hat_matrix(axis, -60, 5, 25)] * 3
    torch.testing.assert_close(along_axes(there, hats), there, atol=1e-5, rtol=0)
    # at a grid point p: back(p + there(p)) = -there(p), sampled by interpolation
    places = np.stack(np.meshgrid(axis, axis, axis, indexing="ij"))[:, 6:-6:3, 6:-6:3, 6:-6:3].reshape(3, -1)
    moved = places + there[:, 6:-6:3, 6:-6:3, 6:-6:3].reshape(3, -1).numpy()
    for point, arrived in zip(places.T, moved.T, strict=True):
        returned = along_axes(back, [hat_matrix(np.array([value]), -60, 5, 25) for value in arrived]).ravel().numpy()
        np.testing.assert_allclose(arrived + returned, point, atol=0.35)


def test_noise_is_the_hash_of_the_voxels_number():
    """The hash in Python's own integers."""

    def lowbias32(x):
        x = (x ^ (x >> 16)) * 0x7FEB352D % 2**32
        x = (x ^ (x >> 15)) * 0x846CA68B % 2**32
        return x ^ (x >> 16)

    got = noise(12345, (3, 4, 5), CPU).ravel()
    hashes = [lowbias32(voxel ^ (12345 * 2654435761 % 2**32)) for voxel in range(60)]
    sums = np.array([sum(h >> shift & 255 for shift in (0, 8, 16, 24)) for h in hashes])
    np.testing.assert_allclose(got, (sums - 510) / np.sqrt((256**2 - 1) / 3), rtol=1e-6)


def test_noise_is_white_and_another_for_each_seed():
    a, b = noise(1, (60, 50, 40), CPU), noise(2, (60, 50, 40), CPU)
    assert abs(float(a.mean())) < 0.01
    assert float(a.var()) == pytest.approx(1, abs=0.01)
    for other in (b, a.roll(1, 0), a.roll(1, 1), a.roll(1, 2)):
        assert abs(float((a * other).mean())) < 0.01
