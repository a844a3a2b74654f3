"""Lesions of one label map in another: an ellipsoid of white matter in cortex, oblique, with unequal sides."""

import numpy as np
import pytest

from tests.simulation.label_maps import CENTER_MM, label_map
from volumetric.imaging.geometry import mask_points
from volumetric.imaging.nifti import Image
from volumetric.simulation import given_lesions as module
from volumetric.simulation.given_lesions import given_lesions, with_given_lesions
from volumetric.simulation.label_table import LabelTableError, read_label_table

TABLE = read_label_table("freesurfer_tumor")
MS, NECROSIS, EDEMA, TUMOR, WHITE, CORTEX, FLUID = 78, 601, 602, 604, 2, 3, 24


def ball(image, label, offset_mm, radius_mm, over=(WHITE,)):
    """The map with a ball around a point, by its distance from the center of the head."""
    places = np.indices(image.array.shape).reshape(3, -1).T @ image.affine[:3, :3].T + image.affine[:3, 3]
    near = np.linalg.norm(places - CENTER_MM - offset_mm, axis=1).reshape(image.array.shape) < radius_mm
    return image.with_array(np.where(near & np.isin(image.array, over), label, image.array).astype(np.uint16))


@pytest.fixture(scope="module")
def healthy():
    return label_map()


@pytest.fixture
def still(monkeypatch):
    """Nothing is moved, turned or scaled."""
    for name in ("JITTER_MM", "TURN_DEG", "SCALE_SD"):
        monkeypatch.setattr(module, name, 0.0)


def seed_of(*, mirrored):
    return next(seed for seed in range(99) if (np.random.default_rng(seed).random() < 0.5) == mirrored)


def added(before, after):
    return before.with_array((after.array != before.array).astype(np.uint8))


def center_mm(mask):
    return mask_points(mask.space, mask.array > 0).mean(0) - CENTER_MM


def volume_ml(mask):
    return float((mask.array > 0).sum() * abs(np.linalg.det(mask.affine[:3, :3]))) / 1000


def test_each_lesion_is_found_with_its_labels_and_its_place(healthy):
    image = ball(ball(healthy, MS, (30, 20, 10), 7), TUMOR, (-30, -10, -15), 12)
    image = ball(image, NECROSIS, (-30, -10, -15), 6, over=(TUMOR,))
    found = sorted(given_lesions(image, TABLE, name="a"), key=lambda lesion: lesion.place[0])
    assert [set(np.unique(lesion.labels)) for lesion in found] == [{0, NECROSIS, TUMOR}, {0, MS}]
    for lesion, offset in zip(found, [(-30, -10, -15), (30, 20, 10)], strict=True):
        own = Image((lesion.labels > 0).astype(np.uint8), lesion.space.affine)
        np.testing.assert_allclose(mask_points(own.space, own.array > 0).mean(0), 0, atol=1e-9)
        # of an ellipsoid's points, 98 % lie within 0.882 radii of its center along an axis: (2 + 3x - x³) / 4 = 0.99
        expected = 0.5 + np.array(offset) / (2 * 0.882 * np.array([56, 70, 60]))
        np.testing.assert_allclose(lesion.place, expected, atol=0.02)


def test_voxels_up_to_2_mm_apart_are_one_lesion():
    labels = np.full((30, 9, 9), WHITE, np.uint16)
    for column in (4, 6, 12):  # the first two are 2 mm apart, the third 6 mm from them
        labels[column, 4, 4] = MS
    assert len(given_lesions(Image(labels, np.eye(4)), TABLE, name="a")) == 2


def test_a_map_without_lesions_gives_none(healthy):
    assert given_lesions(healthy, TABLE, name="a") == []


def test_a_lesion_that_is_not_moved_comes_back_voxel_by_voxel(healthy, still):
    image = ball(ball(healthy, MS, (30, 20, 10), 9), EDEMA, (-20, 30, 0), 11)
    again = with_given_lesions(
        np.random.default_rng(seed_of(mirrored=False)), healthy, TABLE, given_lesions(image, TABLE, name="a"), name="b"
    )
    np.testing.assert_array_equal(again.array, image.array)


