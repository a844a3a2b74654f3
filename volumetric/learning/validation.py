"""Validation: scores of the averaged weights on whole volumes in model space, and a figure of the first."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from lightning_fabric import Fabric
from numpy.typing import NDArray
from torch import nn

from volumetric.config.network import is_window_independent
from volumetric.learning.pairs import TrainingPair
from volumetric.learning.ranks import reduced
from volumetric.machine import is_out_of_memory
from volumetric.metrics.error import psnr_db
from volumetric.metrics.ssim import ssim
from volumetric.model.forward import plan_for, synthesize
from volumetric.model.spec import ModelSpec

log = logging.getLogger(__name__)

WHOLE_VOLUME_LOSS_DB = 0.05
"""Loss of one pass allowed against windows, which average several guesses of a voxel and take twice as long."""


class ValidationScores(NamedTuple):
    """In-mask PSNR and SSIM."""

    psnr_db: float
    ssim: float


def validate(
    network: nn.Module,
    spec: ModelSpec,
    pairs: Sequence[TrainingPair],
    fabric: Fabric,
    *,
    figure: Path | None = None,
    title: str = "",
    whole_volume: bool = False,
) -> ValidationScores:
    """Mean scores over validation subjects, shared among the ranks.

    Args:
        network: on the device; put into evaluation mode.
        spec: of the model to be.
        pairs: validation subjects, at least one.
        fabric: the device, and the ranks, which all call this.
        figure: PNG of the first subject to write, or None.
        title: of the figure.
        whole_volume: one pass over each volume instead of windows; the scores are NaN where it does not fit into the
            memory.
    """
    network.eval()
    scores, device = np.zeros((len(pairs), 2)), fabric.device
    for number in range(fabric.global_rank, len(pairs), fabric.world_size):
        pair = pairs[number]
        mask = pair.mask[0]
        plan = plan_for(spec, mask, device, overlap=spec.overlap, whole_volume=whole_volume)
        try:
            output = synthesize(network, spec, pair.sources, mask, plan, device, pair.measured)
        except (RuntimeError, MemoryError) as error:
            if not whole_volume or not is_out_of_memory(error):
                raise
            scores[number:] = np.nan  # not an error of this rank alone, for which the others would wait
            break
        prediction = output.units.clip(min=0)
        scores[number] = _score(pair, prediction, spec.data_range)
        if figure is not None and number == 0:
            _write_figure(
                figure, pair, prediction, spec, f"{title}: PSNR {scores[0][0]:.2f} dB, SSIM {scores[0][1]:.3f}"
            )
    if fabric.world_size > 1:  # the others' rows are 0 here
        scores = reduced(fabric, torch.from_numpy(scores).to(device)).cpu().numpy()
    psnr, similarity = np.mean(scores, axis=0).tolist()
    return ValidationScores(psnr, similarity)


def _score(pair: TrainingPair, prediction: NDArray[np.float32], data_range: float) -> ValidationScores:
    truth, ours, mask = (torch.from_numpy(array) for array in (pair.target[0], prediction, pair.mask[0]))
    return ValidationScores(*(score(truth, ours, mask=mask, data_range=data_range) for score in (psnr_db, ssim)))


def _write_figure(path: Path, pair: TrainingPair, prediction: NDArray[np.float32], spec: ModelSpec, title: str) -> None:
    from volumetric.figures.montage import montage

    montage(
        {name: array for name, array in zip(spec.sources, pair.sources, strict=True) if name not in pair.missing},
        pair.target[0],
        prediction,
        spacing_mm=np.asarray(spec.spacing_mm or pair.spacing_mm),
        title=f"{pair.name}, {title}",
        out=path,
    )


def prefer_whole_volume(network: nn.Module, spec: ModelSpec, pairs: Sequence[TrainingPair], fabric: Fabric) -> bool:
    """True if one pass over the whole volume scores within 0.05 dB of windows, or better, on the validation subjects.

    False without any, for networks that take statistics of the window, and where the memory does not hold it.
    """
    if not pairs or not is_window_independent(spec.network):
        return False
    windows, whole = (validate(network, spec, pairs, fabric, whole_volume=option) for option in (False, True))
    if np.isnan(whole.psnr_db):
        log.warning("one pass over the whole volume does not fit into the memory: infer uses windows")
        return False
    preferred = whole.psnr_db >= windows.psnr_db - WHOLE_VOLUME_LOSS_DB
    log.info(
        f"validation PSNR {windows.psnr_db:.2f} dB in windows, {whole.psnr_db:.2f} dB in one pass over the whole "
        f"volume: infer uses {'one pass' if preferred else 'windows'}"
    )
    return preferred
