"""Owns the comparison of two methods on the same subjects: paired differences, their test, and its correction."""

import math
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt
from scipy import stats

from volumetric.errors import InputError
from volumetric.metrics.statistics import summarize

# Numbers in a CSV have nine significant digits, so smaller differences are none.
_DIGITS = 9
# Up to so many subjects the signed-rank test is exact, in milliseconds.
_MAX_EXACT = 200


class SignedRank(NamedTuple):
    """A two-sided Wilcoxon signed-rank test.

    Attributes:
        p: The p-value, in (0, 1]; 1 if all differences are 0.
        method: `exact` or `normal approximation`.
        rank_biserial: (W+ - W-) / (sum of all ranks), in [-1, 1]; positive if differences are.
    """

    p: float
    method: str
    rank_biserial: float


@dataclass(frozen=True)
class PairedDifference:
    """Paired difference of a candidate from a baseline in the same subjects: candidate - baseline.

    Attributes:
        n: Number of subjects with two finite values, those that the statistics are of.
        num_nonfinite: Number of subjects left out because a value is NaN or infinite.
        mean: Mean difference, in the metric's units.
        ci95_low: Lower end of the 95 % bootstrap interval of the mean difference; NaN for n < 2.
        ci95_high: Upper end.
        median: Median difference.
        sd: Sample standard deviation of the differences; NaN for n < 2.
        p: Of the two-sided signed-rank test; NaN for n = 0.
        p_method: `exact` or `normal approximation`.
        smallest_p: The smallest p-value that as many subjects can give: 2^(1 - n), of those who differ.
        rank_biserial: Matched-pairs rank-biserial correlation, in [-1, 1]; positive if the candidate is better.
        cohens_dz: Mean / SD of the differences; positive if the candidate is better; NaN where the SD is 0.
        num_wins: Subjects in whom the candidate is better.
        num_ties: Subjects in whom both are equal to nine digits.
        num_losses: Subjects in whom the baseline is better.
        win_rate: (wins + ties / 2) / n, in [0, 1].
    """

    n: int
    num_nonfinite: int
    mean: float
    ci95_low: float
    ci95_high: float
    median: float
    sd: float
    p: float
    p_method: str
    smallest_p: float
    rank_biserial: float
    cohens_dz: float
    num_wins: int
    num_ties: int
    num_losses: int
    win_rate: float


def paired_difference(
    baseline: npt.ArrayLike,
    candidate: npt.ArrayLike,
    *,
    better: Literal["higher", "lower"],
    num_resamples: int = 10_000,
    seed: int = 0,
) -> PairedDifference:
    """Compares two methods that were scored on the same subjects.

    The interval resamples subjects (percentile bootstrap). The test is Wilcoxon's signed-rank test (Biometrics
    Bulletin 1:80-83, 1945); see `signed_rank`. Cohen's dz as in Lakens, Frontiers in Psychology 4:863, 2013.

    Args:
        baseline: `(S,)`, one number a subject.
        candidate: `(S,)`, of the same subjects in the same order.
        better: Which direction of the metric is good.
        num_resamples: Number of bootstrap resamples, at least 1.
        seed: Seed of the resampling.

    Raises:
        InputError: Unequal or wrong shapes, or `num_resamples` below 1.
    """
    first, second = (np.asarray(values, dtype=np.float64) for values in (baseline, candidate))
    if first.shape != second.shape or first.ndim != 1:
        raise InputError(
            f"expected one number a subject in both, shape (S,), got shapes {first.shape} and {second.shape}; "
            "pair the subjects first"
        )
    finite = np.isfinite(first) & np.isfinite(second)
    differences = _rounded(second[finite] - first[finite], np.r_[first[finite], second[finite]])
    summary = summarize(differences, num_resamples=num_resamples, seed=seed)
    gains = differences if better == "higher" else -differences
    wins, losses = int((gains > 0).sum()), int((gains < 0).sum())
    n = len(gains)
    test = signed_rank(gains) if n else SignedRank(math.nan, "", math.nan)
    return PairedDifference(
        n=n,
        num_nonfinite=len(first) - n,
        mean=summary.mean,
        ci95_low=summary.ci95_low,
        ci95_high=summary.ci95_high,
        median=summary.median,
        sd=summary.sd,
        p=test.p,
        p_method=test.method,
        smallest_p=min(1.0, 2.0 ** (1 - wins - losses)),
        rank_biserial=test.rank_biserial,
        cohens_dz=float(gains.mean()) / summary.sd if summary.sd > 0 else math.nan,
        num_wins=wins,
        num_ties=n - wins - losses,
        num_losses=losses,
        win_rate=(wins + (n - wins - losses) / 2) / n if n else math.nan,
    )


