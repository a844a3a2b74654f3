"""Summaries against hand-computed numbers and SciPy's bootstrap."""

import dataclasses
import math
import subprocess
import sys
import tracemalloc

import numpy as np
import pytest
from scipy import stats

from volumetric.errors import InputError
from volumetric.metrics.statistics import bootstrap_interval, repeats, summarize, summarize_columns

SKEWED = np.random.default_rng(3).gamma(2.0, 3.0, size=9)


def test_by_hand() -> None:
    summary = summarize([4.0, 1.0, 3.0, 2.0, 10.0])
    assert summary.n == 5
    assert summary.num_nonfinite == 0
    assert summary.mean == pytest.approx(4.0)
    assert summary.sd == pytest.approx(math.sqrt((0 + 9 + 1 + 4 + 36) / 4))
    assert (summary.q1, summary.median, summary.q3, summary.iqr) == (2.0, 3.0, 4.0, 2.0)
    assert summary.ci95_low < 4.0 < summary.ci95_high


def test_quartiles_are_interpolated() -> None:
    summary = summarize([1.0, 2.0, 3.0, 4.0])
    assert (summary.q1, summary.median, summary.q3, summary.iqr) == (1.75, 2.5, 3.25, 1.5)


def test_bootstrap_of_two_subjects_by_hand() -> None:
    # Resampled means are 0, 1/2 and 1 with probabilities 1/4, 1/2, 1/4.
    summary = summarize([0.0, 1.0])
    assert (summary.ci95_low, summary.ci95_high) == (0.0, 1.0)


def test_interval_agrees_with_scipy() -> None:
    num_resamples = 100_000
    result = stats.bootstrap(
        (SKEWED,),
        np.mean,
        n_resamples=num_resamples,
        batch=1000,
        method="percentile",
        rng=np.random.default_rng(99),
        confidence_level=0.95,
    )
    summary = summarize(SKEWED, num_resamples=num_resamples, seed=1)
    # Monte-Carlo error of each end: sqrt(p (1 - p) / B) / density = 0.0085 standard errors of the mean, and 1.4
    # times that of a difference.
    tolerance = 4 * 0.012 * result.standard_error
    assert summary.ci95_low == pytest.approx(result.confidence_interval.low, abs=tolerance)
    assert summary.ci95_high == pytest.approx(result.confidence_interval.high, abs=tolerance)


def test_seed_fixes_the_interval_and_nothing_else() -> None:
    assert summarize(SKEWED, seed=4) == summarize(SKEWED, seed=4)
    one, other = summarize(SKEWED, seed=4), summarize(SKEWED, seed=5)
    assert one.ci95_low != other.ci95_low
    assert dataclasses.replace(one, ci95_low=0, ci95_high=0) == dataclasses.replace(other, ci95_low=0, ci95_high=0)


def test_default_is_seed_0_and_10000_resamples() -> None:
    assert summarize(SKEWED) == summarize(SKEWED, seed=0, num_resamples=10_000)
    assert summarize(SKEWED) != summarize(SKEWED, seed=0, num_resamples=9_999)


def test_global_random_state_is_left_alone() -> None:
    before = np.random.get_state()[1].copy()  # noqa: NPY002
    summarize(SKEWED)
    np.testing.assert_array_equal(np.random.get_state()[1], before)  # noqa: NPY002


def test_non_finite_values_are_counted_and_left_out() -> None:
    summary = summarize([np.nan, *SKEWED, np.inf, -np.inf])
    assert summary.num_nonfinite == 3
    assert dataclasses.replace(summary, num_nonfinite=0) == summarize(SKEWED)


def test_one_subject_has_no_spread() -> None:
    summary = summarize([2.5])
    assert (summary.n, summary.mean, summary.median, summary.q1, summary.q3, summary.iqr) == (1, 2.5, 2.5, 2.5, 2.5, 0)
    assert all(math.isnan(value) for value in (summary.sd, summary.ci95_low, summary.ci95_high))


@pytest.mark.parametrize("values", [[], [np.nan, np.inf]])
def test_without_finite_values_every_statistic_is_nan(values: list[float]) -> None:
    summary = dataclasses.asdict(summarize(values))
    assert summary.pop("n") == 0
    assert summary.pop("num_nonfinite") == len(values)
    assert len(summary) == 8
    assert all(math.isnan(value) for value in summary.values())


def test_equal_values_give_an_interval_of_no_width() -> None:
    summary = summarize([0.5] * 7)
    assert (summary.mean, summary.sd, summary.ci95_low, summary.ci95_high) == (0.5, 0.0, 0.5, 0.5)


