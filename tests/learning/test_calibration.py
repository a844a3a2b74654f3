import numpy as np
import pytest
import torch

from volumetric.learning.calibration import calibrate, calibrated
from volumetric.model.spec import AffineMap
from volumetric.model.uncertainty import LAPLACE_FACTOR, UncertaintySpec


def test_the_factor_is_the_score_that_nine_of_ten_voxels_do_not_exceed():
    """Of 19 scores and the one to come, 18 of 20 are 90 %."""
    calibration = calibrate([np.arange(1.0, 20.0)])
    assert calibration.factor == 18
    assert (calibration.num_subjects, calibration.coverage) == (1, None)


def test_coverage_is_that_of_each_subject_by_the_factor_of_the_others():
    low, high = np.arange(1.0, 100.0), 2 * np.arange(1.0, 100.0)  # factors 90 and 180
    calibration = calibrate([low, high])
    assert (calibration.coverage_low, calibration.coverage_high) == (pytest.approx(45 / 99, abs=1e-4), 1)
    assert calibration.coverage == pytest.approx((45 / 99 + 1) / 2, abs=1e-4)


def test_errors_of_a_laplace_distribution_need_its_own_factor():
    errors = np.abs(np.random.default_rng(0).laplace(scale=0.3, size=(4, 50_000)))
    calibration = calibrate(list(errors / 0.3))
    assert calibration.factor == pytest.approx(LAPLACE_FACTOR, rel=0.02)
    assert calibration.coverage == pytest.approx(0.9, abs=0.005)


class Half(torch.nn.Module):
    """Half the source, and a width that is the source."""

    def forward(self, volume):
        return torch.cat([volume / 2, volume.log()], 1)


def test_a_model_gets_the_factor_of_its_validation_subjects_in_their_masks(spec, make_pair):
    """The error is 1.5 times the source, in network units as in reference units of scale 2."""
    source = np.random.default_rng(0).uniform(0.5, 2, (16, 18, 20)).astype(np.float32)
    mask = np.ones(source.shape, bool)
    mask[:, :, 10:] = False
    pairs = [make_pair(str(n), source, np.where(mask, 2 * 2 * source, 99), mask) for n in range(2)]
    own = spec.model_copy(update={"uncertainty": UncertaintySpec(), "target_map": AffineMap(center=0, scale=2)})
    result = calibrated(Half(), own, pairs, torch.device("cpu")).uncertainty.calibration
    assert result.factor == pytest.approx(1.5, rel=1e-3)
    assert result.num_subjects == 2
    assert calibrated(Half(), own, [], torch.device("cpu")) == own
    assert calibrated(Half(), spec, pairs, torch.device("cpu")) == spec