def signed_rank(differences: npt.ArrayLike) -> SignedRank:
    """Wilcoxon's signed-rank test of finite differences `(S,)` against a distribution symmetric about 0.

    Zeros are ranked with the others and then their ranks are dropped (Pratt, JASA 54:655-667, 1959): they speak
    for no difference. Equal absolute differences share the mean of their ranks. Up to 200 subjects the p-value is
    exact, ties and zeros included: of all 2^n choices of signs, the share with a W+ at least as far from its
    mean. Above, it is scipy's normal approximation. The rank-biserial correlation is Kerby's (Comprehensive
    Psychology 3:1, 2014) over the ranks of all subjects, so that a zero pulls it toward 0.
    """
    values = np.asarray(differences, dtype=np.float64)
    # Twice the ranks are whole numbers, since a tie of two shares ranks 1 and 2 as 1.5.
    ranks = np.rint(2 * stats.rankdata(np.abs(values))).astype(np.int64)
    positive, total = int(ranks[values > 0].sum()), int(ranks[values != 0].sum())
    if total == 0:
        return SignedRank(1.0, "exact", 0.0)
    rank_biserial = (2 * positive - total) / int(ranks.sum())
    if len(values) > _MAX_EXACT:
        approximation = stats.wilcoxon(values, zero_method="pratt", method="asymptotic")
        return SignedRank(float(approximation.pvalue), "normal approximation", rank_biserial)
    # Probability of each 2 W+ under random signs: every subject adds its rank or does not.
    probabilities = np.ones(1)
    for rank in ranks[values != 0]:
        probabilities = (np.pad(probabilities, (0, rank)) + np.pad(probabilities, (rank, 0))) / 2
    away = np.abs(2 * np.arange(total + 1) - total) >= abs(2 * positive - total)
    return SignedRank(min(1.0, float(probabilities[away].sum())), "exact", rank_biserial)


def holm(p_values: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """Corrects p-values for their number, so that the chance of any false rejection stays below the level.

    Holm, Scandinavian Journal of Statistics 6:65-70, 1979: the smallest is multiplied by m, the next by m - 1, and
    so on, never below the one before and never above 1.

    Args:
        p_values: `(m,)`; NaN ones are no tests, are not counted and stay NaN.

    Returns:
        `(m,)`, in the order of `p_values`.
    """
    p = np.asarray(p_values, dtype=np.float64)
    order = np.argsort(p)[: np.isfinite(p).sum()]
    corrected = np.full(p.shape, np.nan)
    factors = np.arange(len(order), 0, -1)
    corrected[order] = np.minimum(1, np.maximum.accumulate(factors * p[order]))
    return corrected


def _rounded(differences: npt.NDArray[np.float64], values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Differences to nine digits of the largest of the values, so that 0.3 - 0.2 and 0.2 - 0.1 tie."""
    largest = float(np.abs(values).max(initial=0))
    if largest == 0:
        return differences
    decimals = _DIGITS - 1 - math.floor(math.log10(largest))
    return np.round(differences, decimals)
