"""Raw scans on one grid: what must not change does not, and what moves is where it belongs."""

import numpy as np
import pytest

from tests.conftest import distances_mm, head_pair, raw_pair
from volumetric.config.preparation import PreparationConfig
from volumetric.imaging.alignment import AlignedImages, Alignment, AlignmentError, align
from volumetric.imaging.geometry import Space, displacement_mm, inverse, mask_points, same_space
from volumetric.imaging.nifti import Image
from volumetric.imaging.registration import random_moves
from volumetric.metrics.similarity import pearson

PLAIN = {"bias": {"enabled": False}, "registration": {"num_starts": 1}}


def recipe(**sections):
    return PreparationConfig.model_validate(PLAIN | sections)


@pytest.fixture(autouse=True)
def levels(monkeypatch):
    """A search without the level of 1 mm, which adds nothing to scans of 3 mm but most of the time."""
    monkeypatch.setattr("volumetric.imaging.registration.LEVELS_MM", (4.0, 2.5))


@pytest.fixture(scope="module")
def raw():
    (move,) = random_moves(1, np.zeros(3), seed=5, shift_mm=6, turn_deg=5)
    t1w, t2w = raw_pair(5, move)
    return {"t1w": t1w, "t2w": t2w}, move


def test_the_reference_keeps_every_bit_and_the_other_comes_to_it(raw):
    images, move = raw
    found = align(images, recipe(), name="p5")
    assert found.reference == "t1w"
    assert found.prepared is found.native
    assert found.rule == "nonzero"
    np.testing.assert_array_equal(found.prepared.images["t1w"].array, images["t1w"].array)
    points = mask_points(images["t1w"].space, found.prepared.mask.array)
    assert displacement_mm(inverse(move) @ found.to_contrast["t2w"], points) < 0.3
    still = raw_pair(5)[1]
    aligned = align({"t1w": images["t1w"], "t2w": still}, recipe(), name="p5").prepared.images["t2w"].array
    assert pearson(aligned, found.prepared.images["t2w"].array, mask=found.prepared.mask.array) > 0.98


def test_a_given_mask_is_used_as_given(raw):
    images, _ = raw
    mask = np.zeros(images["t1w"].array.shape, np.uint8)
    mask[10:-12, 14:-9, 9:-11] = 1
    found = align(images, recipe(), given=images["t1w"].with_array(mask), name="p5")
    assert found.rule == "given"
    np.testing.assert_array_equal(found.prepared.mask.array, mask.astype(bool))


def test_a_head_goes_back_to_the_scans_grid_with_its_scalp():
    t1w, _, brain = head_pair(0)
    space = Space((84, 86, 82), np.diag([2.0, 2, 2, 1]))
    space.affine[:3, 3] = -82
    radius = distances_mm(space)
    prepared = AlignedImages({}, Image(radius < 55, space.affine))
    native = AlignedImages({"t1w": t1w}, brain.with_array(brain.array > 0))
    found = Alignment("t1w", prepared, native, "given", {}, np.eye(4), ())
    image = Image(np.where(radius < 75, 100 + radius, 0).astype(np.float32), space.affine)
    back, alone = found.return_to_native(image, radius < 75), found.return_to_native(image)
    there = distances_mm(t1w.space)
    np.testing.assert_allclose(back.array[there < 72], 100 + there[there < 72], rtol=0.02)
    assert not back.array[there > 77].any()
    np.testing.assert_array_equal(alone.array != 0, brain.array > 0)


def test_another_grid_goes_there_and_back_through_the_world(raw):
    images, _ = raw
    found = align(images, recipe(grid={"spacing_mm": 2.0, "crop_margin_mm": 6.0}), name="p5")
    np.testing.assert_allclose(found.prepared.mask.space.spacing_mm, 2.0)
    assert found.prepared.mask.array.sum() * 8 == pytest.approx(
        found.native.mask.array.sum() * 3.0 * 2.6 * 3.2, rel=0.02
    )
    assert same_space(found.native.images["t2w"].space, images["t1w"].space)
    back = found.return_to_native(found.prepared.images["t1w"])
    assert same_space(back.space, images["t1w"].space)
    inside = found.native.mask.array
    assert pearson(images["t1w"].array, back.array, mask=inside) > 0.97
    assert not back.array[~inside].any()


def test_mni_space_is_reached_by_an_affine_and_left_by_its_inverse(simulated_scan):
    t1w = Image(simulated_scan.t1w, simulated_scan.space.affine)
    stretch = np.diag([1.08, 0.95, 1.04, 1.0])
    template = Image(t1w.array, stretch @ t1w.affine)  # so the way there is known
    found = align({"t1w": t1w}, recipe(grid={"space": "mni"}), template=template, name="p5")
    points = mask_points(t1w.space, found.native.mask.array)
    assert displacement_mm(inverse(stretch) @ found.to_prepared, points) < 0.3
    assert same_space(found.prepared.mask.space, template.space)
    back = found.return_to_native(found.prepared.images["t1w"])
    assert pearson(t1w.array, back.array, mask=found.native.mask.array) > 0.97


def test_voxels_of_a_wrong_size_are_refused_by_name(raw):
    t1w = raw[0]["t1w"]
    small = Image(t1w.array, np.diag([1e-3, 1e-3, 1e-3, 1]) @ t1w.affine)
    with pytest.raises(AlignmentError, match=r"subject p5: `t1w` has voxels of .* expected 0\.2 to 6 mm"):
        align({"t1w": small}, recipe(), name="p5")


def test_mni_needs_the_contrast_of_its_template():
    with pytest.raises(ValueError, match="needs reference `t1w`"):
        PreparationConfig.model_validate({"reference": "t2w", "grid": {"space": "mni"}})


def test_a_scan_without_the_brain_is_an_error(raw):
    t1w, t2w = raw[0].values()
    space = Space((20, 20, 20), t2w.affine)
    corner = Image(t2w.array[:20, :20, :20], space.affine)
    with pytest.raises(ValueError, match="from none of 1 starts"):
        align({"t1w": t1w, "t2w": corner}, recipe(), name="p5")
