"""Agreement of truth and prediction in the mean intensity of each tissue, by Bland and Altman."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from volumetric.reporting.results import EvaluationResults

_TISSUES = {"csf": "CSF", "gm": "Gray matter", "wm": "White matter"}
_LIMITS_SD = 1.96


@dataclass(frozen=True)
class Agreement:
    """Differences of a tissue's mean intensity over the means of the pairs (Lancet 1986, 307-310), reference units.

    Attributes:
        region: `csf`, `gm` or `wm`.
        label: its name on the page.
        subjects: `S` names.
        means: `S` numbers, (truth + prediction) / 2.
        differences: `S` numbers, prediction - truth.
        bias: mean difference.
        lower: bias - 1.96 SD of the differences; NaN for one subject.
        upper: bias + 1.96 SD.
    """

    region: str
    label: str
    subjects: list[str]
    means: list[float]
    differences: list[float]
    bias: float
    lower: float
    upper: float


def agreements(results: EvaluationResults) -> list[Agreement]:
    """One for each tissue that has means; empty if there are none."""
    every = [_agreement(results, region, label) for region, label in _TISSUES.items()]
    return [agreement for agreement in every if agreement is not None]


def _agreement(results: EvaluationResults, region: str, label: str) -> Agreement | None:
    pairs = [
        (row.key.name, row.truth_mean, row.prediction_mean)
        for row in results.scored(region)
        if row.truth_mean is not None and row.prediction_mean is not None
    ]
    pairs = [pair for pair in pairs if math.isfinite(pair[1]) and math.isfinite(pair[2])]
    if not pairs:
        return None
    names, truth, prediction = zip(*pairs, strict=True)
    differences = np.subtract(prediction, truth)
    bias = float(differences.mean())
    half_width = _LIMITS_SD * float(differences.std(ddof=1)) if len(pairs) > 1 else math.nan
    return Agreement(
        region=region,
        label=label,
        subjects=list(names),
        means=(np.add(truth, prediction) / 2).tolist(),
        differences=differences.tolist(),
        bias=bias,
        lower=bias - half_width,
        upper=bias + half_width,
    )
