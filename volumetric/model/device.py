"""Device that a network runs on, found without torch where there can be no GPU."""

from __future__ import annotations

from typing import Literal

from volumetric.config.choices import Device
from volumetric.errors import InputError
from volumetric.machine import may_have_gpu

DeviceName = Literal["cpu", "cuda"]


class DeviceError(InputError):
    """A device that is named and not there."""


def pick_device(device: Device) -> DeviceName:
    """The device a name means; `auto` takes a GPU where there is one.

    Raises:
        DeviceError: `cuda` is named and there is none.
    """
    if device == "cpu" or not may_have_gpu():
        has_gpu = False
    else:
        import torch  # takes 2 s, and a machine without a GPU need not ask it

        has_gpu = torch.cuda.is_available()
    if device == "cuda" and not has_gpu:
        raise DeviceError("--device cuda: this machine shows no CUDA device; use --device cpu or auto")
    return "cuda" if has_gpu else "cpu"
