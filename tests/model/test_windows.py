import numpy as np
import pytest
import torch
from monai.inferers import sliding_window_inference

from volumetric.model import windows
from volumetric.model.windows import importance_map, plan_windows, stitch


def everywhere(shape):
    return np.ones(shape, bool)


def test_the_drawing_in_the_docstring_is_what_happens():
    plan = plan_windows(everywhere((10, 6, 6)), (6, 6, 6), 0.5)
    assert plan.starts == ((0, 0, 0), (3, 0, 0), (4, 0, 0))
    assert plan.padded == (10, 6, 6)


@pytest.mark.parametrize("shape", [(17, 23, 19), (5, 40, 9), (16, 16, 16), (3, 4, 5)])
@pytest.mark.parametrize("overlap", [0.0, 0.25, 0.5, 0.8])
def test_every_voxel_is_covered_and_nothing_sticks_out(shape, overlap):
    plan = plan_windows(everywhere(shape), (8, 12, 16), overlap)
    covered = np.zeros(plan.padded, int)
    for box in plan.windows():
        assert covered[box].shape == (8, 12, 16)
        covered[box] += 1
    assert covered.min() >= 1
    assert len(set(plan.starts)) == len(plan.starts)


def test_windows_of_air_are_left_out():
    mask = np.zeros((32, 32, 32), bool)
    mask[2, 3, 4] = True
    assert plan_windows(mask, (8, 8, 8), 0.0).starts == ((0, 0, 0),)


def test_an_overlap_of_one_is_refused():
    with pytest.raises(ValueError, match="0 <= overlap < 1"):
        plan_windows(everywhere((8, 8, 8)), (8, 8, 8), 1.0)


@pytest.mark.parametrize("shape", [(17, 23, 19), (3, 40, 9)])
def test_stitching_a_function_of_each_voxel_gives_that_function_exactly(shape):
    volume = torch.randn(2, *shape, generator=torch.Generator().manual_seed(0))
    plan = plan_windows(everywhere(shape), (8, 16, 12), 0.5)
    stitched = stitch(volume, plan, lambda patches: patches[:, :1] + 1)
    assert stitched.shape == (1, *shape)
    torch.testing.assert_close(stitched, volume[:1] + 1, atol=2e-6, rtol=0)


def test_blending_agrees_with_monai_for_a_function_of_the_whole_window():
    volume = torch.randn(1, 24, 30, 28, generator=torch.Generator().manual_seed(1))
    weights = torch.randn(1, 1, 5, 5, 5, generator=torch.Generator().manual_seed(2))

    def predict(patches):
        return torch.nn.functional.conv3d(patches, weights, padding=2) + patches.mean((2, 3, 4), keepdim=True)

    plan = plan_windows(everywhere(volume.shape[1:]), (16, 16, 16), 0.5)
    ours = stitch(volume, plan, predict)
    theirs = sliding_window_inference(volume[None], (16, 16, 16), 1, predict, overlap=0.5, mode="gaussian")[0]
    torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=0)


def test_the_importance_map_is_symmetric_and_peaks_in_the_middle():
    weights = importance_map((8, 11, 6))
    for axis in range(3):
        torch.testing.assert_close(weights, weights.flip(axis))
    assert weights[4, 5, 3] == weights.max()
    assert weights.min() > 0
    assert weights[0, 0, 0] == weights.min()


def test_a_plan_without_windows_is_refused():
    with pytest.raises(ValueError, match="no window"):
        stitch(torch.zeros(1, 8, 8, 8), plan_windows(np.zeros((8, 8, 8), bool), (8, 8, 8), 0.5), lambda p: p)


@pytest.mark.parametrize(("gigabytes", "width", "voxels"), [(8, 25, 4_000_000), (4, 25, 2_000_000), (8, 50, 2_000_000)])
def test_a_window_may_take_a_quarter_of_the_memory(monkeypatch, gigabytes, width, voxels):
    """Of 8 GB, 2 GB at 20 bytes for each of 25 channels are 4 million voxels."""
    monkeypatch.setattr(windows, "memory_bytes", lambda: gigabytes * 10**9)
    assert windows.most_voxels(width, torch.device("cpu")) == voxels


def test_large_windows_are_the_cheapest_that_a_limit_allows():
    """One axis of 100, stride 4, so neighbors share 8: two windows of 56, three of 40, four of 32."""
    mask = everywhere((100, 12, 9))
    cuts = {limit: windows.plan_large(mask, 4, limit * 12 * 12) for limit in (100, 99, 55, 39)}
    assert {limit: plan.size[0] for limit, plan in cuts.items()} == {100: 100, 99: 56, 55: 40, 39: 32}
    assert cuts[99].starts == ((0, 0, 0), (44, 0, 0))
    assert cuts[55].starts == ((0, 0, 0), (32, 0, 0), (60, 0, 0))


@pytest.mark.parametrize("shape", [(100, 12, 9), (61, 83, 47), (5, 130, 3)])
@pytest.mark.parametrize("limit", [20_000, 60_000])
def test_large_windows_cover_every_voxel_and_stay_below_the_limit(shape, limit):
    mask = everywhere(shape)
    plan = windows.plan_large(mask, 4, limit)
    seen = np.zeros(plan.padded, int)
    for box in plan.windows():
        seen[box] += 1
    assert seen.min() >= 1
    assert np.prod(plan.size) <= limit
    assert all(side % 4 == 0 for side in plan.size)


def test_large_windows_without_a_mask_are_left_out():
    mask = everywhere((100, 12, 9))
    mask[:56] = False
    assert windows.plan_large(mask, 4, 56 * 12 * 12).starts == ((44, 0, 0),)


def test_a_limit_too_small_for_what_windows_share_gives_no_plan():
    assert windows.plan_large(everywhere((100, 100, 100)), 16, 30**3) is None


def test_one_window_is_the_functions_own_output():
    volume = torch.randn(2, 9, 14, 11, generator=torch.Generator().manual_seed(0))
    plan = windows.plan_whole((9, 14, 11), 4)
    assert plan.size == plan.padded == (12, 16, 12)
    assert plan.starts == ((0, 0, 0),)
    assert torch.equal(stitch(volume, plan, lambda window: window[:, 1:] * 3), volume[1:] * 3)