def test_a_mirrored_lesion_lies_on_the_other_side(healthy, still):
    image = ball(healthy, MS, (30, 20, 10), 9)
    after = with_given_lesions(
        np.random.default_rng(seed_of(mirrored=True)), healthy, TABLE, given_lesions(image, TABLE, name="a"), name="b"
    )
    np.testing.assert_allclose(center_mm(added(healthy, after)), [-30, 20, 10], atol=2)
    assert volume_ml(added(healthy, after)) == pytest.approx(volume_ml(added(healthy, image)), rel=0.1)


def test_a_lesion_keeps_place_and_volume_on_another_grid(healthy, still):
    donor = label_map(np.diag([1.5, 2.0, 2.5, 1]), (102, 96, 70))
    lesions = given_lesions(ball(donor, MS, (30, 20, 10), 9), TABLE, name="a")
    after = with_given_lesions(np.random.default_rng(seed_of(mirrored=False)), healthy, TABLE, lesions, name="b")
    np.testing.assert_allclose(center_mm(added(healthy, after)), [30, 20, 10], atol=2)
    assert volume_ml(added(healthy, after)) == pytest.approx(4 / 3 * np.pi * 9**3 / 1000, rel=0.1)


def test_lesions_and_edema_replace_white_matter_alone_and_tumors_any_brain_but_no_fluid(healthy):
    surface = (0, 60, 0)  # white matter ends at 64 mm, cortex at 70, fluid at 74
    for label, replaced in ((MS, {WHITE}), (EDEMA, {WHITE}), (TUMOR, {WHITE, CORTEX})):
        lesions = given_lesions(ball(healthy, label, surface, 14, over=(WHITE, CORTEX, FLUID)), TABLE, name="a")
        for seed in range(5):
            after = with_given_lesions(np.random.default_rng(seed), healthy, TABLE, lesions, name="b")
            changed = after.array != healthy.array
            assert changed.any()
            assert set(np.unique(healthy.array[changed])) <= replaced
            assert set(np.unique(after.array[changed])) == {label}


def test_lesions_of_the_map_itself_stay(healthy):
    own = ball(healthy, MS, (30, 20, 10), 9)
    lesions = given_lesions(ball(healthy, TUMOR, (30, 20, 10), 15), TABLE, name="a")
    after = with_given_lesions(np.random.default_rng(seed_of(mirrored=False)), own, TABLE, lesions, name="a")
    assert (after.array[own.array == MS] == MS).all()
    assert (after.array == TUMOR).any()


def test_every_draw_moves_turns_and_scales_anew(healthy):
    lesions = given_lesions(ball(healthy, MS, (30, 20, 10), 9), TABLE, name="a")
    drawn = [with_given_lesions(np.random.default_rng(seed), healthy, TABLE, lesions, name="b") for seed in range(30)]
    centers = np.array([center_mm(added(healthy, image)) for image in drawn])
    assert 8 < (centers[:, 0] > 0).sum() < 22  # either side
    np.testing.assert_allclose(np.abs(centers).mean(0), [30, 20, 10], atol=4)
    np.testing.assert_allclose(np.abs(centers).std(0), module.JITTER_MM, atol=3)
    ratio = np.log([volume_ml(added(healthy, image)) for image in drawn])
    assert 0.15 < ratio.std() < 0.8  # three times SCALE_SD is 0.45


def test_what_finds_no_place_is_left_out(healthy, monkeypatch):
    lesions = given_lesions(ball(healthy, MS, (30, 20, 10), 9), TABLE, name="a")
    no_white = healthy.with_array(np.where(healthy.array == WHITE, CORTEX, healthy.array))
    after = with_given_lesions(np.random.default_rng(0), no_white, TABLE, lesions, name="b")
    np.testing.assert_array_equal(after.array, no_white.array)
    monkeypatch.setattr(module, "JITTER_MM", 1e4)  # beyond the grid
    after = with_given_lesions(np.random.default_rng(0), healthy, TABLE, lesions, name="b")
    np.testing.assert_array_equal(after.array, healthy.array)


def test_a_label_that_the_table_does_not_know_is_an_error(healthy):
    strange = healthy.with_array(np.where(healthy.array == WHITE, 999, healthy.array))
    with pytest.raises(LabelTableError, match="b: the table `freesurfer_tumor` has no tissue for label 999"):
        with_given_lesions(np.random.default_rng(0), strange, TABLE, [], name="b")
