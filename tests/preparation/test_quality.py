"""Measurements and grades of a pair, by hand."""

import numpy as np
import pytest

from volumetric.config.preparation import QualityConfig
from volumetric.imaging.nifti import Image
from volumetric.preparation.quality import grade, signal_to_noise
from volumetric.records.preparation import PairQuality, Quality

GOOD = {"moved_mm": 2.0, "moved_deg": 1.0, "nmi_before": 1.05, "nmi_after": 1.08, "residual_mm": 0.1,
        "residual_deg": 0.1, "overlap": 1.0, "snr": 25.0}  # fmt: skip


def assessment(brain_ml=1400.0, warnings=(), **changed):
    pair = PairQuality(contrast="t2w", **(GOOD | changed))
    quality = Quality(
        reference="t1w", reference_snr=30.0, brain_ml=brain_ml, mask_rule="deepbet", pairs=(pair,), warnings=warnings
    )
    return grade(quality, QualityConfig())


def test_a_good_pair_passes_without_a_reason():
    assert assessment() == ("pass", ())


@pytest.mark.parametrize(
    ("changed", "expected", "reason"),
    [
        ({"residual_mm": 0.6}, "warn", "t2w: 0.60 mm of shift left, more than 0.5"),
        ({"residual_mm": 2.5}, "fail", "t2w: 2.50 mm of shift left, more than 2"),
        ({"residual_deg": 0.51}, "warn", "t2w: 0.51 degrees left, more than 0.5"),
        ({"overlap": 0.7}, "fail", "t2w: 0.700 of the brain is in view, less than 0.8"),
        ({"snr": 5.0}, "warn", "t2w: SNR 5.0, less than 8"),
        ({"nmi_after": 1.04}, "warn", "t2w: registration changed NMI by -0.0100, less than -0.002"),
        ({"brain_ml": 500.0}, "fail", "the brain mask has 500 ml, less than 600"),
        ({"brain_ml": 2000.0}, "warn", "the brain mask has 2000 ml, more than 1900"),
        ({"warnings": ("t1w: odd header",)}, "warn", "t1w: odd header"),
    ],
)
def test_each_threshold_gives_its_grade_and_names_the_number(changed, expected, reason):
    assert assessment(**changed) == (expected, (reason,))


def test_the_worst_reason_decides_and_comes_first():
    worst, reasons = assessment(residual_mm=0.7, overlap=0.5)
    assert worst == "fail"
    assert [reason.split(",")[0] for reason in reasons] == [
        "t2w: 0.500 of the brain is in view",
        "t2w: 0.70 mm of shift left",
    ]


def test_signal_to_noise_of_known_noise():
    rng = np.random.default_rng(0)
    array = (100 + 4 * rng.standard_normal((40, 50, 30))).astype(np.float32)
    array[:20] += 60  # an edge, which the median is robust to
    mask = np.ones(array.shape, bool)
    assert signal_to_noise(Image(array, np.eye(4)), mask) == pytest.approx(np.median(array) / 4, rel=0.03)
    assert signal_to_noise(Image(np.ones((5, 6, 7), np.float32), np.eye(4)), mask[:5, :6, :7]) == np.inf


def test_attack_9_the_noise_of_voxels_near_the_largest_float_is_finite():
    values = np.random.default_rng(0).normal(300, 3, (9, 8, 7)).astype(np.float32)
    mask = np.ones(values.shape, bool)
    expected = signal_to_noise(Image(values, np.eye(4)), mask)
    values[4, 4, 4] = 3e38
    assert signal_to_noise(Image(values, np.eye(4)), mask) == pytest.approx(expected, rel=0.05)
