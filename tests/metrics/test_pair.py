"""What the metrics accept and refuse."""

from collections.abc import Callable

import numpy as np
import pytest
import torch

from volumetric.errors import InputError
from volumetric.metrics.error import bias, mae, mse, nrmse, psnr_db, rmae, rmse
from volumetric.metrics.pair import MetricError
from volumetric.metrics.similarity import pearson
from volumetric.metrics.ssim import ssim, ssim_map
from volumetric.metrics.table import score

WITHOUT_RANGE = [mae, mse, rmse, bias, rmae, pearson]
WITH_RANGE = [nrmse, psnr_db, ssim]
ALL = [
    *[pytest.param(metric, {}, id=metric.__name__) for metric in WITHOUT_RANGE],
    *[pytest.param(metric, {"data_range": 2.0}, id=metric.__name__) for metric in WITH_RANGE],
]
Metric = Callable[..., float]


def test_metric_error_is_an_input_error_and_a_value_error() -> None:
    assert issubclass(MetricError, InputError)
    assert issubclass(MetricError, ValueError)


@pytest.mark.parametrize(("metric", "options"), ALL)
class TestEveryMetric:
    def test_refuses_other_shapes(self, metric: Metric, options: dict[str, float]) -> None:
        with pytest.raises(MetricError, match=r"prediction: expected the truth's shape \(3, 4, 5\), got \(3, 5, 4\)"):
            metric(np.ones((3, 4, 5)), np.ones((3, 5, 4)), **options)

    @pytest.mark.parametrize("shape", [(1, 3, 4, 5), (4, 5), (3, 0, 5)])
    def test_refuses_what_is_no_volume(self, metric: Metric, options: dict[str, float], shape: tuple[int, ...]) -> None:
        with pytest.raises(MetricError, match="truth: expected a 3D volume"):
            metric(np.ones(shape), np.ones(shape), **options)

    @pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
    @pytest.mark.parametrize("which", [0, 1])
    def test_refuses_non_finite_values(self, metric: Metric, options: dict[str, float], which: int, bad: float) -> None:
        volumes = [np.ones((3, 4, 5)), np.ones((3, 4, 5))]
        volumes[which][1, 2, 3] = volumes[which][2, 0, 0] = bad
        name = ("truth", "prediction")[which]
        with pytest.raises(MetricError, match=rf"{name}: .* got 2 of 60 voxels .* first at \(1, 2, 3\)"):
            metric(*volumes, **options)

    def test_refuses_an_empty_mask(self, metric: Metric, options: dict[str, float]) -> None:
        volume = np.ones((3, 4, 5))
        with pytest.raises(MetricError, match="mask: expected at least one voxel, got none"):
            metric(volume, volume, mask=np.zeros((3, 4, 5), bool), **options)

    def test_refuses_a_mask_of_another_shape(self, metric: Metric, options: dict[str, float]) -> None:
        volume = np.ones((3, 4, 5))
        with pytest.raises(MetricError, match=r"mask: expected the volumes' shape \(3, 4, 5\), got \(3, 4, 1\)"):
            metric(volume, volume, mask=np.ones((3, 4, 1), bool), **options)

    def test_refuses_a_mask_that_is_not_boolean(self, metric: Metric, options: dict[str, float]) -> None:
        volume = np.ones((3, 4, 5))
        with pytest.raises(MetricError, match=r"mask: expected a boolean mask, got torch\.uint8"):
            metric(volume, volume, mask=np.ones((3, 4, 5), np.uint8), **options)

    def test_refuses_complex_numbers(self, metric: Metric, options: dict[str, float]) -> None:
        volume = np.ones((3, 4, 5))
        for bad in (volume.astype(complex), torch.ones(3, 4, 5, dtype=torch.complex64)):
            with pytest.raises(MetricError, match="prediction: expected real numbers, got"):
                metric(volume, bad, **options)

    def test_takes_arrays_and_tensors_alike(self, metric: Metric, options: dict[str, float]) -> None:
        rng = np.random.default_rng(1)
        truth, prediction = rng.random((2, 3, 4, 5)).astype(np.float32)
        mask = rng.random((3, 4, 5)) < 0.5
        expected = metric(truth, prediction, mask=mask, **options)
        tensors = torch.tensor(truth), torch.tensor(prediction, requires_grad=True)
        value = metric(*tensors, mask=torch.tensor(mask), **options)
        assert type(value) is float
        assert value == expected

    def test_leaves_its_inputs_alone(self, metric: Metric, options: dict[str, float]) -> None:
        rng = np.random.default_rng(2)
        volumes = rng.random((2, 3, 4, 5))
        before = volumes.copy()
        metric(volumes[0], volumes[1], **options)
        np.testing.assert_array_equal(volumes, before)


