import builtins

import numpy as np
import pytest
from scipy.ndimage import binary_fill_holes, gaussian_filter, label

from tests.conftest import ORIENTATIONS, SCALP_MM, brain_pair, distances_mm, head_pair, oblique_affine
from volumetric.imaging.geometry import Space, spacing_mm
from volumetric.imaging.mask import (
    MaskError,
    brain_mask,
    find_extracted_brain,
    head_mask,
    in_view,
    is_extracted,
    region_mask,
)
from volumetric.imaging.nifti import Image, read_image


def test_nonzero_keeps_the_largest_component_and_fills_holes():
    t1w, _ = brain_pair(0)
    array = t1w.array.copy()
    inside = array != 0
    array[15, 18, 14] = 0  # a hole in the middle
    array[0, 0, 0] = 5  # a speck in a corner
    mask, rule = brain_mask(Image(array, t1w.affine))
    assert rule == "nonzero"
    np.testing.assert_array_equal(mask, inside)


@pytest.mark.parametrize("seed", range(3))
def test_holes_are_filled_as_scipy_fills_them(seed):
    volume = gaussian_filter(np.random.default_rng(seed).normal(size=(23, 31, 27)), 1.2) > -0.05
    components, _ = label(volume)
    largest = components == np.bincount(components.ravel())[1:].argmax() + 1
    filled = binary_fill_holes(largest)
    assert (filled != largest).any()
    image = Image((volume * 100).astype(np.float32), np.eye(4))
    np.testing.assert_array_equal(brain_mask(image).array, filled)


def test_a_head_whose_air_is_zero_is_not_taken_for_a_brain(monkeypatch):
    """Raw scans of some scanners are 0 in a third of their voxels; their nonzero voxels are head, not brain."""
    monkeypatch.setattr("volumetric.imaging.mask._deepbet", lambda source, name: source.array > 900)
    head = np.zeros((20, 22, 24), np.float32)
    head[3:17, 3:19, 3:21] = 500  # at 10 mm: 4.0 liters
    head[6:12, 6:14, 6:14] = 1000
    mask, rule = brain_mask(Image(head, np.diag([10.0, 10, 10, 1])))
    assert rule == "deepbet"
    assert mask.sum() == 6 * 8 * 8
    assert brain_mask(Image(head, np.diag([8.0, 8, 8, 1]))).rule == "nonzero"  # 2.1 liters


@pytest.mark.parametrize("spacing", [(0.7, 0.8, 4.0), (2.0, 2.5, 3.0)])
@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_brain_and_head_in_air_of_0_are_told_by_volume_and_by_the_cut(orientation, spacing):
    """Balls: a brain of 1.44 liters, whole and cut in 80 cm2, a head of 4.2 liters, one of 1.6 cut in 181 cm2."""
    affine = oblique_affine(orientation, spacing=spacing)
    shape = tuple(int(210 / side) for side in spacing)
    last = np.array(shape) - 1
    rng = np.random.default_rng(0)

    def reason(radius_mm, below_center_mm):
        """Of a ball whose center lies that far from the first slice of the last axis."""
        center = last / 2
        center[2] = below_center_mm / spacing[2] - 0.5
        placed = affine.copy()
        placed[:3, 3] = -placed[:3, :3] @ center
        inside = distances_mm(Space(shape, placed)) < radius_mm
        values = (inside * rng.uniform(50, 900, shape)).astype(np.float32)
        return find_extracted_brain(Image(values, placed)).reason

    assert reason(70, 100).startswith("the scan is brain-extracted: 14")
    assert reason(70, 48.4).startswith("the scan is brain-extracted: 13")  # cut in a circle with a radius of 50.5 mm
    assert "4.2 liters" in reason(100, 104)
    assert "the image's border cuts 1" in reason(80, 25)


def test_noise_in_the_air_is_not_brain_extracted():
    t1w, _, _ = head_pair(0)
    brain, reason = find_extracted_brain(t1w)
    assert brain is None
    assert reason == "the scan is not brain-extracted: 0 % of its voxels are 0"


@pytest.mark.real
def test_real_heads_without_a_face_and_extracted_brains_are_told_apart(real_scans):
    raw, mni = real_scans / "ljubljana_ms/raw", real_scans / "ljubljana_ms/mni"
    for path, extracted in ((raw / "patient01_study1/t1w.nii.gz", False), (mni / "patient19/t2w.nii.gz", True)):
        assert (find_extracted_brain(read_image(path)).brain is not None) == extracted


def test_a_given_mask_wins_over_the_image():
    t1w, _ = brain_pair(0)
    given = np.zeros(t1w.array.shape, np.uint8)
    given[10:20, 10:20, 10:20] = 2
    mask, rule = brain_mask(t1w, Image(given, t1w.affine))
    assert rule == "given"
    np.testing.assert_array_equal(mask, given > 0)


