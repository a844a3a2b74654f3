"""Outputs of a network that count as an image of a brain, and those that do not."""

import numpy as np
import pytest

from volumetric.model.plausibility import PredictionError, check_prediction

MASK = np.zeros((6, 7, 8), bool)
MASK[1:5, 2:6, 1:7] = True
BRAIN = np.where(MASK, np.linspace(0.2, 2.4, MASK.size, dtype=np.float32).reshape(MASK.shape), 0)


def test_a_brain_counts_and_what_lies_outside_the_mask_does_not():
    check_prediction(BRAIN, MASK, 2.5)
    check_prediction(np.where(MASK, BRAIN, np.nan), MASK, 2.5)


@pytest.mark.parametrize("voxel", [np.nan, np.inf, -np.inf])
def test_one_voxel_that_is_not_finite_is_enough(voxel):
    broken = BRAIN.copy()
    broken[2, 3, 4] = voxel
    with pytest.raises(PredictionError, match="NaN or infinite"):
        check_prediction(broken, MASK, 2.5)


@pytest.mark.parametrize("values", [np.full_like(BRAIN, 1.0), -BRAIN, 1 + 1e-6 * BRAIN, 1e-9 * BRAIN])
def test_a_constant_a_negative_and_an_almost_constant_output_are_refused(values):
    with pytest.raises(PredictionError, match="constant in the mask"):
        check_prediction(values, MASK, 2.5)


@pytest.mark.parametrize("factor", [0.005, 1e3, 1e30])
def test_values_far_from_the_data_range_are_refused(factor):
    with pytest.raises(PredictionError, match=r"99\.5th percentile"):
        check_prediction((BRAIN * factor).astype(np.float32), MASK, 2.5)
