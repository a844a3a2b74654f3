import numpy as np
import pytest

from tests.evaluation.subjects import normalized_pair
from volumetric.evaluation.downstream import clipped_fraction, lesion_visibility, tissue_agreement
from volumetric.evaluation.subject import NormalizedSubject
from volumetric.imaging.geometry import Space
from volumetric.manifest import ManifestRow

MM = np.ones(3)


def test_the_truth_itself_agrees_and_noise_does_not():
    subject = normalized_pair()
    same = tissue_agreement(subject, subject.truth)
    assert same == {tissue: {"dice": 1, "volume_bias": 0} for tissue in ("csf", "gm", "wm")}
    noise = np.random.default_rng(0).normal(0, 0.5, subject.truth.shape)
    noisy = tissue_agreement(subject, (np.abs(subject.truth + noise) * subject.mask).astype(np.float32))
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
    return (
        NormalizedSubject(ManifestRow("p"), truth, truth, white, "given", Space(shape, np.eye(4)), 1.0, 1.0),
        lesions,
        white,
    )


def test_lesions_lost_and_spots_invented_are_counted():
    subject, lesions, white = lesion_scene()
    same = lesion_visibility(subject, subject.truth, lesions, white, MM)
    assert (same["lesions_marked"], same["lesions_lost"], same["spots_invented"]) == (2, 0, 0)
    assert same["cnr_truth"] == same["cnr_prediction"] == pytest.approx(0.3 / 0.02, rel=0.15)
    made = subject.truth.copy()
    made[18:22, 20:24, 12:16] -= 0.3  # the larger lesion is gone
    made[20:23, 5:9, 20:23] += 0.3  # and a spot is new
    made[3, 3, 3] += 0.5  # one voxel is noise
    found = lesion_visibility(subject, made, lesions, white, MM)
    assert (found["lesions_marked"], found["lesions_lost"], found["spots_invented"]) == (2, 1, 1)
    assert found["cnr_truth"] == same["cnr_truth"]
    assert found["cnr_prediction"] < 0.5 * found["cnr_truth"]


def test_sizes_count_in_mm_not_voxels():
    subject, lesions, white = lesion_scene()
    assert lesion_visibility(subject, subject.truth, lesions, white, np.array([1, 1, 1.3]))["lesions_marked"] == 3
    assert lesion_visibility(subject, subject.truth, lesions, white, MM / 2)["lesions_marked"] == 0


def test_clipped_voxels_are_counted_at_both_ends():
    prediction = np.arange(1, 25, dtype=np.float32).reshape(2, 3, 4)
    mask = prediction > 4
    assert clipped_fraction(prediction, mask) == 0
    assert clipped_fraction(prediction.clip(max=22), mask) == 3 / 20
    assert clipped_fraction(prediction - 6, mask) == 2 / 20
    assert clipped_fraction((prediction - 6).clip(0, 16), mask) == 5 / 20
