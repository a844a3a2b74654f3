"""Paired comparisons against brute force, SciPy and numbers worked by hand."""

import dataclasses
import itertools
import math

import numpy as np
import pytest
from scipy import stats

from volumetric.errors import InputError
from volumetric.metrics.differences import holm, paired_difference, signed_rank
from volumetric.metrics.statistics import summarize


def brute_force(differences):
    """p and rank-biserial correlation from every choice of signs, with Pratt's zeros."""
    d = np.asarray(differences, dtype=float)
    ranks = np.array([np.mean([1 + (abs(d) < abs(x)).sum(), (abs(d) <= abs(x)).sum()]) for x in d])
    kept = ranks[d != 0]
    center = kept.sum() / 2
    far = abs(ranks[d > 0].sum() - center)
    plus = [np.dot(kept, signs) for signs in itertools.product([0, 1], repeat=len(kept))]
    p = np.mean([abs(w - center) >= far - 1e-9 for w in plus])
    return p, (ranks[d > 0].sum() - ranks[d < 0].sum()) / ranks.sum()


@pytest.mark.parametrize(
    "differences",
    [
        [1.5, -0.5, 2.0, 3.0, -1.0, 0.25],
        [1, 1, -1, 2, 2, 3, -3],
        [0, 0, 1, 2, -3, 4],
        [0, 1, 1, 1, 1, 1, -2],
        [2.0],
        [-1, 1],
    ],
)
def test_the_test_is_that_over_all_choices_of_signs(differences):
    p, r = brute_force(differences)
    found = signed_rank(differences)
    assert found.p == pytest.approx(p)
    assert found.rank_biserial == pytest.approx(r)
    assert found.method == "exact"
    mirrored = signed_rank(-np.asarray(differences, dtype=float))
    assert (mirrored.p, mirrored.rank_biserial) == pytest.approx((p, -r))


def test_exact_p_values_are_scipys_where_scipy_is_exact():
    rng = np.random.default_rng(0)
    for n in (5, 12, 50, 200):
        d = rng.normal(0.4, 1, n)
        assert signed_rank(d).p == pytest.approx(stats.wilcoxon(d, method="exact").pvalue, rel=1e-9)


def test_ties_and_zeros_agree_with_scipys_permutations():
    d = np.array([0, 1, 1, -1, 2, 2, -3, 4, 5, 0.0])
    scipys = stats.wilcoxon(d, zero_method="pratt", method=stats.PermutationMethod(n_resamples=np.inf))
    assert signed_rank(d).p == pytest.approx(scipys.pvalue)


def test_more_than_200_use_scipys_approximation_which_is_near_the_exact_one():
    d = np.random.default_rng(1).normal(0.12, 1, 201)
    found = signed_rank(d)
    assert found.method == "normal approximation"
    assert signed_rank(d[:200]).method == "exact"
    assert found.p == pytest.approx(stats.wilcoxon(d, method="exact").pvalue, rel=0.03)


def test_all_zeros_say_nothing():
    assert signed_rank([0.0] * 300) == (1.0, "exact", 0.0)


def test_a_paired_difference_by_hand():
    baseline = [20.0, 22.0, 24.0, 26.0, 21.0]
    candidate = [21.0, 22.0, 27.0, 24.0, 26.0]  # +1, 0, +3, -2, +5
    found = paired_difference(baseline, candidate, better="higher")
    assert (found.n, found.num_wins, found.num_ties, found.num_losses, found.win_rate) == (5, 3, 1, 1, 0.7)
    assert (found.mean, found.median) == (pytest.approx(1.4), 1.0)
    sd = math.sqrt((0.16 + 1.96 + 2.56 + 11.56 + 12.96) / 4)
    assert found.sd == pytest.approx(sd)
    assert found.cohens_dz == pytest.approx(1.4 / sd)
    assert found.rank_biserial == pytest.approx((2 + 4 + 5 - 3) / 15)  # the zero has rank 1
    assert found.smallest_p == 2**-3
    interval = summarize(np.subtract(candidate, baseline))
    assert (found.ci95_low, found.ci95_high) == pytest.approx((interval.ci95_low, interval.ci95_high))


def test_direction_and_exchange_mirror_the_effect():
    rng = np.random.default_rng(2)
    a, b = rng.normal(size=(2, 9))
    up, down = (paired_difference(a, b, better=better) for better in ("higher", "lower"))
    assert up.mean == down.mean
    assert up.p == down.p
    assert up.rank_biserial == -down.rank_biserial
    assert up.cohens_dz == pytest.approx(-down.cohens_dz)
    assert (up.num_wins, up.win_rate) == (down.num_losses, 1 - down.win_rate)
    other = paired_difference(b, a, better="higher")
    assert (other.mean, other.p) == pytest.approx((-up.mean, up.p))


def test_differences_that_a_table_cannot_hold_are_ties():
    """A regression: 0.3 - 0.2 is not 0.2 - 0.1 in binary, and got another rank."""
    found = paired_difference([0.1, 0.2, 1.0], [0.2, 0.3, 1.0 + 1e-12], better="higher")
    assert found.num_ties == 1
    assert found.p == pytest.approx(brute_force([1, 1, 0])[0])
    large = paired_difference([1e12, 3e12], [1e12 + 1, 2e12], better="higher")
    assert (large.num_ties, large.num_losses) == (1, 1)


def test_values_that_are_not_finite_are_counted_with_their_partner():
    found = paired_difference([1, np.nan, 3, np.inf], [2, 2, 5, 1], better="higher")
    assert (found.n, found.num_nonfinite, found.mean) == (2, 2, 1.5)
    nobody = dataclasses.asdict(paired_difference([np.nan], [1.0], better="lower"))
    assert (nobody["n"], nobody["num_nonfinite"], nobody["smallest_p"]) == (0, 1, 1)
    assert all(math.isnan(nobody[key]) for key in ("mean", "p", "rank_biserial", "cohens_dz", "win_rate"))


def test_equal_methods():
    found = paired_difference([0.0, 0.0], [0.0, 0.0], better="lower")
    assert (found.mean, found.p, found.win_rate, found.num_ties) == (0, 1, 0.5, 2)
    assert math.isnan(found.cohens_dz)


def test_unpaired_values_are_refused():
    with pytest.raises(InputError, match=r"got shapes \(2,\) and \(3,\)"):
        paired_difference([1, 2], [1, 2, 3], better="higher")
    with pytest.raises(InputError, match="num_resamples"):
        paired_difference([1, 2], [1, 2], better="higher", num_resamples=0)


def test_holm_by_hand():
    # 0.01 x 4; 0.02 x 3; 0.03 x 2; 0.04 x 1, but not below the one before.
    np.testing.assert_allclose(holm([0.04, 0.01, 0.03, 0.02]), [0.06, 0.04, 0.06, 0.06])
    np.testing.assert_allclose(holm([0.5, 0.9]), [1, 1])
    np.testing.assert_allclose(holm([0.01, np.nan, 0.04]), [0.02, np.nan, 0.04])
    assert holm([]).size == 0


def test_holm_rejects_what_the_sequential_procedure_rejects():
    rng = np.random.default_rng(3)
    for _ in range(200):
        p = rng.uniform(0, 0.06, rng.integers(1, 8))
        rejected = np.zeros(len(p), dtype=bool)
        for step, place in enumerate(np.argsort(p)):
            if p[place] > 0.05 / (len(p) - step):
                break
            rejected[place] = True
        np.testing.assert_array_equal(holm(p) <= 0.05, rejected)
