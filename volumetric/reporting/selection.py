"""Selection of the subjects that the page shows: the best, the median and the worst."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from volumetric.records.table import SessionKey
from volumetric.reporting.results import EvaluationResults

_RANKED_BY = ("ssim", "psnr_db")

Rank = Literal["best", "median", "worst", "only", ""]


@dataclass(frozen=True)
class SelectedSubject:
    """A subject that is shown.

    Attributes:
        key: subject and session.
        rank: empty for one that is shown because all are.
    """

    key: SessionKey
    rank: Rank


def select_subjects(results: EvaluationResults) -> list[SelectedSubject]:
    """Select the best, median and worst subject by the model's SSIM in the brain, or its PSNR without an SSIM.

    Of an even number of subjects the better of the two in the middle is the median. Of two subjects there is no median.
    """
    ranked = _ranked(results)
    if len(ranked) < 2:
        return [SelectedSubject(key, "only") for key in ranked]
    middle = [SelectedSubject(ranked[(len(ranked) - 1) // 2], "median")] if len(ranked) > 2 else []
    return [SelectedSubject(ranked[0], "best"), *middle, SelectedSubject(ranked[-1], "worst")]


def _ranked(results: EvaluationResults) -> list[SessionKey]:
    """Best first; one subject where no row has a value to rank by."""
    rows = results.scored(results.main_region)
    for metric in _RANKED_BY:
        values = [(row.metrics.get(metric, math.nan), row.key) for row in rows]
        valid = [pair for pair in values if not math.isnan(pair[0])]
        if valid:
            return [key for _, key in sorted(valid, key=lambda pair: -pair[0])]
    return [row.key for row in rows[:1]]
