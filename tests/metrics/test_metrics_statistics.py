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
from volumetric.metrics.statistics import summarise

SKEWED = np.random.default_rng(3).gamma(2.0, 3.0, size=9)


def test_by_hand() -> None:
    summary = summarise([4.0, 1.0, 3.0, 2.0, 10.0])
    assert summary.n == 5
    assert summary.num_nonfinite == 0
    assert summary.mean == pytest.approx(4.0)
    assert summary.sd == pytest.approx(math.sqrt((0 + 9 + 1 + 4 + 36) / 4))
    assert (summary.q1, summary.median, summary.q3, summary.iqr) == (2.0, 3.0, 4.0, 2.0)
    assert summary.ci95_low < 4.0 < summary.ci95_high


def test_quartiles_are_interpolated() -> None:
    summary = summarise([1.0, 2.0, 3.0, 4.0])
    assert (summary.q1, summary.median, summary.q3, summary.iqr) == (1.75, 2.5, 3.25, 1.5)


def test_bootstrap_of_two_subjects_by_hand() -> None:
    # Resampled means are 0, 1/2 and 1 with probabilities 1/4, 1/2, 1/4.
    summary = summarise([0.0, 1.0])
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
    summary = summarise(SKEWED, num_resamples=num_resamples, seed=1)
    # Monte-Carlo error of each end: sqrt(p (1 - p) / B) / density = 0.0085 standard errors of the mean, and 1.4
    # times that of a difference.
    tolerance = 4 * 0.012 * result.standard_error
    assert summary.ci95_low == pytest.approx(result.confidence_interval.low, abs=tolerance)
    assert summary.ci95_high == pytest.approx(result.confidence_interval.high, abs=tolerance)


def test_seed_fixes_the_interval_and_nothing_else() -> None:
    assert summarise(SKEWED, seed=4) == summarise(SKEWED, seed=4)
    one, other = summarise(SKEWED, seed=4), summarise(SKEWED, seed=5)
    assert one.ci95_low != other.ci95_low
    assert dataclasses.replace(one, ci95_low=0, ci95_high=0) == dataclasses.replace(other, ci95_low=0, ci95_high=0)


def test_default_is_seed_0_and_10000_resamples() -> None:
    assert summarise(SKEWED) == summarise(SKEWED, seed=0, num_resamples=10_000)
    assert summarise(SKEWED) != summarise(SKEWED, seed=0, num_resamples=9_999)


def test_global_random_state_is_left_alone() -> None:
    before = np.random.get_state()[1].copy()  # noqa: NPY002
    summarise(SKEWED)
    np.testing.assert_array_equal(np.random.get_state()[1], before)  # noqa: NPY002


def test_non_finite_values_are_counted_and_left_out() -> None:
    summary = summarise([np.nan, *SKEWED, np.inf, -np.inf])
    assert summary.num_nonfinite == 3
    assert dataclasses.replace(summary, num_nonfinite=0) == summarise(SKEWED)


def test_one_subject_has_no_spread() -> None:
    summary = summarise([2.5])
    assert (summary.n, summary.mean, summary.median, summary.q1, summary.q3, summary.iqr) == (1, 2.5, 2.5, 2.5, 2.5, 0)
    assert all(math.isnan(value) for value in (summary.sd, summary.ci95_low, summary.ci95_high))


@pytest.mark.parametrize("values", [[], [np.nan, np.inf]])
def test_without_finite_values_every_statistic_is_nan(values: list[float]) -> None:
    summary = dataclasses.asdict(summarise(values))
    assert summary.pop("n") == 0
    assert summary.pop("num_nonfinite") == len(values)
    assert len(summary) == 8
    assert all(math.isnan(value) for value in summary.values())


def test_equal_values_give_an_interval_of_no_width() -> None:
    summary = summarise([0.5] * 7)
    assert (summary.mean, summary.sd, summary.ci95_low, summary.ci95_high) == (0.5, 0.0, 0.5, 0.5)


def test_refuses_tables_and_zero_resamples() -> None:
    with pytest.raises(InputError, match=r"values: .* got shape \(2, 3\)"):
        summarise(np.ones((2, 3)))
    with pytest.raises(InputError, match="num_resamples: expected at least 1, got 0"):
        summarise([1.0, 2.0], num_resamples=0)


def test_memory_stays_bounded() -> None:
    values = np.random.default_rng(0).normal(size=20_000)
    tracemalloc.start()
    summarise(values, num_resamples=500)  # 80 MB of indices if drawn at once
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 30e6


def test_imports_without_torch() -> None:
    code = "import sys, volumetric.metrics.statistics; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