def test_refuses_tables_and_zero_resamples() -> None:
    with pytest.raises(InputError, match=r"values: .* got shape \(2, 3\)"):
        summarize(np.ones((2, 3)))
    with pytest.raises(InputError, match="num_resamples: expected at least 1, got 0"):
        summarize([1.0, 2.0], num_resamples=0)
    with pytest.raises(InputError, match=r"shape \(S, M\), got shape \(3,\)"):
        summarize_columns(np.ones(3))


def test_memory_stays_bounded() -> None:
    values = np.random.default_rng(0).normal(size=20_000)
    tracemalloc.start()
    summarize(values, num_resamples=500)  # 80 MB of indices if drawn at once
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 30e6


def test_imports_without_torch() -> None:
    code = "import sys, volumetric.metrics.statistics; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_each_column_of_a_table_is_summarized_as_if_alone() -> None:
    table = np.random.default_rng(5).normal(size=(9, 600))  # more columns than are resampled at once
    table[2, 1] = np.nan
    table[[0, 8], 3] = np.inf
    table[:, 4] = np.nan
    found = summarize_columns(table, num_resamples=300, seed=2)
    assert len(found) == 600
    assert [s.n for s in found[:6]] == [9, 8, 9, 7, 0, 9]
    for column in (0, 1, 3, 4, 511, 512, 599):
        alone = dataclasses.astuple(summarize(table[:, column], num_resamples=300, seed=2))
        np.testing.assert_allclose(dataclasses.astuple(found[column]), alone, rtol=1e-12)


def test_resampled_means_are_those_of_the_drawn_subjects() -> None:
    values = np.array([[1.0, 10.0], [2.0, 30.0], [4.0, 20.0]])
    draws = np.random.default_rng(8).integers(0, 3, size=(50, 3))
    expected = np.quantile(values[draws].mean(axis=1), [0.025, 0.975], axis=0)
    np.testing.assert_allclose(bootstrap_interval(values, num_resamples=50, seed=8), expected, rtol=1e-12)


def test_repeats_by_hand() -> None:
    # Means 2, 6, 10; within: (1 + 1) + (1 + 1) + (4 + 4) = 12 on 3 degrees; between: 2 (16 + 0 + 16) / 2 = 32.
    found = repeats([[1, 3], [5, 7], [8, 12]])
    assert (found.num_subjects, found.num_values, found.mean) == (3, 6, 6)
    assert found.within_subject_sd == pytest.approx(2)
    assert found.repeatability_coefficient == pytest.approx(1.96 * math.sqrt(2) * 2)
    assert found.icc == pytest.approx((32 - 4) / (32 + 4))


def test_icc_is_that_of_shrout_and_fleiss() -> None:
    # Their example of 6 targets and 4 judges: ICC(1,1) = 0.17, mean square within 6.26 (Tables 2 to 4).
    ratings = [[9, 2, 5, 8], [6, 1, 3, 2], [8, 4, 6, 8], [7, 1, 2, 6], [10, 5, 6, 9], [6, 2, 4, 7]]
    found = repeats(ratings)
    assert found.icc == pytest.approx(0.17, abs=0.005)
    assert found.within_subject_sd**2 == pytest.approx(6.26, abs=0.005)


def test_repeats_of_unequal_numbers_agree_with_an_analysis_of_variance() -> None:
    rng = np.random.default_rng(4)
    groups = [rng.normal(mean, 1, size) for mean, size in zip(rng.normal(0, 2, 7), (2, 3, 2, 4, 2, 2, 5), strict=True)]
    within = np.concatenate([group - group.mean() for group in groups])
    mean_square = within @ within / (within.size - len(groups))
    found = repeats([*groups, [1.0, np.nan], []])
    assert (found.num_subjects, found.num_values) == (7, 20)
    assert found.within_subject_sd == pytest.approx(math.sqrt(mean_square))
    ratio = stats.f_oneway(*groups).statistic
    k0 = (20 - sum(group.size**2 for group in groups) / 20) / 6
    assert found.icc == pytest.approx((ratio - 1) / (ratio - 1 + k0))


def test_repeats_without_enough_values() -> None:
    assert math.isnan(repeats([[1.0, 2.0]]).icc)
    assert repeats([[1.0, 2.0]]).within_subject_sd == pytest.approx(math.sqrt(0.5))
    assert repeats([[1.0], [2.0]]).num_subjects == 0
    assert math.isnan(repeats([]).within_subject_sd)
    assert math.isnan(repeats([[1.0, 1.0], [1.0, 1.0]]).icc)
    assert repeats([[1.0, 3.0], [3.0, 1.0]]).icc == pytest.approx(-1)
