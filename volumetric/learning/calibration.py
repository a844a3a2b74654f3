"""Calibration of the widths that a network learned, on the validation subjects."""

from __future__ import annotations

import logging
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from volumetric.batch.progress import progress
from volumetric.learning.pairs import TrainingPair
from volumetric.model.forward import plan_for, synthesize
from volumetric.model.spec import ModelSpec
from volumetric.model.uncertainty import NOMINAL_COVERAGE, Calibration, UncertaintySpec

log = logging.getLogger(__name__)

_MOST_VOXELS = 100_000
"""Of a subject, evenly thinned: neighbors err alike, so more of them tell little more."""


def calibrated(network: nn.Module, spec: ModelSpec, pairs: Sequence[TrainingPair], device: torch.device) -> ModelSpec:
    """The specification with the factor that holds on validation subjects; as it is without any, or without widths.

    Args:
        network: on the device, in evaluation mode.
        spec: of the model to be; says whether windows or one pass.
        pairs: validation subjects.
        device: where to compute.
    """
    if spec.uncertainty is None or not pairs:
        return spec
    with progress("calibrating", len(pairs), "subjects") as advance:
        scores = []
        for pair in pairs:
            scores.append(_scores(network, spec, pair, device))
            advance(pair.name)
    calibration = calibrate(scores)
    log.info("90 %% of the validation voxels err by less than %.2f widths", calibration.factor)
    return spec.model_copy(update={"uncertainty": UncertaintySpec(calibration=calibration)})


def calibrate(scores: Sequence[NDArray[np.float64]]) -> Calibration:
    """Split conformal prediction (Lei et al. 2018), each subject weighted by its number of voxels.

    The factor is the quantile of |error| / width at 90 %. Its coverage is measured on each subject by the factor of
    the others.

    Args:
        scores: of each subject, |error| / width in voxels of its mask, `(N,)`.
    """
    inside = [float((own <= _factor([*scores[:n], *scores[n + 1 :]])).mean()) for n, own in enumerate(scores)]
    several = len(scores) > 1
    return Calibration(
        factor=round(_factor(scores), 6),
        num_subjects=len(scores),
        coverage=round(float(np.mean(inside)), 4) if several else None,
        coverage_low=round(min(inside), 4) if several else None,
        coverage_high=round(max(inside), 4) if several else None,
    )


def _factor(scores: Sequence[NDArray[np.float64]]) -> float:
    """The quantile of the voxels' scores and one that is infinite: that of a voxel to come."""
    pooled = np.concatenate([*scores, [np.inf]]) if scores else np.array([np.inf])
    factor = float(np.quantile(pooled, NOMINAL_COVERAGE, method="inverted_cdf"))
    return max(factor, float(np.finfo(np.float32).tiny))


def _scores(network: nn.Module, spec: ModelSpec, pair: TrainingPair, device: torch.device) -> NDArray[np.float64]:
    assert spec.uncertainty is not None
    mask = pair.mask[0]
    plan = plan_for(spec, mask, device, overlap=spec.overlap, whole_volume=spec.whole_volume)
    output = synthesize(network, spec, pair.sources, mask, plan, device, pair.measured)
    assert output.half_width is not None
    error = np.abs(output.units.clip(min=0) - pair.target[0])[mask].astype(np.float64)
    scores: NDArray[np.float64] = error * spec.uncertainty.factor / output.half_width[mask]
    return scores[:: max(1, error.size // _MOST_VOXELS)]
