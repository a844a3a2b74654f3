import nibabel as nib
import numpy as np
import pytest

from tests.conftest import ORIENTATIONS, oblique_affine
from volumetric.imaging.geometry import (
    Space,
    bounding_box,
    crop,
    flips_to_ras,
    same_space,
    spacing_mm,
    with_spacing,
)


def world(affine, index):
    return affine[:3, :3] @ np.asarray(index, float) + affine[:3, 3]


def test_spacing_is_the_norm_of_the_columns_whatever_the_rotation():
    np.testing.assert_allclose(spacing_mm(oblique_affine(spacing=(0.7, 3.0, 1.1))), [0.7, 3.0, 1.1])


@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_flips_keep_every_voxel_at_its_place_in_the_world(orientation):
    space = Space((3, 4, 5), oblique_affine(orientation))
    array = np.arange(60.0).reshape(3, 4, 5)
    flips = flips_to_ras(space.affine)
    upright, upright_space = flips.apply(array), flips.apply_to_space(space)
    assert upright.shape == upright_space.shape
    assert nib.aff2axcodes(upright_space.affine) == ("R", "A", "S")
    for value in (0.0, 7.0, 33.0, 59.0):
        before = world(space.affine, np.argwhere(array == value)[0])
        after = world(upright_space.affine, np.argwhere(upright == value)[0])
        np.testing.assert_allclose(after, before, atol=1e-9)


@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_flips_invert_exactly(orientation):
    array = np.random.default_rng(0).standard_normal((3, 4, 5))
    flips = flips_to_ras(oblique_affine(orientation))
    np.testing.assert_array_equal(flips.invert(flips.apply(array)), array)


def test_flips_agree_with_nibabel():
    affine = oblique_affine("PIR")
    image = nib.as_closest_canonical(nib.Nifti1Image(np.arange(60.0).reshape(3, 4, 5), affine))
    flips = flips_to_ras(affine)
    np.testing.assert_array_equal(flips.apply(np.arange(60.0).reshape(3, 4, 5)), image.get_fdata())
    np.testing.assert_allclose(flips.apply_to_space(Space((3, 4, 5), affine)).affine, image.affine, atol=1e-5)


def test_with_spacing_keeps_the_center_and_rounds_the_size_up():
    space = Space((5, 8, 6), oblique_affine(spacing=(1.0, 1.0, 2.0)))
    coarse = with_spacing(space, (2.0, 2.0, 2.0))
    assert coarse.shape == (3, 4, 6)
    np.testing.assert_allclose(coarse.spacing_mm, 2.0)
    np.testing.assert_allclose(world(coarse.affine, (1, 1.5, 2.5)), world(space.affine, (2, 3.5, 2.5)))


def test_with_spacing_of_its_own_is_the_same_grid():
    space = Space((5, 8, 6), oblique_affine(spacing=(1.1, 0.9, 2.0)))
    assert same_space(with_spacing(space, (1.1, 0.9, 2.0)), space, tolerance_mm=1e-9)


def test_with_spacing_counts_no_voxel_for_the_rounding_of_a_float32_header():
    affine = oblique_affine(spacing=(4.0, 5.0, 4.5)).astype(np.float32).astype(float)
    affine[:3, 0] *= 1 + 1e-7
    assert with_spacing(Space((31, 37, 29), affine), (4.0, 4.0, 4.0)).shape == (31, 47, 33)


def test_same_space_measures_at_the_corners_in_millimeters():
    affine = oblique_affine(spacing=(1.0, 1.0, 1.0))
    turned = affine.copy()
    turned[:3, 0] *= 1 + 1e-3  # 0.1 mm at the far end of 101 voxels
    assert same_space(Space((101, 5, 5), affine), Space((101, 5, 5), turned), tolerance_mm=0.11)
    assert not same_space(Space((101, 5, 5), affine), Space((101, 5, 5), turned), tolerance_mm=0.09)
    assert not same_space(Space((4, 5, 5), affine), Space((5, 5, 4), affine))


def test_crop_follows_the_bounding_box():
    mask = np.zeros((6, 7, 8), bool)
    mask[2:4, 1:6, 5] = True
    box = bounding_box(mask)
    assert box == (slice(2, 4), slice(1, 6), slice(5, 6))
    space = Space(mask.shape, oblique_affine())
    cropped = crop(space, box)
    assert cropped.shape == (2, 5, 1)
    np.testing.assert_allclose(world(cropped.affine, (0, 0, 0)), world(space.affine, (2, 1, 5)))
    with pytest.raises(ValueError, match="empty"):
        bounding_box(np.zeros((2, 2, 2), bool))
