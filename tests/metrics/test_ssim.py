"""SSIM against scikit-image, SciPy's Gaussian filter, and closed forms."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from scipy import ndimage
from skimage.metrics import structural_similarity

from volumetric.metrics.ssim import gaussian_matrix, ssim, ssim_map

if TYPE_CHECKING:
    from tests.metrics.conftest import Case

FloatArray = npt.NDArray[np.floating[Any]]


def scikit_image_map(truth: FloatArray, prediction: FloatArray, data_range: float) -> FloatArray:
    _, values = structural_similarity(
        truth.astype(np.float64),
        prediction.astype(np.float64),
        data_range=data_range,
        gaussian_weights=True,
        sigma=1.5,
        use_sample_covariance=False,
        full=True,
    )
    return values


def scipy_map(truth: FloatArray, prediction: FloatArray, data_range: float) -> FloatArray:
    """The formula of Wang et al. written out, for volumes too small for scikit-image."""

    def mean(values: FloatArray) -> FloatArray:
        return ndimage.gaussian_filter(values, 1.5, mode="reflect", truncate=3.5)

    x, y = truth.astype(np.float64), prediction.astype(np.float64)
    mean_x, mean_y = mean(x), mean(y)
    var_x, var_y = mean(x * x) - mean_x**2, mean(y * y) - mean_y**2
    covariance = mean(x * y) - mean_x * mean_y
    c1, c2 = (0.01 * data_range) ** 2, (0.03 * data_range) ** 2
    luminance = (2 * mean_x * mean_y + c1) / (mean_x**2 + mean_y**2 + c1)
    return luminance * (2 * covariance + c2) / (var_x + var_y + c2)


@pytest.mark.parametrize("size", [1, 2, 3, 4, 5, 6, 7, 10, 11, 12, 23])
def test_gaussian_matrix_is_scipys_filter_on_any_side(size: int) -> None:
    values = np.random.default_rng(size).normal(size=(size, 3))
    expected = ndimage.gaussian_filter1d(values, 1.5, axis=0, mode="reflect", truncate=3.5)
    matrix = gaussian_matrix(size).numpy()
    np.testing.assert_allclose(matrix @ values, expected, atol=1e-14)
    np.testing.assert_allclose(matrix.sum(axis=1), 1, atol=1e-14)


def test_map_is_scikit_images_map(case: Case) -> None:
    values = ssim_map(case.truth, case.prediction, data_range=case.data_range)
    assert values.dtype == torch.float32
    expected = scikit_image_map(case.truth, case.prediction, case.data_range)
    assert expected.std() > 0.01  # a map worth comparing
    np.testing.assert_allclose(values.numpy(), expected, atol=1e-6)


@pytest.mark.parametrize("shape", [(32, 13, 11), (33, 11, 12), (38, 20, 11), (71, 11, 17)])
def test_seams_between_slabs_do_not_show(shape: tuple[int, int, int]) -> None:
    rng = np.random.default_rng(7)
    truth = rng.random(shape, dtype=np.float32)
    prediction = truth + 0.2 * rng.random(shape, dtype=np.float32)
    values = ssim_map(truth, prediction, data_range=1.0)
    np.testing.assert_allclose(values.numpy(), scikit_image_map(truth, prediction, 1.0), atol=1e-6)


@pytest.mark.parametrize("shape", [(3, 4, 5), (1, 1, 7), (1, 1, 1), (2, 18, 3), (6, 5, 10)])
def test_sides_shorter_than_the_window(shape: tuple[int, int, int]) -> None:
    rng = np.random.default_rng(11)
    truth, prediction = rng.random((2, *shape))
    values = ssim_map(truth, prediction, data_range=1.3)
    np.testing.assert_allclose(values.numpy(), scipy_map(truth, prediction, 1.3), atol=1e-6)


def test_an_offset_far_above_the_range_costs_no_digits(case: Case) -> None:
    # In float32 E[x^2] - E[x]^2 would be lost entirely.
    truth, prediction = case.truth.astype(np.float64) + 1000, case.prediction.astype(np.float64) + 1000
    values = ssim_map(truth, prediction, data_range=0.5)
    np.testing.assert_allclose(values.numpy(), scikit_image_map(truth, prediction, 0.5), atol=1e-6)


@pytest.mark.parametrize(("level", "spread", "data_range"), [(1000, 0.1, 0.5), (310, 0.3, 5.0), (2, 0.1, 0.3)])
def test_a_bright_object_in_air_costs_no_digits(level: float, spread: float, data_range: float) -> None:
    rng = np.random.default_rng(5)
    axes = np.meshgrid(*[np.linspace(-1, 1, side) for side in (40, 33, 37)], indexing="ij")
    ball = sum(axis**2 for axis in axes) < 0.7
    truth = np.where(ball, level + spread * rng.normal(size=ball.shape), 0).astype(np.float32)
    prediction = np.where(ball, truth + spread * rng.normal(size=ball.shape), 0).astype(np.float32)
    values = ssim_map(truth, prediction, data_range=data_range).numpy()
    np.testing.assert_allclose(values, scikit_image_map(truth, prediction, data_range), atol=1e-6)
    brighter = truth + np.float32(level) * (ball & (axes[0] > 0)), prediction
    expected = scikit_image_map(*brighter, data_range)
    np.testing.assert_allclose(ssim_map(*brighter, data_range=data_range).numpy(), expected, atol=1e-6)


def test_mean_over_the_mask(case: Case) -> None:
    expected = scikit_image_map(case.truth, case.prediction, case.data_range)
    pair = case.truth, case.prediction
    whole = ssim(*pair, data_range=case.data_range)
    inside = ssim(*pair, data_range=case.data_range, mask=case.mask)
    assert whole == pytest.approx(expected.mean(), rel=1e-6)
    assert inside == pytest.approx(expected[case.mask].mean(), rel=1e-6)
    assert abs(whole - inside) > 1e-4


def test_mean_over_the_interior_is_scikit_images_number(case: Case) -> None:
    interior = np.zeros(case.truth.shape, bool)
    interior[5:-5, 5:-5, 5:-5] = True
    expected = structural_similarity(
        case.truth,
        case.prediction,
        data_range=case.data_range,
        gaussian_weights=True,
        use_sample_covariance=False,
    )
    value = ssim(case.truth, case.prediction, data_range=case.data_range, mask=interior)
    assert value == pytest.approx(float(expected), rel=1e-5)


@pytest.mark.parametrize("order", [(1, 2, 0), (2, 0, 1), (2, 1, 0)])
def test_order_of_the_axes_does_not_matter(case: Case, order: tuple[int, int, int]) -> None:
    values = ssim_map(case.truth, case.prediction, data_range=case.data_range)
    turned = ssim_map(case.truth.transpose(order), case.prediction.transpose(order), data_range=case.data_range)
    torch.testing.assert_close(turned, values.permute(order), atol=1e-6, rtol=0)


def test_equal_volumes_score_exactly_one(case: Case) -> None:
    assert ssim(case.truth, case.truth.copy(), data_range=case.data_range) == 1.0


def test_swapping_the_volumes_changes_nothing(case: Case) -> None:
    forth = ssim(case.truth, case.prediction, data_range=case.data_range)
    assert forth == pytest.approx(ssim(case.prediction, case.truth, data_range=case.data_range), rel=1e-12)


def test_constant_volumes_leave_the_luminance_term() -> None:
    truth, prediction = np.full((4, 13, 6), 1.0), np.full((4, 13, 6), 3.0)
    c1 = (0.01 * 2.0) ** 2
    assert ssim(truth, prediction, data_range=2.0) == pytest.approx((2 * 3 + c1) / (1 + 9 + c1), rel=1e-6)
    zero = np.zeros((4, 13, 6))
    assert ssim(zero, zero, data_range=2.0) == 1.0


def test_an_inverted_pattern_is_negative(case: Case) -> None:
    centered = case.truth - case.truth.mean()
    assert -1 <= ssim(10 + centered, 10 - centered, data_range=case.data_range) < -0.5


def test_scaling_volumes_and_range_together_changes_nothing(case: Case) -> None:
    value = ssim(case.truth, case.prediction, data_range=case.data_range)
    scaled = ssim(1000 * case.truth, 1000 * case.prediction, data_range=1000 * case.data_range)
    assert scaled == pytest.approx(value, rel=1e-5)
    assert ssim(case.truth, case.prediction, data_range=10 * case.data_range) > value + 0.01


def test_one_bright_voxel_reaches_as_far_as_the_window() -> None:
    truth = np.zeros((23, 12, 12))
    prediction = truth.copy()
    prediction[11, 6, 6] = 1.0
    values = ssim_map(truth, prediction, data_range=1.0).numpy()
    np.testing.assert_allclose(values, scipy_map(truth, prediction, 1.0), atol=1e-6)
    reached = np.flatnonzero((values < 1).any(axis=(1, 2)))
    np.testing.assert_array_equal(reached, np.arange(11 - 5, 11 + 5 + 1))
