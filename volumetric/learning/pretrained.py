"""Fine-tuning: what a training takes over from the model that it starts from."""

from __future__ import annotations

import logging
from collections.abc import Mapping

from torch import Tensor

from volumetric.config.resolve import with_values
from volumetric.config.run import RunConfig
from volumetric.model.folder import load_model
from volumetric.model.predict import Model
from volumetric.model.spec import ModelSpec

log = logging.getLogger(__name__)


def started_from(config: RunConfig) -> tuple[RunConfig, Model | None]:
    """The configuration that fits the model named in it, and that model; unchanged and None where none is named.

    Contrasts, spacing, region, normalization of the sources and network become the model's: its weights mean nothing
    without them.

    Raises:
        ConfigError: the rest of the configuration does not go with them, such as a patch size.
        ModelError: no usable model there.
    """
    if config.pretrained is None:
        return config, None
    model = load_model(config.pretrained)
    spec = model.spec
    adapted = with_values(
        config,
        {
            "task": {"sources": spec.sources, "target": spec.target},
            "space": {"spacing_mm": spec.spacing_mm},
            "mask": {"kind": spec.mask.kind},
            "intensity": {"source_normalization": spec.source_normalization},
            "network": spec.network.model_dump(),
        },
    )
    changed = [name for name in ("task", "space", "mask", "intensity", "network") if _differs(name, config, adapted)]
    if changed:
        log.info("%s decides %s", config.pretrained, ", ".join(changed))
    return adapted, model


def in_units_of(base: Model, spec: ModelSpec) -> ModelSpec:
    """The specification with the intensity units and data range of another model, and its recipe where it has none."""
    return spec.model_copy(
        update={
            "source_maps": base.spec.source_maps,
            "target_map": base.spec.target_map,
            "data_range": base.spec.data_range,
            "preparation": spec.preparation or base.spec.preparation,
            "pretrained_sha256": base.sha256,
        }
    )


def fitted(weights: Mapping[str, Tensor], own: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Trained weights for a network that may have more or fewer outputs; the outputs they lack stay its own.

    Args:
        weights: by name, the trained ones.
        own: by name, those of the other network.
    """
    state = {name: tensor.clone() for name, tensor in own.items()}
    for name, tensor in weights.items():
        if tensor.shape == own[name].shape:
            state[name] = tensor
        else:  # of the head, one output after the other
            num = min(len(tensor), len(own[name]))
            state[name][:num] = tensor[:num]
    return state


def _differs(section: str, first: RunConfig, second: RunConfig) -> bool:
    return bool(getattr(first, section) != getattr(second, section))