def test_a_mask_on_another_grid_or_empty_or_a_blank_scan_is_refused():
    t1w, _ = brain_pair(0)
    with pytest.raises(MaskError, match="another grid"):
        brain_mask(t1w, Image(np.ones(t1w.array.shape, np.uint8), oblique_affine(degrees=12)))
    with pytest.raises(MaskError, match="empty"):
        brain_mask(t1w, Image(np.zeros(t1w.array.shape, np.uint8), t1w.affine))
    with pytest.raises(MaskError, match=r"scan\.nii: every voxel is zero"):
        brain_mask(t1w.with_array(np.zeros((4, 4, 4))), name="scan.nii")


def test_a_head_with_its_skull_names_the_install_command_when_deepbet_is_absent(monkeypatch):
    real_import = builtins.__import__

    def without_deepbet(name, *args, **kwargs):
        if name.startswith("deepbet"):
            raise ImportError(name)
        return real_import(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without_deepbet)
    head = np.random.default_rng(0).uniform(1, 2, (8, 9, 10))
    with pytest.raises(MaskError, match=r"volumetric\[prepare\]"):
        brain_mask(Image(head, np.eye(4)))


@pytest.mark.real
def test_deepbet_finds_the_brain_of_a_raw_scan_in_its_own_orientation(real_scans):
    pytest.importorskip("deepbet")
    scan = read_image(real_scans / "ljubljana_ms/raw/patient04_study1/t1w.nii.gz")
    mask, rule = brain_mask(scan)
    assert rule == "deepbet"
    assert mask.shape == scan.array.shape
    assert 1000 < mask.sum() * np.prod(spacing_mm(scan.affine)) / 1000 < 2000  # ml
    assert np.median(scan.array[mask]) > 2 * np.median(scan.array[~mask])
    flipped = Image(scan.array[::-1], scan.affine @ [[-1, 0, 0, scan.array.shape[0] - 1], *np.eye(4)[1:]])
    again, _ = brain_mask(flipped)
    overlap = (again[::-1] & mask).sum() / (again[::-1] | mask).sum()
    assert overlap > 0.99


def test_deepbet_without_a_brain_is_an_error_that_says_so():
    pytest.importorskip("deepbet")
    flat = np.ones((40, 42, 44), np.float32)
    with pytest.raises(MaskError, match=r"flat\.nii: deepbet finds no brain"):
        brain_mask(Image(flat, np.eye(4)), name="flat.nii")


def test_item_10_a_slice_and_a_line_are_no_brain_to_deepbet_either():
    pytest.importorskip("deepbet")
    for shape in ((30, 31, 1), (300, 1, 1)):
        noise = np.random.default_rng(0).random(shape, np.float32) + 1
        with pytest.raises(MaskError, match=r"thin\.nii: deepbet finds no brain"):
            brain_mask(Image(noise, oblique_affine()), name="thin.nii")


@pytest.mark.parametrize("noise", [0.0, 0.03, 0.06])
@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_the_head_reaches_to_the_outer_rim_of_the_scalp_and_holds_the_dark_skull(orientation, noise):
    t1w, _, brain = head_pair(0, orientation, noise)
    head, radius = head_mask(t1w, brain.array > 0), distances_mm(t1w.space)
    assert head[radius < SCALP_MM[1] - 2].all()
    assert not head[radius > SCALP_MM[1] + 5].any()
    assert not is_extracted(head, brain.array > 0)
    np.testing.assert_array_equal(region_mask("head", t1w, brain.array > 0), head)
    np.testing.assert_array_equal(region_mask("brain", t1w, brain.array > 0), brain.array > 0)


def test_a_head_that_the_grid_cuts_is_solid_where_it_is_cut():
    """Its skull is open to the image's border there, so it is no hole in 3D."""
    t1w, _, brain = head_pair(0)
    lowest = distances_mm(t1w.space)[:, :, 0]
    skull = (lowest > 57) & (lowest < 62)
    assert skull.any()
    assert head_mask(t1w, brain.array > 0)[:, :, 0][skull].all()


def test_a_ghost_beside_the_head_is_air():
    t1w, _, brain = head_pair(0)
    t1w.array[:3, :3, :3] = 500
    assert not head_mask(t1w, brain.array > 0)[:3, :3, :3].any()


def test_the_head_of_an_extracted_brain_is_about_the_brain():
    t1w, _ = brain_pair(0)
    brain = brain_mask(t1w).array
    head = head_mask(t1w, brain)
    assert head[brain].all()
    assert is_extracted(head, brain)


def test_what_lies_beyond_a_resampled_scan_is_out_of_view_and_a_dark_voxel_in_it_is_not():
    array = np.zeros((6, 7, 8), np.float32)
    array[1:5, 2:6, 3:] = 1
    array[3, 4, 5] = 0
    expected = np.zeros(array.shape, bool)
    expected[1:5, 2:6, 3:] = True
    np.testing.assert_array_equal(in_view(array), expected)
