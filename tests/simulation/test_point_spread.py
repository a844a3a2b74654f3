import numpy as np
import pytest

from volumetric.simulation.point_spread import PairGrid, axis_matrix, refined, smoothing_matrix

FINE = np.arange(-60, 60.5, 0.5)


@pytest.mark.parametrize("settings", [{}, {"slice_mm": 5.0, "slice_offset": 0.3}, {"ringing": 0.8}])
def test_a_constant_stays_and_a_ramp_keeps_its_slope(settings):
    voxels = np.arange(-30, 31, 2.0)
    matrix = axis_matrix(FINE, voxels, width_mm=1.5, **settings)
    np.testing.assert_allclose(matrix @ np.ones(len(FINE)), 1, atol=1e-5)
    np.testing.assert_allclose(matrix @ FINE, voxels, atol=0.02)


def test_the_width_is_that_at_half_maximum():
    fine = np.arange(-10, 10.01, 0.01)
    spread = axis_matrix(fine, np.zeros(1), width_mm=3.0)[0]
    above = fine[spread > spread.max() / 2]
    assert above[-1] - above[0] == pytest.approx(3.0, abs=0.02)


def test_a_thick_slice_sees_its_own_thickness_alone():
    """A sheet 1 mm thick fills a fifth of the 5 mm slice it lies in and nothing of the next but one."""
    sheet = (np.abs(FINE - 2.5) < 0.5).astype(float)
    slices = 5 * np.arange(-3, 4) + 2.5  # where offset 0.5 puts their centers
    seen = axis_matrix(FINE, slices, width_mm=1, slice_mm=5.0, slice_offset=0.5) @ sheet
    assert seen.argmax() == 3
    assert seen[3] == pytest.approx(0.1 * sheet.sum(), abs=0.02)
    assert np.abs(np.delete(seen, [2, 3, 4])).max() < 1e-4


def test_between_thick_slices_voxels_are_interpolated():
    steps = axis_matrix(FINE, np.array([-2.5, 0.0, 2.5]), width_mm=1, slice_mm=5.0, slice_offset=0.5) @ (FINE > 0)
    assert steps[1] == pytest.approx((steps[0] + steps[2]) / 2, abs=1e-5)


def test_a_cut_off_sinc_overshoots_an_edge_by_the_gibbs_constant():
    voxels = np.arange(-20, 20, 0.1)
    seen = axis_matrix(FINE, voxels, width_mm=2.0, ringing=1.0) @ (FINE > 0.25)
    assert seen.max() == pytest.approx(1.0895, abs=0.03)
    plain = axis_matrix(FINE, voxels, width_mm=2.0) @ (FINE > 0.25)
    assert plain.max() == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("times", [1, 2, 3])
def test_fine_samples_lie_evenly_about_each_voxel(times):
    axis = 4 + 2.0 * np.arange(6)
    fine = refined(axis, 2.0, times, 3.0)
    for center in axis:
        own = fine[np.abs(fine - center) < 1]
        assert len(own) == times
        assert own.mean() == pytest.approx(center)
    assert fine[0] <= axis[0] - 3 + 1 and fine[-1] >= axis[-1] + 3 - 1


def test_smoothed_noise_keeps_its_variance():
    drawn = np.random.default_rng(0).normal(size=(200, 500))
    assert (smoothing_matrix(200, 0.7) @ drawn).var() == pytest.approx(1, abs=0.02)


def test_a_grids_axes_start_at_its_origin():
    x, y, z = PairGrid((1.0, -2.0, 3.0), (0.5, 1.0, 2.0), (3, 2, 4)).axes()
    assert x.tolist() == [1, 1.5, 2]
    assert y.tolist() == [-2, -1]
    assert z.tolist() == [3, 5, 7, 9]
