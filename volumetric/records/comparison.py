"""The tables of a comparison: paired tests, and the spread over seeds."""

from __future__ import annotations

from typing import ClassVar

from volumetric.records.evaluation import Better
from volumetric.records.table import TableRow

COMPARISON_FILE = "comparison.csv"
SEEDS_FILE = "seeds.csv"
_REMEDY = "compare again with `volumetric compare --out`"


class ComparisonRow(TableRow):
    """A row of `comparison.csv`: a candidate against a baseline in one metric; differences are candidate - baseline.

    Attributes:
        n: subjects with two finite values.
        num_sessions: sessions that both have.
        seed_standard_error: of the mean difference, from the draw of seeds alone; NaN unless both have several.
        p_holm: `p`, corrected for all tests of the call.
        smallest_p: that as many subjects can give.
    """

    REMEDY: ClassVar[str] = _REMEDY

    candidate: str
    baseline: str
    region: str
    metric: str
    unit: str
    better: Better
    n: int
    num_sessions: int
    num_sessions_candidate_only: int
    num_sessions_baseline_only: int
    num_nonfinite: int
    num_seeds_candidate: int
    num_seeds_baseline: int
    seed_standard_error: float
    candidate_mean: float
    baseline_mean: float
    mean_difference: float
    ci95_low: float
    ci95_high: float
    median_difference: float
    sd_difference: float
    p: float
    p_holm: float
    p_method: str
    smallest_p: float
    rank_biserial: float
    cohens_dz: float
    num_wins: int
    num_ties: int
    num_losses: int
    win_rate: float


class SeedRow(TableRow):
    """A row of `seeds.csv`: one metric over the seeds of one configuration.

    Attributes:
        seeds: their numbers, with a space between.
        n: subjects that every seed has, with finite values.
        num_nonfinite: subjects with a value that is not finite.
        mean: over seeds, of the mean over subjects; with its sign, also where nearer to zero is better.
        within_subject_sd: SD over seeds in one subject (root of the mean variance over subjects).
    """

    REMEDY: ClassVar[str] = _REMEDY

    label: str
    method: str
    region: str
    metric: str
    unit: str
    seeds: str
    num_seeds: int
    n: int
    num_nonfinite: int
    mean: float
    sd_over_seeds: float
    min_over_seeds: float
    max_over_seeds: float
    within_subject_sd: float
