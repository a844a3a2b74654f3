"""Owns the summary of one metric over subjects: moments, quartiles, and a bootstrap interval of the mean."""

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from volumetric.errors import InputError

# 8 MB of indices and 8 MB of values at a time, however many subjects and resamples there are.
_MAX_DRAWS = 2**20


@dataclass(frozen=True)
class Summary:
    """Statistics of one metric over subjects, in the metric's units.

    Attributes:
        n: Number of finite values, those that the statistics are of.
        num_nonfinite: Number of values left out because they are NaN or infinite.
        mean: Mean.
        sd: Sample standard deviation (divided by n - 1); NaN for n < 2.
        median: Median.
        q1: First quartile (linear between order statistics).
        q3: Third quartile.
        iqr: q3 - q1.
        ci95_low: Lower end of the 95 % bootstrap interval of the mean; NaN for n < 2.
        ci95_high: Upper end.
    """

    n: int
    num_nonfinite: int
    mean: float
    sd: float
    median: float
    q1: float
    q3: float
    iqr: float
    ci95_low: float
    ci95_high: float


def summarise(values: npt.ArrayLike, *, num_resamples: int = 10_000, seed: int = 0) -> Summary:
    """Summarises one metric over subjects.

    The interval is the percentile bootstrap of the mean (Efron & Tibshirani, An Introduction to the
    Bootstrap, 1993, section 13.3), with subjects as the unit that is resampled. The same values and seed give
    the same interval.

    Args:
        values: `(S,)`, one number a subject. NaN and infinite ones are counted and left out; without any
            finite one every statistic is NaN.
        num_resamples: Number of bootstrap resamples, at least 1.
        seed: Seed of the resampling.

    Returns:
        The statistics of the finite values.

    Raises:
        InputError: The values are not one-dimensional, or `num_resamples` is below 1.
    """
    array = np.asarray(values, dtype=np.float64)
    if array.ndim != 1:
        raise InputError(
            f"values: expected one number a subject, shape (S,), got shape {array.shape}; "
            "summarise one column at a time"
        )
    if num_resamples < 1:
        raise InputError(f"num_resamples: expected at least 1, got {num_resamples}; 10000 is usual")
    finite = array[np.isfinite(array)]
    num_nonfinite = array.size - finite.size
    if finite.size == 0:
        return Summary(0, num_nonfinite, *[math.nan] * 8)
    q1, median, q3 = (float(quartile) for quartile in np.quantile(finite, [0.25, 0.5, 0.75]))
    sd = low = high = math.nan
    if finite.size > 1:
        sd = float(finite.std(ddof=1))
        means = _bootstrap_means(finite, num_resamples, seed)
        low, high = (float(end) for end in np.quantile(means, [0.025, 0.975]))
    return Summary(
        n=finite.size,
        num_nonfinite=num_nonfinite,
        mean=float(finite.mean()),
        sd=sd,
        median=median,
        q1=q1,
        q3=q3,
        iqr=q3 - q1,
        ci95_low=low,
        ci95_high=high,
    )


def _bootstrap_means(values: npt.NDArray[np.float64], num_resamples: int, seed: int) -> npt.NDArray[np.float64]:
    """Means `(num_resamples,)` of resamples of `values` `(S,)`, drawn with replacement."""
    generator = np.random.default_rng(seed)
    means = np.empty(num_resamples)
    num_rows = max(1, _MAX_DRAWS // values.size)
    for start in range(0, num_resamples, num_rows):
        stop = min(start + num_rows, num_resamples)
        draws = generator.integers(0, values.size, size=(stop - start, values.size))
        means[start:stop] = values[draws].mean(axis=1)
    return means
