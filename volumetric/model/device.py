"""The device that a model runs on."""

from __future__ import annotations

import torch

from volumetric.config.choices import Device
from volumetric.errors import InputError


class DeviceError(InputError):
    """A device that is named and not there."""


def pick_device(device: Device) -> torch.device:
    """The device a name means; `auto` takes a GPU where there is one.

    Raises:
        DeviceError: `cuda` is named and there is none.
    """
    if device == "cuda" and not torch.cuda.is_available():
        raise DeviceError("--device cuda: this machine shows no CUDA device; use --device cpu or auto")
    chosen = ("cuda" if torch.cuda.is_available() else "cpu") if device == "auto" else device
    return torch.device(chosen)
