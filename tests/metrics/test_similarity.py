"""Pearson's correlation and mutual information against hand-computed numbers, SciPy and scikit-image."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import pytest
from scipy import stats
from skimage.measure import pearson_corr_coeff
from skimage.metrics import normalized_mutual_information as skimage_nmi

from volumetric.metrics.similarity import normalized_mutual_information, pearson

if TYPE_CHECKING:
    from tests.metrics.conftest import Case


def test_by_hand() -> None:
    truth = np.array([1.0, 2.0, 3.0, 4.0]).reshape(2, 1, 2)
    prediction = np.array([2.0, 2.0, 1.0, 8.0]).reshape(2, 1, 2)
    assert pearson(truth, prediction) == pytest.approx(8.5 / math.sqrt(5 * 30.75), rel=1e-12)


def test_agrees_with_scipy_and_scikit_image(case: Case) -> None:
    truth, prediction = case.truth.astype(np.float64), case.prediction.astype(np.float64)
    value = pearson(case.truth, case.prediction, mask=case.mask)
    assert value == pytest.approx(stats.pearsonr(truth[case.mask], prediction[case.mask]).statistic, rel=1e-9)
    assert value == pytest.approx(pearson_corr_coeff(truth, prediction, mask=case.mask)[0], rel=1e-9)
    whole = pearson(case.truth, case.prediction)
    assert whole == pytest.approx(stats.pearsonr(truth.ravel(), prediction.ravel()).statistic, rel=1e-9)
    assert abs(whole - value) > 1e-4


def test_a_large_offset_costs_no_digits(case: Case) -> None:
    truth, prediction = case.truth.astype(np.float64) + 1e6, case.prediction.astype(np.float64) - 1e6
    assert pearson(truth, prediction) == pytest.approx(pearson(case.truth, case.prediction), rel=1e-8)


def test_follows_the_sign_and_stays_within_one(case: Case) -> None:
    for slope in (0.37, 3.0, 1e-3):
        assert 1 - 1e-12 < pearson(case.truth, slope * case.truth.astype(np.float64) + 2) <= 1
        assert -1 <= pearson(case.truth, -slope * case.truth.astype(np.float64)) < -1 + 1e-12


@pytest.mark.parametrize("order", [(1, 2, 0), (2, 1, 0)])
def test_order_of_the_axes_does_not_matter(case: Case, order: tuple[int, int, int]) -> None:
    turned = [volume.transpose(order) for volume in case[:3]]
    expected = pearson(case.truth, case.prediction, mask=case.mask)
    assert pearson(turned[0], turned[1], mask=turned[2]) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("value", [0.0, 0.1, 1e5 + 0.1])
def test_a_constant_volume_has_no_correlation(case: Case, value: float) -> None:
    constant = np.full(case.truth.shape, value)
    assert math.isnan(pearson(constant, case.prediction))
    assert math.isnan(pearson(case.truth, constant))


def test_a_single_voxel_has_no_correlation(case: Case) -> None:
    mask = np.zeros(case.truth.shape, bool)
    mask[3, 4, 5] = True
    assert math.isnan(pearson(case.truth, case.prediction, mask=mask))


def test_nmi_by_hand() -> None:
    truth = np.repeat([0.0, 1.0], 4).reshape(2, 2, 2)
    assert normalized_mutual_information(truth, 5 - 3 * truth, bins=2) == pytest.approx(2)
    prediction = np.tile([0.0, 0.0, 1.0, 1.0], 2).reshape(2, 2, 2)
    assert normalized_mutual_information(truth, prediction, bins=2) == pytest.approx(1)
    # joint probabilities 3/8, 1/8, 1/8, 3/8
    prediction = np.array([0, 0, 0, 1, 0, 1, 1, 1.0]).reshape(2, 2, 2)
    joint = -(6 / 8 * math.log(3 / 8) + 2 / 8 * math.log(1 / 8))
    assert normalized_mutual_information(truth, prediction, bins=2) == pytest.approx(2 * math.log(2) / joint)
    assert math.isnan(normalized_mutual_information(truth, np.ones_like(truth)))


def test_nmi_agrees_with_scikit_image_and_sees_one_bright_voxel_as_one(case: Case) -> None:
    truth, prediction = (v.astype(np.float64) for v in (case.truth, case.prediction))
    clipped = [np.clip(v, *np.quantile(v, [0.005, 0.995], method="nearest")) for v in (truth, prediction)]
    value = normalized_mutual_information(case.truth, case.prediction, bins=20)
    assert value == pytest.approx(skimage_nmi(*clipped, bins=20), rel=1e-3)
    truth[0, 0, 0] = 1e9
    assert normalized_mutual_information(truth, case.prediction, bins=20) == pytest.approx(value, rel=1e-2)
