"""How good the averaged weights are on whole validation volumes, in numbers and in a picture."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import nn

from volumetric.config.network import is_window_independent
from volumetric.learning.pairs import Pair
from volumetric.machine import is_out_of_memory
from volumetric.metrics.error import psnr_db
from volumetric.metrics.ssim import ssim
from volumetric.model.predict import plan_for, synthesize
from volumetric.model.spec import ModelSpec

log = logging.getLogger(__name__)

WHOLE_VOLUME_LOSS_DB = 0.05
"""What one pass may cost against windows, which average several guesses of a voxel and take more than twice as long."""


def validate(
    network: nn.Module,
    spec: ModelSpec,
    pairs: Sequence[Pair],
    device: torch.device,
    *,
    picture: Path | None = None,
    title: str = "",
    whole_volume: bool = False,
) -> dict[str, float]:
    """Mean in-mask PSNR and SSIM over whole volumes in model space.

    Args:
        network: on `device`; put into evaluation mode.
        spec: of the model to be.
        pairs: validation subjects.
        device: where to compute.
        whole_volume: one pass over each head, where the memory allows, instead of windows.
        picture: PNG of the first subject to draw, or None.
        title: of the picture.

    Returns:
        `val_psnr_db` and `val_ssim`; nothing without validation subjects.
    """
    if not pairs:
        return {}
    network.eval()
    scores = []
    for pair in pairs:
        inside = pair.mask[0]
        plan = plan_for(spec, inside, device, overlap=spec.overlap, whole_volume=whole_volume)
        prediction = synthesize(network, spec, pair.sources, inside, plan, device).clip(min=0)
        truth, ours, mask = (torch.from_numpy(array) for array in (pair.target[0], prediction, inside))
        scores.append(
            (
                psnr_db(truth, ours, mask=mask, data_range=spec.data_range),
                ssim(truth, ours, mask=mask, data_range=spec.data_range),
            )
        )
        if picture is not None and pair is pairs[0]:
            from volumetric.figures.montage import montage

            montage(
                dict(zip(spec.sources, pair.sources, strict=True)),
                pair.target[0],
                prediction,
                spacing_mm=np.asarray(spec.spacing_mm or pair.spacing_mm),
                title=f"{pair.name}, {title}: PSNR {scores[0][0]:.2f} dB, SSIM {scores[0][1]:.3f}",
                out=picture,
            )
    psnr, similarity = np.mean(scores, axis=0)
    return {"val_psnr_db": float(psnr), "val_ssim": float(similarity)}


def prefer_whole_volume(network: nn.Module, spec: ModelSpec, pairs: Sequence[Pair], device: torch.device) -> bool:
    """Whether one pass over the whole head scores within 0.05 dB of windows, or better, on the validation people.

    No without any, for networks that take statistics of the window, and where the memory does not hold it.
    """
    if not pairs or not is_window_independent(spec.network):
        return False
    try:
        windows, whole = (
            validate(network, spec, pairs, device, whole_volume=whole_volume)["val_psnr_db"]
            for whole_volume in (False, True)
        )
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        log.warning("one pass over the whole head does not fit into the memory: infer uses windows")
        return False
    chosen = whole >= windows - WHOLE_VOLUME_LOSS_DB
    log.info(
        "validation PSNR %.2f dB in windows, %.2f dB in one pass over the whole head: infer uses %s",
        windows, whole, "one pass" if chosen else "windows",
    )  # fmt: skip
    return chosen
