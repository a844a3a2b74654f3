import nibabel as nib
import numpy as np
import pytest

from tests.conftest import ORIENTATIONS, brain_pair, distances_mm, head_pair, oblique_affine
from volumetric.imaging.geometry import crop, flips_to_ras, same_space
from volumetric.imaging.mask import brain_mask, head_mask
from volumetric.imaging.nifti import Image
from volumetric.imaging.resample import continue_outward, resample
from volumetric.model.space import SpaceError, model_space_of


def view_of(image, spacing_mm=None):
    return model_space_of(image.space, brain_mask(image).array, spacing_mm)


@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_there_and_back_at_the_scans_own_spacing_is_exact_to_the_bit(orientation):
    t1w, t2w = brain_pair(0, affine=oblique_affine(orientation))
    view = view_of(t1w)
    units = view.to_model_space(t2w)[0]
    mask = t1w.array != 0
    expected = np.where(mask, t2w.array / np.float32(np.median(t2w.array[mask])), 0)
    np.testing.assert_array_equal(view.from_model_space(units), expected)


@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_model_space_is_upright_and_cropped_to_the_brain(orientation):
    t1w, _ = brain_pair(0, affine=oblique_affine(orientation))
    view = view_of(t1w)
    assert nib.aff2axcodes(view.grid.affine) == ("R", "A", "S")
    assert view.grid.shape == view.mask.shape
    for axis in range(3):
        assert view.mask.take(0, axis).any()
        assert view.mask.take(-1, axis).any()
    # the voxel of model space that lies at some place in the world has the scan's value of that place
    middle = np.array(view.mask.shape) // 2
    world = view.grid.affine @ [*middle, 1]
    i, j, k = np.rint(np.linalg.solve(t1w.affine, world)[:3]).astype(int)
    expected = t1w.array[i, j, k] / np.median(t1w.array[t1w.array != 0])
    assert view.to_model_space(t1w)[0][tuple(middle)] == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_the_same_head_stored_in_another_order_is_the_same_in_model_space(orientation):
    t1w, _ = brain_pair(0)  # in RAS order already
    affine = oblique_affine(orientation)
    flips = flips_to_ras(affine)
    array = np.ascontiguousarray(flips.invert(t1w.array))
    shape_space = Image(array, affine).space
    moved = flips.apply_to_space(shape_space)
    shifted = affine.copy()  # so that the upright grid is t1w's own
    shifted[:3, :3] = (t1w.affine[:3, :3] @ np.linalg.inv(moved.affine[:3, :3])) @ affine[:3, :3]
    offset = flips.apply_to_space(Image(array, shifted).space).affine[:3, 3]
    shifted[:3, 3] += t1w.affine[:3, 3] - offset
    other = Image(array, shifted)
    for spacing in (None, (5.0, 4.0, 6.0)):
        ours, theirs = view_of(t1w, spacing), view_of(other, spacing)
        assert same_space(ours.grid, theirs.grid, tolerance_mm=1e-6)
        np.testing.assert_allclose(ours.to_model_space(t1w), theirs.to_model_space(other), atol=1e-5)


def test_resampled_there_and_back_a_smooth_volume_is_nearly_itself():
    t1w, _ = brain_pair(0)
    x, y, z = (np.linspace(0, 1, n) for n in t1w.array.shape)
    smooth = 1 + 0.3 * np.sin(3 * x)[:, None, None] * np.cos(2 * y)[None, :, None] * (1 + z)[None, None, :]
    mask = t1w.array != 0
    image = t1w.with_array((smooth * mask * 700).astype(np.float32))
    view = view_of(image, (3.0, 3.0, 3.0))
    back = view.from_model_space(view.to_model_space(image)[0])
    assert (back[~mask] == 0).all()
    expected = smooth / np.median(smooth[mask])
    error = np.abs(back - expected)[mask]
    assert np.median(error) < 0.01
    # at the rim the way there mixes in the background, the way back does not
    assert np.quantile(error, 0.95) < 0.25


def test_a_brain_that_vanishes_at_the_spacing_is_refused():
    mask = np.zeros((9, 9, 9), bool)
    mask[4, 4, 4] = True
    space = Image(mask, np.diag([0.5, 0.5, 0.5, 1])).space
    with pytest.raises(SpaceError, match="no voxel left"):
        model_space_of(space, mask, (6.0, 6.0, 6.0))


