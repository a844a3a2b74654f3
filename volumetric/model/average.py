"""Average of the weights of several models: a model folder of its own, as fast as one of them."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import nn

from volumetric.model.ensemble import check_agree, uncalibrated
from volumetric.model.folder import load_model, save_model
from volumetric.model.spec import SPEC, ModelError
from volumetric.outputs import OutputError, locked

log = logging.getLogger(__name__)

_SHARED = (
    *("sources", "optional_sources", "target", "spacing_mm", "mask", "network", "out_channels", "pretrained_sha256"),
    *("label_classes", "source_normalization", "source_maps", "target_map", "data_range"),
)


def average(models: Sequence[Path | str], out: Path, *, fresh: bool = False) -> Path:
    """Write the model whose weights are the mean of those of several (Wortsman 2022).

    The mean of networks means something where they started from the same weights and saw the same intensities: seeds
    or settings of one fine-tuning. Trainings from different first weights average to noise.

    Args:
        models: names, model folders or run folders.
        out: the model folder to write.
        fresh: replace a model that is there.

    Returns:
        The model folder.

    Raises:
        ModelError: fewer than two models, or models that differ in contrasts, space, units or network.
        OutputError: `out` holds a model already.
    """
    loaded = [load_model(model) for model in models]
    if len({model.sha256 for model in loaded}) < 2:
        raise ModelError("an average needs two different models; name two or more folders")
    specs = [model.spec for model in loaded]
    check_agree(specs, _SHARED)
    if specs[0].pretrained_sha256 is None:
        log.warning("the models name no model that they started from: from different first weights, the mean is noise")
    with locked(out):
        if (out / SPEC).is_file() and not fresh:
            raise OutputError(f"{out}: there is a model already; choose another --out, or replace it with --fresh")
        first = _averaged([model.network for model in loaded])
        spec = uncalibrated(specs[0]).model_copy(update={"features": None})  # measured with its own network
        save_model(out, first, spec)
    return out


def _averaged(networks: Sequence[nn.Module]) -> nn.Module:
    """The first network, its weights replaced by the mean of all; whole numbers stay its own."""
    states = [network.state_dict() for network in networks]
    with torch.no_grad():
        for name, tensor in states[0].items():
            if tensor.is_floating_point():
                tensor.copy_(torch.stack([state[name].double() for state in states]).mean(dim=0))
    return networks[0]
