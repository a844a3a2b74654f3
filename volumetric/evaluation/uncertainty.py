"""Scores of the uncertainty beside a prediction: coverage, where the error is, and the error it expects."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from volumetric.evaluation.subject import NormalizedPrediction, NormalizedSubject, read_prediction
from volumetric.metrics.uncertainty import coverage, error_share_of_top, sparsification
from volumetric.records.evaluation import SparsificationCurve
from volumetric.records.prediction import uncertainty_path


def find_uncertainty(prediction: Path) -> dict[str, Path]:
    """The volume of half-widths beside a prediction, named `uncertainty`; none where there is none."""
    path = uncertainty_path(prediction)
    return {"uncertainty": path} if path != prediction and path.is_file() else {}


def read_uncertainty(subject: NormalizedSubject, prediction: NormalizedPrediction) -> NormalizedPrediction | None:
    """The half-widths in reference units; None without any; errors as `read_prediction`."""
    path = find_uncertainty(prediction.path).get("uncertainty")
    return None if path is None else read_prediction(path, subject, str(prediction.divisor))


def uncertainty_scores(
    subject: NormalizedSubject,
    prediction: NormalizedPrediction,
    half_width: NormalizedPrediction | None,
    masks: Mapping[str, NDArray[np.bool_]],
) -> dict[str, dict[str, float]]:
    """`coverage_90` and `top_tenth_error_share` by region within the brain; none without half-widths.

    Args:
        subject: truth and brain.
        prediction: of the subject.
        half_width: of the prediction.
        masks: regions by name, `(I, J, K)` each.
    """
    scores: dict[str, dict[str, float]] = {}
    if half_width is None:
        return scores
    for name in masks.keys() - {"whole"}:
        error, widths = _inside(subject, prediction, half_width, masks[name])
        scores[name] = {
            "coverage_90": coverage(error, widths),
            "top_tenth_error_share": error_share_of_top(error, widths),
        }
    return scores


def sparsification_of(
    subject: NormalizedSubject, prediction: NormalizedPrediction, half_width: NormalizedPrediction | None
) -> SparsificationCurve | None:
    """The sparsification curve in the brain; arguments as in `uncertainty_scores`."""
    if half_width is None:
        return None
    curve = sparsification(*_inside(subject, prediction, half_width, subject.mask))
    return SparsificationCurve(by_uncertainty=curve.by_uncertainty, by_error=curve.by_error)


def _inside(
    subject: NormalizedSubject,
    prediction: NormalizedPrediction,
    half_width: NormalizedPrediction,
    mask: NDArray[np.bool_],
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Error and half-width, `(N,)` each."""
    return (prediction.array - subject.truth)[mask].astype(np.float64), half_width.array[mask].astype(np.float64)