@pytest.mark.parametrize("metric", [*WITH_RANGE, ssim_map], ids=lambda metric: metric.__name__)
@pytest.mark.parametrize("data_range", [0.0, -1.0, float("nan"), float("inf")])
def test_refuses_a_data_range_that_is_not_above_zero(metric: Metric, data_range: float) -> None:
    with pytest.raises(MetricError, match=f"data_range: expected a finite number above 0, got {data_range}"):
        metric(np.ones((3, 4, 5)), np.ones((3, 4, 5)), data_range=data_range)


@pytest.mark.parametrize("metric", WITH_RANGE, ids=lambda metric: metric.__name__)
def test_data_range_must_be_given(metric: Metric) -> None:
    with pytest.raises(TypeError, match="data_range"):
        metric(np.ones((3, 4, 5)), np.ones((3, 4, 5)))


def test_takes_every_layout_that_nifti_files_give() -> None:
    rng = np.random.default_rng(3)
    truth, prediction = rng.random((2, 3, 4, 5))
    read_only = prediction.copy()
    read_only.flags.writeable = False
    layouts = {
        "read-only": read_only,
        "big-endian": prediction.astype(">f8"),
        "Fortran order": np.asfortranarray(prediction),
        "flipped": prediction[::-1].copy()[::-1],
        "extended precision": prediction.astype(np.longdouble),
    }
    expected = np.abs(prediction - truth).mean()
    for name, layout in layouts.items():
        assert mae(truth, layout) == pytest.approx(expected, rel=1e-14), name


def test_integers_do_not_wrap_around() -> None:
    truth = np.full((2, 3, 4), 200, np.uint8)
    prediction = np.full((2, 3, 4), 10, np.uint8)
    assert bias(truth, prediction) == -190
    assert mse(truth, prediction) == 190**2


@pytest.mark.parametrize("dtype", [np.uint8, bool, np.float16, np.int32])
def test_every_metric_takes_any_real_type(dtype: type) -> None:
    rng = np.random.default_rng(0)
    truth, prediction = (rng.integers(0, 2 if dtype is bool else 250, (45, 46, 47)).astype(dtype) for _ in range(2))
    inside = {"all": torch.ones(truth.shape, dtype=torch.bool)}
    found, expected = (
        score(one, other, inside, data_range=250.0)["all"]
        for one, other in ((truth, prediction), (truth.astype(np.float64), prediction.astype(np.float64)))
    )
    assert found == pytest.approx(expected, rel=1e-5, nan_ok=True)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_is_computed_on_the_device_of_the_truth() -> None:
    truth, prediction = torch.rand(2, 17, 23, 19, generator=torch.Generator().manual_seed(0))
    on_device = ssim_map(truth.cuda(), prediction, data_range=1.0)
    assert on_device.device.type == "cuda"
    torch.testing.assert_close(on_device.cpu(), ssim_map(truth, prediction, data_range=1.0), atol=1e-6, rtol=0)
    assert mae(truth.cuda(), prediction) == pytest.approx(mae(truth, prediction), rel=1e-12)
