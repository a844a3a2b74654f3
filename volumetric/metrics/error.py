"""Owns the voxelwise error metrics: MAE, MSE, RMSE, bias, their relative forms, and PSNR.

Each metric is a formula on `Voxels` (its name ends in `_of`) and a function of volumes around it; the table
of metrics uses the formulas, so that the voxels of a region are gathered once for all of them.
"""

import math

from volumetric.metrics.pair import Volume, Voxels, average, check_data_range, select, total


def mae(truth: Volume, prediction: Volume, *, mask: Volume | None = None) -> float:
    """Mean absolute error.

    Args:
        truth: `(I, J, K)`.
        prediction: `(I, J, K)`, in the truth's units.
        mask: `(I, J, K)`, boolean; only voxels inside count. None counts all.

    Returns:
        mean |prediction - truth|, in the volumes' units, in [0, inf), lower is better.

    Raises:
        MetricError: The shapes differ, a value is not finite, or the mask is not boolean or is empty.
    """
    return mae_of(select(truth, prediction, mask))


def mse(truth: Volume, prediction: Volume, *, mask: Volume | None = None) -> float:
    """Mean squared error.

    Args:
        truth: `(I, J, K)`.
        prediction: `(I, J, K)`, in the truth's units.
        mask: `(I, J, K)`, boolean; only voxels inside count. None counts all.

    Returns:
        mean (prediction - truth)^2, in the square of the volumes' units, in [0, inf), lower is better.

    Raises:
        MetricError: The shapes differ, a value is not finite, or the mask is not boolean or is empty.
    """
    return mse_of(select(truth, prediction, mask))


def rmse(truth: Volume, prediction: Volume, *, mask: Volume | None = None) -> float:
    """Root mean squared error.

    Args:
        truth: `(I, J, K)`.
        prediction: `(I, J, K)`, in the truth's units.
        mask: `(I, J, K)`, boolean; only voxels inside count. None counts all.

    Returns:
        sqrt(mean (prediction - truth)^2), in the volumes' units, in [0, inf), lower is better.

    Raises:
        MetricError: The shapes differ, a value is not finite, or the mask is not boolean or is empty.
    """
    return rmse_of(select(truth, prediction, mask))


def bias(truth: Volume, prediction: Volume, *, mask: Volume | None = None) -> float:
    """Mean signed error: above zero where the prediction is too bright.

    Args:
        truth: `(I, J, K)`.
        prediction: `(I, J, K)`, in the truth's units.
        mask: `(I, J, K)`, boolean; only voxels inside count. None counts all.

    Returns:
        mean (prediction - truth), in the volumes' units, in (-inf, inf), nearer to zero is better.

    Raises:
        MetricError: The shapes differ, a value is not finite, or the mask is not boolean or is empty.
    """
    return bias_of(select(truth, prediction, mask))


def rmae(truth: Volume, prediction: Volume, *, mask: Volume | None = None) -> float:
    """Relative mean absolute error: the summed absolute error as a fraction of the summed absolute truth.

    Args:
        truth: `(I, J, K)`.
        prediction: `(I, J, K)`, in the truth's units.
        mask: `(I, J, K)`, boolean; only voxels inside count. None counts all.

    Returns:
        sum |prediction - truth| / sum |truth|, without unit, in [0, inf), lower is better; NaN where the
        truth is zero at every counted voxel.

    Raises:
        MetricError: The shapes differ, a value is not finite, or the mask is not boolean or is empty.
    """
    return rmae_of(select(truth, prediction, mask))


def nrmse(truth: Volume, prediction: Volume, *, data_range: float, mask: Volume | None = None) -> float:
    """Root mean squared error as a fraction of the data range.

    Args:
        truth: `(I, J, K)`.
        prediction: `(I, J, K)`, in the truth's units.
        data_range: Width of the interval of intensities, in the volumes' units, above 0.
        mask: `(I, J, K)`, boolean; only voxels inside count. None counts all.

    Returns:
        RMSE / data_range, without unit, in [0, inf), lower is better.

    Raises:
        MetricError: The shapes differ, a value is not finite, the mask is not boolean or is empty, or the
            data range is not above 0.
    """
    return nrmse_of(select(truth, prediction, mask), check_data_range(data_range))


def psnr_db(truth: Volume, prediction: Volume, *, data_range: float, mask: Volume | None = None) -> float:
    """Peak signal-to-noise ratio.

    Args:
        truth: `(I, J, K)`.
        prediction: `(I, J, K)`, in the truth's units.
        data_range: Width of the interval of intensities, in the volumes' units, above 0.
        mask: `(I, J, K)`, boolean; only voxels inside count. None counts all.

    Returns:
        20 log10(data_range) - 10 log10(MSE), in dB, in (-inf, inf], higher is better; inf for equal volumes.

    Raises:
        MetricError: The shapes differ, a value is not finite, the mask is not boolean or is empty, or the
            data range is not above 0.
    """
    return psnr_db_of(select(truth, prediction, mask), check_data_range(data_range))


def mae_of(voxels: Voxels) -> float:
    """mean |e|."""
    return average(voxels.error.abs())


def mse_of(voxels: Voxels) -> float:
    """mean e^2."""
    return average(voxels.error.square())


def rmse_of(voxels: Voxels) -> float:
    """sqrt(mean e^2)."""
    return math.sqrt(mse_of(voxels))


def bias_of(voxels: Voxels) -> float:
    """mean e."""
    return average(voxels.error)


def rmae_of(voxels: Voxels) -> float:
    """sum |e| / sum |truth|, NaN where the truth is zero everywhere."""
    truth_sum = total(voxels.truth.abs())
    return total(voxels.error.abs()) / truth_sum if truth_sum > 0 else math.nan


def nrmse_of(voxels: Voxels, data_range: float) -> float:
    """RMSE / data_range."""
    return rmse_of(voxels) / data_range


def psnr_db_of(voxels: Voxels, data_range: float) -> float:
    """20 log10(data_range) - 10 log10(MSE)."""
    return _psnr_db(mse_of(voxels), data_range)


def psnr_truth_range_db_of(voxels: Voxels) -> float:
    """PSNR with max(truth) - min(truth) of these voxels as the data range; NaN where the truth is constant.

    Many papers score so, but the range then differs from subject to subject and from region to region.
    """
    truth_range = float(voxels.truth.max() - voxels.truth.min())
    return _psnr_db(mse_of(voxels), truth_range) if truth_range > 0 else math.nan


def psnr_affine_fit_db_of(voxels: Voxels, data_range: float) -> float:
    """PSNR after the least-squares fit of slope * prediction + intercept to the truth.

    An oracle, not a score: it sees the truth. Next to the plain PSNR it tells how much of the error is a
    global scale or offset. An exactly affine prediction gives inf or, by rounding, some 300 dB.
    """
    truth = voxels.truth - average(voxels.truth)
    prediction = voxels.prediction - average(voxels.prediction)
    # A constant prediction has no slope to fit; its mean is already taken away.
    if float(voxels.prediction.max()) > float(voxels.prediction.min()):
        truth = truth - prediction * (total(truth * prediction) / total(prediction.square()))
    return _psnr_db(average(truth.square()), data_range)


def _psnr_db(mean_squared_error: float, data_range: float) -> float:
    if mean_squared_error == 0:
        return math.inf
    return 20 * math.log10(data_range) - 10 * math.log10(mean_squared_error)