@pytest.mark.parametrize("spacing", [(6.0, 7.5, 5.0), (3.0, 4.0, 2.5), (12.0, 5.0, 4.5)])
@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_working_in_the_brains_box_gives_what_the_whole_scan_gives(orientation, spacing):
    t1w, t2w = brain_pair(0, affine=oblique_affine(orientation))
    inside = t1w.array != 0
    view = view_of(t1w, spacing)
    flips = flips_to_ras(t1w.affine)
    upright = flips.apply_to_space(t1w.space)
    units = np.where(inside, t2w.array / np.float32(np.median(t2w.array[inside])), 0)
    np.testing.assert_array_equal(view.mask, resample(flips.apply(inside), upright, view.grid) >= 0.5)
    expected = resample(flips.apply(units), upright, view.grid) * view.mask
    np.testing.assert_allclose(view.to_model_space(t2w)[0], expected, atol=1e-6)
    # and back: the model's box with 20 voxels around it, far more than a cubic spline remembers
    pad = 20
    around = crop(view.grid, tuple(slice(-pad, n + pad) for n in view.mask.shape))
    spread = continue_outward(np.pad(expected, pad), np.pad(view.mask, pad))
    back = flips.invert(resample(spread, around, upright, "cubic")) * inside
    np.testing.assert_allclose(view.from_model_space(expected), back, atol=1e-4)


def test_a_thin_end_that_model_space_cannot_hold_gets_the_nearest_value():
    t1w, _ = brain_pair(0, shape=(40, 37, 29))
    mask = t1w.array != 0
    assert not mask[:4].any()
    mask[0:20, 18, 14] = True
    view = model_space_of(t1w.space, mask, (12.0, 12.0, 12.0))
    assert view.mask.shape[0] <= 15
    back = view.from_model_space(np.full(view.mask.shape, 2.0, np.float32))
    np.testing.assert_allclose(back[mask], 2.0, atol=1e-4)
    assert (back[~mask] == 0).all()


@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_a_head_is_divided_by_the_median_of_its_brain_and_comes_back_to_the_bit(orientation):
    t1w, t2w, given = head_pair(0, orientation)
    brain = given.array > 0
    head = head_mask(t1w, brain)
    space = model_space_of(t1w.space, brain, None, head)
    assert space.grid.shape == space.mask.shape == space.brain.shape
    assert (space.mask.sum(), space.brain.sum()) == (head.sum(), brain.sum())
    units = space.to_model_space(t1w, t2w)
    assert np.median(units[0][space.brain]) == np.median(units[1][space.brain]) == 1
    np.testing.assert_array_equal(space.from_model_space(units[1]), np.where(head, t2w.array / np.float32(250), 0))


@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_scalp_lies_where_the_affine_says_at_another_spacing_and_after_the_way_back(orientation):
    t1w, t2w, given = head_pair(0, orientation)
    brain = given.array > 0
    space = model_space_of(t1w.space, brain, (3.0, 2.5, 3.5), head_mask(t1w, brain))
    there = space.to_model_space(t2w)[0]
    radius = distances_mm(space.grid)
    np.testing.assert_allclose(there[(radius > 69) & (radius < 70)], 1.2, atol=0.15)
    np.testing.assert_allclose(there[(radius > 44) & (radius < 46)], 1, atol=0.01)
    assert not there[radius > 82].any()
    assert space.mask[space.brain].all()
    back, radius = space.from_model_space(there), distances_mm(t1w.space)
    np.testing.assert_allclose(back[(radius > 69) & (radius < 70)], 1.2, atol=0.15)
    rim = (radius > 57) & (radius < 73)  # dark skull and bright scalp
    assert np.corrcoef(back[rim], t2w.array[rim])[0, 1] > 0.9
    assert not back[radius > 82].any()


def test_issue_17_20_a_scan_in_wrong_units_is_a_sentence_before_memory_is_taken():
    image = Image(np.ones((64, 65, 66), np.float32), np.diag([30.0, 30, 30, 1]))
    with pytest.raises(SpaceError, match=r"voxel size 30 x 30 x 30 mm: .* 1920 x 1950 x 1980 voxels.*units"):
        model_space_of(image.space, image.array > 0, (1.0, 1.0, 1.0))
