"""Options of inference as a model on a device follows them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch

from volumetric.config.choices import Device, Precision
from volumetric.config.inference import InferenceOptions
from volumetric.config.run import Source
from volumetric.errors import InputError
from volumetric.model.spec import ModelSpec

_RUN_ON: Mapping[str, tuple[Device, Precision]] = {"cpu": ("cpu", "float32"), "cuda": ("cuda", "bfloat16")}
"""Type of a device -> its name, and the precision that `auto` means there."""


def resolve_options(options: InferenceOptions, spec: ModelSpec, device: torch.device) -> InferenceOptions:
    """The options as a model on a device follows them: only the engine may still be `auto`.

    Raises:
        InputError: uncertainty of a model that has none, or a choice of sources that it does not have or leave.
    """
    if options.sources:
        _check_sources(options.sources, spec)
    if options.uncertainty and spec.uncertainty is None:
        raise InputError(
            "--uncertainty: the model was trained without; leave it out, or train with --set uncertainty.weight=0.25"
        )
    whole_volume = options.whole_volume
    if whole_volume is None:
        whole_volume = spec.whole_volume and options.overlap is None
    overlap = spec.overlap if options.overlap is None else options.overlap
    name, precision = _RUN_ON[device.type]
    return InferenceOptions(
        device=name,
        engine=options.engine,
        precision=precision if options.precision == "auto" else options.precision,
        overlap=None if whole_volume else overlap,
        whole_volume=whole_volume,
        uncertainty=options.uncertainty,
        flips=options.flips,
        sources=options.sources,
    )


def _check_sources(sources: Sequence[Source], spec: ModelSpec) -> None:
    known = ", ".join(spec.sources)
    if unknown := [contrast for contrast in sources if contrast not in spec.sources]:
        raise InputError(f"--sources {','.join(unknown)}: the model's sources are {known}")
    if not spec.optional_sources:
        raise InputError(
            f"--sources: the model needs all of {known}; leave it out, or train one that takes any of them with "
            "--set augmentation.missing_probability=0.5"
        )
