"""Options that need a look before a command gets them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from volumetric.errors import InputError


class OptionError(InputError):
    """An option with a value that is none."""


def contrast_files(pairs: Sequence[str]) -> dict[str, Path]:
    """`["t1w=A.nii.gz"]` -> `{"t1w": Path("A.nii.gz")}`."""
    files = {}
    for pair in pairs:
        contrast, equals, path = pair.partition("=")
        if not equals or not path:
            raise OptionError(f"--input {pair}: expected contrast=file, for example t1w=A.nii.gz")
        files[contrast] = Path(path)
    return files


def fractions(text: str) -> tuple[float, float, float]:
    """`"0.7,0.15,0.15"` as numbers; whether they make sense is not looked at."""
    try:
        train, val, test = map(float, text.split(","))
    except ValueError as error:
        raise OptionError(f"--split {text}: expected three numbers, for example 0.7,0.15,0.15") from error
    return train, val, test


def device_name(device: str) -> str:
    """The device, if it is one."""
    if device not in ("auto", "cpu", "cuda"):
        raise OptionError(f"--device {device}: expected auto, cpu or cuda")
    return device
