import numpy as np
import pytest

from tests.conftest import brain_pair
from volumetric.evaluation.downstream import lesion_visibility, tissue_agreement
from volumetric.evaluation.pairing import Scored
from volumetric.evaluation.regions import RegionError, regions
from volumetric.evaluation.segmentation import combine, segment
from volumetric.imaging.nifti import Image, write_image
from volumetric.manifest import ManifestRow

MM = np.ones(3)


def scored_pair(seed=0):
    t1w, t2w = brain_pair(seed)
    mask = t1w.array != 0
    source, truth = (np.where(mask, i.array / np.median(i.array[mask]), 0).astype(np.float32) for i in (t1w, t2w))
    return Scored(source, truth, mask, "given", t2w, 1.0, 1.0)


def test_the_classes_of_a_three_tone_head_are_its_tones():
    rng = np.random.default_rng(0)
    mask = np.zeros((17, 19, 15), bool)
    mask[2:-2, 2:-3, 1:-2] = True
    known = np.where(mask, 1 + 3 * np.arange(17)[:, None, None] // 17, 0)
    image = np.where(mask, known * 0.3 + rng.normal(0, 0.01, mask.shape), 0).astype(np.float32)
    assert (segment(image, mask) == known).mean() > 0.99


def test_both_contrasts_in_one_by_hand():
    t1w = np.array([[[1.0, 0.5, 3.0]]], np.float32)
    t2w = np.array([[[1.0, 1.5, 1.0]]], np.float32)
    mask = np.array([[[True, True, False]]])
    assert combine(t1w, t2w, mask).ravel().tolist() == [0.0, -0.5, 0.0]


def test_the_truth_itself_agrees_and_noise_does_not():
    scored = scored_pair()
    same = tissue_agreement(scored, scored.truth)
    assert same == {tissue: {"dice": 1, "volume_bias": 0} for tissue in ("csf", "gm", "wm")}
    noise = np.random.default_rng(0).normal(0, 0.5, scored.truth.shape)
    noisy = tissue_agreement(scored, (np.abs(scored.truth + noise) * scored.mask).astype(np.float32))
    assert all(noisy[tissue]["dice"] < 0.9 for tissue in ("gm", "wm"))
    assert noisy["gm"]["volume_bias"] < 0 < noisy["wm"]["volume_bias"]


def lesion_scene():
    """White matter of mean 1 and SD 0.02; three lesions of contrast 0.3, the smallest under 10 mm3."""
    rng = np.random.default_rng(0)
    shape = (30, 34, 28)
    white = np.zeros(shape, bool)
    white[2:-2, 2:-2, 2:-2] = True
    truth = (1 + rng.normal(0, 0.02, shape)).astype(np.float32) * white
    lesions = np.zeros(shape, bool)
    for corner, side in (((6, 6, 6), 3), ((18, 20, 12), 4), ((8, 24, 20), 2)):
        lesions[tuple(slice(c, c + side) for c in corner)] = True
    truth += 0.3 * lesions
    return Scored(truth, truth, white, "given", Image(truth, np.eye(4)), 1.0, 1.0), lesions, white


def test_lesions_lost_and_spots_invented_are_counted():
    scored, lesions, white = lesion_scene()
    same = lesion_visibility(scored, scored.truth, lesions, white, MM)
    assert (same["lesions_marked"], same["lesions_lost"], same["spots_invented"]) == (2, 0, 0)
    assert same["cnr_truth"] == same["cnr_prediction"] == pytest.approx(0.3 / 0.02, rel=0.15)
    made = scored.truth.copy()
    made[18:22, 20:24, 12:16] -= 0.3  # the larger lesion is gone
    made[20:23, 5:9, 20:23] += 0.3  # and a spot is new
    made[3, 3, 3] += 0.5  # one voxel is noise
    found = lesion_visibility(scored, made, lesions, white, MM)
    assert (found["lesions_marked"], found["lesions_lost"], found["spots_invented"]) == (2, 1, 1)
    assert found["cnr_truth"] == same["cnr_truth"]
    assert found["cnr_prediction"] < 0.5 * found["cnr_truth"]


def test_sizes_count_in_mm_not_voxels():
    scored, lesions, white = lesion_scene()
    assert lesion_visibility(scored, scored.truth, lesions, white, np.array([1, 1, 1.3]))["lesions_marked"] == 3
    assert lesion_visibility(scored, scored.truth, lesions, white, MM / 2)["lesions_marked"] == 0


def test_regions_are_those_given_inside_the_brain(tmp_path):
    scored = scored_pair()
    labels = np.resize(np.arange(4), scored.mask.shape).astype(np.float32)
    affine = scored.grid.affine
    for name, array in (("tissues", labels), ("lesions", (labels == 2).astype(np.float32))):
        write_image(tmp_path / f"{name}.nii.gz", Image(array, affine))
    row = ManifestRow("p", paths={name: tmp_path / f"{name}.nii.gz" for name in ("tissues", "lesions")})
    found, tissues = regions(row, scored, data_range=2.5, automatic=False)
    assert list(found) == ["brain", "whole", "foreground", "csf", "gm", "wm", "lesions"]
    assert np.array_equal(found["gm"], (labels == 2) & scored.mask)
    assert np.array_equal(found["lesions"], found["gm"])
    assert np.array_equal(found["foreground"], scored.mask & (scored.truth > 0.0625))
    assert np.array_equal(tissues, labels)
    bare, nothing = regions(ManifestRow("p"), scored, data_range=2.5, automatic=False)
    assert list(bare) == ["brain", "whole", "foreground"]
    assert nothing is None
    write_image(tmp_path / "lesions.nii.gz", Image(labels[1:], affine))
    with pytest.raises(RegionError, match=r"subject p: `lesions` .* different grids"):
        regions(row, scored, data_range=2.5, automatic=False)
