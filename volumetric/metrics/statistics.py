"""Owns the statistics over subjects: summaries with bootstrap intervals, and repeatability."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from volumetric.errors import InputError

# 4 MB of indices and as much of counts at a time, however many subjects and resamples there are.
_MAX_DRAWS = 2**19
# 40 MB of resampled means at a time, however many columns there are.
_MAX_COLUMNS = 512


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


def summarize(values: npt.ArrayLike, *, num_resamples: int = 10_000, seed: int = 0) -> Summary:
    """Summarizes one metric over subjects.

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
            "summarize_columns takes tables"
        )
    return summarize_columns(array[:, None], num_resamples=num_resamples, seed=seed)[0]


def summarize_columns(values: npt.ArrayLike, *, num_resamples: int = 10_000, seed: int = 0) -> list[Summary]:
    """Summarizes many metrics over the same subjects, each as `summarize` does.

    Columns with equally many finite values share their resamples, so a table costs little more than a column.

    Args:
        values: `(S, M)`, a row a subject and a column a metric.
        num_resamples: Number of bootstrap resamples, at least 1.
        seed: Seed of the resampling.

    Returns:
        M summaries, in the order of the columns.

    Raises:
        InputError: The values are not two-dimensional, or `num_resamples` is below 1.
    """
    array = np.asarray(values, dtype=np.float64)
    if array.ndim != 2:
        raise InputError(f"values: expected subjects by metrics, shape (S, M), got shape {array.shape}")
    if num_resamples < 1:
        raise InputError(f"num_resamples: expected at least 1, got {num_resamples}; 10000 is usual")
    finite = np.isfinite(array)
    counts = finite.sum(axis=0)
    summaries = [Summary(0, len(array), *[math.nan] * 8)] * array.shape[1]
    for n in np.unique(counts[counts > 0]):
        (columns,) = np.nonzero(counts == n)
        compact = np.ascontiguousarray(array.T[columns][finite.T[columns]].reshape(len(columns), n).T)
        statistics = _statistics(compact, num_resamples, seed)
        for column, row in zip(columns, statistics.T.tolist(), strict=True):
            summaries[column] = Summary(int(n), len(array) - int(n), *row)
    return summaries


def bootstrap_interval(
    values: npt.NDArray[np.float64], *, num_resamples: int = 10_000, seed: int = 0
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """The 95 % percentile bootstrap interval of the mean of each column of finite values `(S, M)`.

    Returns:
        Lower and upper ends, each `(M,)`; NaN for fewer than two subjects.
    """
    num_subjects, num_columns = values.shape
    ends = np.full((2, num_columns), np.nan)
    if num_subjects > 1:
        for start in range(0, num_columns, _MAX_COLUMNS):
            block = slice(start, start + _MAX_COLUMNS)
            means = _bootstrap_means(values[:, block], num_resamples, seed)
            ends[:, block] = np.quantile(means, [0.025, 0.975], axis=1)
    return ends[0], ends[1]


def _statistics(values: npt.NDArray[np.float64], num_resamples: int, seed: int) -> npt.NDArray[np.float64]:
    """The eight statistics of a `Summary` for each column of finite values `(S, M)`, as `(8, M)`."""
    q1, median, q3 = np.quantile(values, [0.25, 0.5, 0.75], axis=0)
    sd = values.std(axis=0, ddof=1) if len(values) > 1 else np.full(values.shape[1], np.nan)
    low, high = bootstrap_interval(values, num_resamples=num_resamples, seed=seed)
    return np.stack([values.mean(axis=0), sd, median, q1, q3, q3 - q1, low, high])


def _bootstrap_means(values: npt.NDArray[np.float64], num_resamples: int, seed: int) -> npt.NDArray[np.float64]:
    """Means `(M, num_resamples)` of resamples of the rows of `values` `(S, M)`, drawn with replacement.

    A resample is how often each subject is drawn: 5 subjects drawn as 0 3 3 1 0 are the counts 2 1 0 2 0.
    """
    generator = np.random.default_rng(seed)
    num_subjects, num_columns = values.shape
    means = np.empty((num_columns, num_resamples))
    num_rows = max(1, _MAX_DRAWS // num_subjects)
    for start in range(0, num_resamples, num_rows):
        stop = min(start + num_rows, num_resamples)
        draws = generator.integers(0, num_subjects, size=(stop - start, num_subjects))
        draws += np.arange(stop - start)[:, None] * num_subjects
        counts = np.bincount(draws.ravel(), minlength=draws.size).reshape(draws.shape)
        means[:, start:stop] = values.T @ counts.T.astype(np.float64) / num_subjects
    return means


@dataclass(frozen=True)
class Repeats:
    """Repeatability of a value in the same subject, in the value's units.

    Attributes:
        num_subjects: Number of subjects with at least two finite values, those that the statistics are of.
        num_values: Number of their values.
        mean: Mean over subjects of each one's mean.
        within_subject_sd: Root of the mean square within subjects.
        repeatability_coefficient: 1.96 sqrt(2) within_subject_sd: 95 % of differences between two values of one
            subject are expected to be smaller.
        icc: Intraclass correlation ICC(1,1), at most 1: the share of the variance that lies between subjects; NaN
            for fewer than two subjects or without any variance.
    """

    num_subjects: int
    num_values: int
    mean: float
    within_subject_sd: float
    repeatability_coefficient: float
    icc: float


def repeats(subjects: Sequence[npt.ArrayLike]) -> Repeats:
    """Analyzes repeated values by a one-way analysis of variance with subjects as groups.

    Within-subject SD and repeatability coefficient as in Bland & Altman (BMJ 312:1654, 1996; Statistical Methods in
    Medical Research 8:135-160, 1999, section 3). ICC(1,1) as in Shrout & Fleiss (Psychological Bulletin 86:420-428,
    1979): the first session of one subject has nothing in common with the first of another, so there is no effect
    of sessions to remove. With unequal numbers of values it takes k0 = (N - sum k_i^2 / N) / (n - 1) for k (Donner,
    International Statistical Review 54:67-82, 1986). It may be negative, and is reported so.

    Args:
        subjects: For each subject its values `(k_i,)`. Values that are not finite are left out, then subjects with
            fewer than two.
    """
    arrays = [np.asarray(values, dtype=np.float64) for values in subjects]
    groups = [finite for a in arrays if (finite := a[np.isfinite(a)]).size > 1]
    if not groups:
        return Repeats(0, 0, *[math.nan] * 4)
    sizes = np.array([group.size for group in groups])
    means = np.array([group.mean() for group in groups])
    num_values, n = int(sizes.sum()), len(groups)
    within = sum(float(((group - group.mean()) ** 2).sum()) for group in groups) / (num_values - n)
    sd = math.sqrt(within)
    icc = math.nan
    if n > 1:
        grand = float((sizes * means).sum()) / num_values
        between = float((sizes * (means - grand) ** 2).sum()) / (n - 1)
        k0 = (num_values - float((sizes**2).sum()) / num_values) / (n - 1)
        denominator = between + (k0 - 1) * within
        icc = (between - within) / denominator if denominator > 0 else math.nan
    return Repeats(n, num_values, float(means.mean()), sd, 1.96 * math.sqrt(2) * sd, icc)
