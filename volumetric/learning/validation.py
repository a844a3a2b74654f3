"""How good the averaged weights are on whole validation volumes, in numbers and in a picture."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import nn

from volumetric.learning.pairs import Pair
from volumetric.metrics.error import psnr_db
from volumetric.metrics.ssim import ssim
from volumetric.model.predict import synthesise
from volumetric.model.spec import ModelSpec
from volumetric.model.windows import plan_windows


def validate(
    network: nn.Module,
    spec: ModelSpec,
    pairs: Sequence[Pair],
    device: torch.device,
    *,
    picture: Path | None,
    title: str,
) -> dict[str, float]:
    """Mean in-mask PSNR and SSIM over whole volumes in model space.

    Args:
        network: on `device`; put into evaluation mode.
        spec: of the model to be.
        pairs: validation subjects.
        device: where to compute.
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
        plan = plan_windows(inside, spec.patch_size, spec.overlap)
        prediction = synthesise(network, spec, pair.sources, inside, plan, device).clip(min=0)
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
