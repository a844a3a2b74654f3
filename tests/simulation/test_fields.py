import numpy as np
import pytest

from volumetric.imaging.geometry import Space
from volumetric.simulation.fields import axes_mm, smooth_field


def grid(shape, spacing_mm, origin_mm=(-60.0, -70.0, -50.0)):
    affine = np.diag([spacing_mm, spacing_mm, spacing_mm, 1.0])
    affine[:3, 3] = origin_mm
    return Space(shape, affine)


def test_axes_are_the_voxels_world_coordinates():
    x, y, z = axes_mm(grid((3, 2, 4), 2.5))
    np.testing.assert_allclose(x, [-60, -57.5, -55])
    np.testing.assert_allclose(y, [-70, -67.5])
    np.testing.assert_allclose(z, [-50, -47.5, -45, -42.5])


def test_field_is_the_same_wherever_grids_meet():
    fine = smooth_field(np.random.default_rng(3), grid((61, 71, 51), 2.0), 25.0)
    coarse = smooth_field(np.random.default_rng(3), grid((31, 36, 26), 4.0), 25.0)
    np.testing.assert_allclose(fine[::2, ::2, ::2], coarse, atol=1e-5)
    moved = smooth_field(np.random.default_rng(3), grid((20, 21, 22), 2.0, (-40.0, -50.0, -30.0)), 25.0)
    np.testing.assert_allclose(fine[10:30, 10:31, 10:32], moved, atol=1e-5)


def test_field_has_the_stated_mean_variance_and_slope():
    field = smooth_field(np.random.default_rng(0), grid((100, 90, 80), 1.5), 8.0).astype(float)
    assert field.mean() == pytest.approx(0, abs=0.05)
    assert field.var() == pytest.approx(1, abs=0.05)
    slope = np.diff(field, axis=1) / 1.5
    assert np.sqrt((slope**2).mean()) == pytest.approx(1.18 / 8, rel=0.05)


def test_generator_is_left_in_the_same_state_by_any_grid():
    one, other = np.random.default_rng(1), np.random.default_rng(1)
    smooth_field(one, grid((5, 6, 7), 3.0), 20.0)
    smooth_field(other, grid((9, 8, 4), 1.0), 20.0)
    assert one.random() == other.random()
