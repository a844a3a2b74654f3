"""Voxelwise errors against hand-computed numbers and scikit-image."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import pytest
from skimage.metrics import mean_squared_error, normalized_root_mse, peak_signal_noise_ratio

from volumetric.metrics.error import (
    bias,
    mae,
    mse,
    nrmse,
    psnr_affine_fit_db_of,
    psnr_db,
    psnr_truth_range_db_of,
    rmae,
    rmse,
)
from volumetric.metrics.pair import select

if TYPE_CHECKING:
    from tests.metrics.conftest import Case

# Errors 1, 0, -2, 4 on a truth that sums to 10.
TRUTH = np.array([1.0, 2.0, 3.0, 4.0]).reshape(1, 2, 2)
PREDICTION = np.array([2.0, 2.0, 1.0, 8.0]).reshape(1, 2, 2)
ALL_BUT_LAST = np.array([True, True, True, False]).reshape(1, 2, 2)


def test_by_hand() -> None:
    assert mae(TRUTH, PREDICTION) == pytest.approx(7 / 4)
    assert mse(TRUTH, PREDICTION) == pytest.approx(21 / 4)
    assert rmse(TRUTH, PREDICTION) == pytest.approx(math.sqrt(21 / 4))
    assert bias(TRUTH, PREDICTION) == pytest.approx(3 / 4)
    assert rmae(TRUTH, PREDICTION) == pytest.approx(7 / 10)
    assert nrmse(TRUTH, PREDICTION, data_range=10) == pytest.approx(math.sqrt(21 / 4) / 10)
    assert psnr_db(TRUTH, PREDICTION, data_range=10) == pytest.approx(10 * math.log10(100 * 4 / 21))


def test_by_hand_in_a_mask() -> None:
    options = {"mask": ALL_BUT_LAST}
    assert mae(TRUTH, PREDICTION, **options) == pytest.approx(3 / 3)
    assert mse(TRUTH, PREDICTION, **options) == pytest.approx(5 / 3)
    assert rmse(TRUTH, PREDICTION, **options) == pytest.approx(math.sqrt(5 / 3))
    assert bias(TRUTH, PREDICTION, **options) == pytest.approx(-1 / 3)
    assert rmae(TRUTH, PREDICTION, **options) == pytest.approx(3 / 6)
    assert nrmse(TRUTH, PREDICTION, data_range=10, **options) == pytest.approx(math.sqrt(5 / 3) / 10)
    assert psnr_db(TRUTH, PREDICTION, data_range=10, **options) == pytest.approx(10 * math.log10(100 * 3 / 5))


def test_relative_error_divides_by_the_absolute_truth() -> None:
    assert rmae(-TRUTH, -PREDICTION) == pytest.approx(7 / 10)
    assert rmae(PREDICTION, TRUTH) == pytest.approx(7 / 13)


def test_a_tenth_of_the_range_everywhere_is_20_db() -> None:
    truth = np.linspace(0, 5, 60).reshape(3, 4, 5)
    assert psnr_db(truth, truth + 0.2, data_range=2.0) == pytest.approx(20.0, abs=1e-9)


@pytest.mark.parametrize("masked", [False, True])
def test_agrees_with_scikit_image(case: Case, masked: bool) -> None:
    mask = case.mask if masked else np.ones_like(case.mask)
    option = case.mask if masked else None
    truth, prediction = case.truth[mask].astype(np.float64), case.prediction[mask].astype(np.float64)
    pair = case.truth, case.prediction
    assert mse(*pair, mask=option) == pytest.approx(mean_squared_error(truth, prediction), rel=1e-9)
    expected_psnr = peak_signal_noise_ratio(truth, prediction, data_range=case.data_range)
    assert psnr_db(*pair, data_range=case.data_range, mask=option) == pytest.approx(expected_psnr, rel=1e-9)
    truth_range = np.ptp(truth)
    expected_nrmse = normalized_root_mse(truth, prediction, normalization="min-max")
    assert nrmse(*pair, data_range=truth_range, mask=option) == pytest.approx(expected_nrmse, rel=1e-9)
    assert mae(*pair, mask=option) == pytest.approx(np.abs(prediction - truth).mean(), rel=1e-9)
    assert bias(*pair, mask=option) == pytest.approx((prediction - truth).mean(), rel=1e-9)
    assert psnr_truth_range_db_of(select(*pair, option)) == pytest.approx(
        peak_signal_noise_ratio(truth, prediction, data_range=truth_range), rel=1e-9
    )


@pytest.mark.parametrize("data_range", [0.5, 1.0, 4095.0])
def test_psnr_is_consistent_with_mse_and_range(case: Case, data_range: float) -> None:
    value = psnr_db(case.truth, case.prediction, data_range=data_range, mask=case.mask)
    error = mse(case.truth, case.prediction, mask=case.mask)
    assert value == pytest.approx(20 * math.log10(data_range) - 10 * math.log10(error), rel=1e-12)
    assert value == pytest.approx(-20 * math.log10(nrmse(*case[:2], data_range=data_range, mask=case.mask)), rel=1e-9)


def test_voxels_outside_the_mask_do_not_count(case: Case) -> None:
    elsewhere = np.where(case.mask, case.prediction, 1000).astype(np.float32)
    assert rmse(case.truth, elsewhere, mask=case.mask) == rmse(case.truth, case.prediction, mask=case.mask)


def test_sums_of_millions_of_float32_voxels_are_float64() -> None:
    rng = np.random.default_rng(5)
    truth = rng.random((120, 130, 140), dtype=np.float32) + 1000
    prediction = truth + 0.3 * rng.random(truth.shape, dtype=np.float32)
    error = prediction.astype(np.float64) - truth
    assert bias(truth, prediction) == pytest.approx(error.mean(), rel=1e-11)
    assert mse(truth, prediction) == pytest.approx((error**2).mean(), rel=1e-11)
    assert rmae(truth, prediction) == pytest.approx(np.abs(error).sum() / truth.sum(dtype=np.float64), rel=1e-11)


@pytest.mark.parametrize("order", [(1, 2, 0), (2, 1, 0), (0, 2, 1)])
def test_order_of_the_axes_does_not_matter(case: Case, order: tuple[int, int, int]) -> None:
    turned = [volume.transpose(order) for volume in case[:3]]
    for metric in (mae, mse, rmse, bias, rmae):
        expected = metric(case.truth, case.prediction, mask=case.mask)
        assert metric(turned[0], turned[1], mask=turned[2]) == pytest.approx(expected, rel=1e-12), metric.__name__


def test_equal_volumes() -> None:
    assert mae(TRUTH, TRUTH) == rmse(TRUTH, TRUTH) == bias(TRUTH, TRUTH) == rmae(TRUTH, TRUTH) == 0
    assert psnr_db(TRUTH, TRUTH, data_range=3.0) == math.inf
    assert psnr_truth_range_db_of(select(TRUTH, TRUTH, None)) == math.inf


def test_relative_error_of_a_zero_truth_is_nan() -> None:
    zero = np.zeros((3, 4, 5))
    assert math.isnan(rmae(zero, zero + 1))
    assert math.isnan(rmae(zero, zero))


def test_truth_range_psnr_of_a_constant_truth_is_nan() -> None:
    constant = np.full((3, 4, 5), 0.1)
    assert math.isnan(psnr_truth_range_db_of(select(constant, constant + 1, None)))


def test_truth_range_psnr_takes_the_range_of_the_counted_truth() -> None:
    # Counted truth is 1, 2, 3: range 2. The prediction's range is 1, the whole truth's 3.
    value = psnr_truth_range_db_of(select(TRUTH, PREDICTION, ALL_BUT_LAST))
    assert value == pytest.approx(20 * math.log10(2) - 10 * math.log10(5 / 3))


class TestAffineFit:
    def test_by_hand(self) -> None:
        # Sums of centered products: truth 5, prediction 30.75, mixed 8.5.
        value = psnr_affine_fit_db_of(select(TRUTH, PREDICTION, None), 10.0)
        assert value == pytest.approx(20 - 10 * math.log10((5 - 8.5**2 / 30.75) / 4))

    def test_agrees_with_least_squares(self, case: Case) -> None:
        truth, prediction = case.truth[case.mask].astype(np.float64), case.prediction[case.mask].astype(np.float64)
        slope, intercept = np.polyfit(prediction, truth, 1)
        expected = peak_signal_noise_ratio(truth, slope * prediction + intercept, data_range=case.data_range)
        value = psnr_affine_fit_db_of(select(*case[:3]), case.data_range)
        assert value == pytest.approx(expected, rel=1e-9)
        assert value > psnr_db(*case[:2], data_range=case.data_range, mask=case.mask) + 0.05

    def test_does_not_see_scale_and_offset(self, case: Case) -> None:
        voxels = select(*case[:3])
        moved = select(case.truth, 30 * case.prediction.astype(np.float64) - 7, case.mask)
        assert psnr_affine_fit_db_of(moved, 1.0) == pytest.approx(psnr_affine_fit_db_of(voxels, 1.0), rel=1e-9)

    def test_an_exactly_affine_prediction_is_perfect(self, case: Case) -> None:
        assert psnr_affine_fit_db_of(select(case.truth, 2 * case.truth.astype(np.float64) + 1, None), 1.0) > 250

    def test_a_constant_prediction_leaves_the_spread_of_the_truth(self, case: Case) -> None:
        value = psnr_affine_fit_db_of(select(case.truth, np.full_like(case.truth, 0.1), None), 1.0)
        assert value == pytest.approx(-10 * math.log10(case.truth.astype(np.float64).var()), rel=1e-9)
