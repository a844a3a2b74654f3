"""Owns errors as fractions of the truth, and those of single voxels: the median and the 95th percentile."""

import math

from volumetric.metrics.error import rmse_of
from volumetric.metrics.pair import Volume, Voxels, average, ranked, select, total


def median_ae(truth: Volume, prediction: Volume, *, mask: Volume | None = None) -> float:
    """Median absolute error.

    Args:
        truth: `(I, J, K)`.
        prediction: `(I, J, K)`, in the truth's units.
        mask: `(I, J, K)`, boolean; only voxels inside count. None counts all.

    Returns:
        median |prediction - truth|, in the volumes' units, in [0, inf), lower is better.

    Raises:
        MetricError: The shapes differ, a value is not finite, or the mask is not boolean or is empty.
    """
    return quantiles_of(select(truth, prediction, mask), 0.5)[0]


def p95_ae(truth: Volume, prediction: Volume, *, mask: Volume | None = None) -> float:
    """The absolute error that 95 % of voxels stay under.

    Args:
        truth: `(I, J, K)`.
        prediction: `(I, J, K)`, in the truth's units.
        mask: `(I, J, K)`, boolean; only voxels inside count. None counts all.

    Returns:
        95th percentile of |prediction - truth|, linear between voxels, in [0, inf), lower is better.

    Raises:
        MetricError: The shapes differ, a value is not finite, or the mask is not boolean or is empty.
    """
    return quantiles_of(select(truth, prediction, mask), 0.95)[0]


def relative_mse(truth: Volume, prediction: Volume, *, mask: Volume | None = None) -> float:
    """Relative mean squared error, in many papers NMSE.

    Args:
        truth: `(I, J, K)`.
        prediction: `(I, J, K)`, in the truth's units.
        mask: `(I, J, K)`, boolean; only voxels inside count. None counts all.

    Returns:
        sum (prediction - truth)^2 / sum truth^2, without unit, in [0, inf), lower is better; NaN where the truth is
        zero at every counted voxel.

    Raises:
        MetricError: The shapes differ, a value is not finite, or the mask is not boolean or is empty.
    """
    return relative_mse_of(select(truth, prediction, mask))


def relative_rmse(truth: Volume, prediction: Volume, *, mask: Volume | None = None) -> float:
    """The square root of `relative_mse`, with its arguments and errors."""
    return math.sqrt(relative_mse(truth, prediction, mask=mask))


def nrmse_mean(truth: Volume, prediction: Volume, *, mask: Volume | None = None) -> float:
    """Root mean squared error as a fraction of the truth's mean.

    Args:
        truth: `(I, J, K)`.
        prediction: `(I, J, K)`, in the truth's units.
        mask: `(I, J, K)`, boolean; only voxels inside count. None counts all.

    Returns:
        RMSE / mean truth, without unit, in [0, inf), lower is better; NaN where that mean is not above zero.

    Raises:
        MetricError: The shapes differ, a value is not finite, or the mask is not boolean or is empty.
    """
    return nrmse_mean_of(select(truth, prediction, mask))


def quantiles_of(voxels: Voxels, *fractions: float) -> list[float]:
    """Quantiles of |e|, linear between voxels."""
    sizes = voxels.error.abs()
    last = sizes.numel() - 1
    below = [math.floor(fraction * last) for fraction in fractions]
    order = ranked(sizes, [rank for low in below for rank in (low, min(low + 1, last))])
    return [
        low + (fraction * last - rank) * (high - low)
        for fraction, rank, low, high in zip(fractions, below, order[::2], order[1::2], strict=True)
    ]


def relative_mse_of(voxels: Voxels) -> float:
    """sum e^2 / sum truth^2, NaN where the truth is zero everywhere."""
    power = total(voxels.truth.square())
    return total(voxels.error.square()) / power if power > 0 else math.nan


def nrmse_mean_of(voxels: Voxels) -> float:
    """RMSE / mean truth, NaN where that is not above zero."""
    mean = average(voxels.truth)
    return rmse_of(voxels) / mean if mean > 0 else math.nan
