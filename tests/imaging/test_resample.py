import resource

import numpy as np
import pytest
import SimpleITK as sitk
from scipy.ndimage import affine_transform

from tests.conftest import oblique_affine
from volumetric.imaging.geometry import Space, with_spacing
from volumetric.imaging.resample import resample


def linear_ramp(space: Space) -> np.ndarray:
    """World coordinate x + 2y - z of each voxel: interpolation must reproduce it exactly."""
    index = np.stack(np.meshgrid(*map(np.arange, space.shape), indexing="ij"), -1)
    points = index @ space.affine[:3, :3].T + space.affine[:3, 3]
    return (points @ [1.0, 2.0, -1.0]).astype(np.float32)


@pytest.mark.parametrize("interpolation", ["linear", "cubic"])
def test_a_linear_ramp_stays_where_it_is_in_the_world(interpolation):
    source = Space((26, 24, 22), oblique_affine("PIR", spacing=(1.0, 1.2, 1.5)))
    target = with_spacing(source, (1.3, 0.8, 1.1))
    moved = resample(linear_ramp(source), source, target, interpolation)
    inside = (slice(6, -6),) * 3  # cubic B-splines ring near the border
    # coarser along axis 0, so the ramp is smoothed there too, which leaves a ramp a ramp
    np.testing.assert_allclose(moved[inside], linear_ramp(target)[inside], atol=2e-2)


def test_linear_agrees_with_scipy_on_a_rotated_grid():
    volume = np.random.default_rng(0).standard_normal((12, 15, 11)).astype(np.float32)
    source = Space(volume.shape, oblique_affine("LAS", spacing=(1.0, 1.0, 1.0), degrees=20))
    target = Space((10, 9, 14), oblique_affine("RAS", spacing=(0.9, 0.9, 0.9), degrees=5))
    target.affine[:3, 3] += source.affine[:3, :3] @ [9, 3, 1]
    out2in = np.linalg.inv(source.affine) @ target.affine
    expected = affine_transform(volume, out2in[:3, :3], out2in[:3, 3], output_shape=target.shape, order=1, cval=0.0)
    coordinates = np.stack(np.meshgrid(*map(np.arange, target.shape), indexing="ij"), -1) @ out2in[:3, :3].T
    coordinates += out2in[:3, 3]
    inside = ((coordinates >= 0) & (coordinates <= np.array(volume.shape) - 1)).all(-1)
    assert inside.mean() > 0.2
    np.testing.assert_allclose(resample(volume, source, target)[inside], expected[inside], atol=1e-4)


def test_labels_stay_whole_and_outside_is_zero():
    labels = np.random.default_rng(1).integers(1, 4, (9, 8, 7))
    source = Space(labels.shape, oblique_affine(spacing=(1.0, 1.0, 1.0)))
    target = with_spacing(source, (0.6, 0.6, 0.6))
    target.affine[:3, 3] += 3
    moved = resample(labels, source, target, "nearest")
    assert set(np.unique(moved)) == {0.0, 1.0, 2.0, 3.0}


def test_a_checkerboard_finer_than_the_target_does_not_alias():
    source = Space((40, 40, 40), np.diag([1.0, 1, 1, 1]))
    board = np.indices(source.shape).sum(0) % 2
    coarse = resample(board, source, with_spacing(source, (3.0, 3.0, 3.0)))
    assert np.abs(coarse[2:-2, 2:-2, 2:-2] - 0.5).max() < 0.02


def test_itk_uses_one_thread_where_addresses_are_limited(monkeypatch):
    threads = []

    def counting(*arguments):
        threads.append(sitk.ProcessObject.GetGlobalDefaultNumberOfThreads())
        return itk_resample(*arguments)

    itk_resample = sitk.Resample
    monkeypatch.setattr(sitk, "Resample", counting)
    usual = sitk.ProcessObject.GetGlobalDefaultNumberOfThreads()
    sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(3)
    before = resource.getrlimit(resource.RLIMIT_AS)
    space = Space((9, 8, 7), np.eye(4))
    try:
        for limit in (before, (1 << 46, before[1])):
            resource.setrlimit(resource.RLIMIT_AS, limit)
            resample(linear_ramp(space), space, space)
        assert sitk.ProcessObject.GetGlobalDefaultNumberOfThreads() == 3
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)
        sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(usual)
    assert threads == [3, 1]
