"""Options that are parsed or checked before a command gets them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from volumetric.config.choices import Device, Engine, Precision
from volumetric.errors import InputError

if TYPE_CHECKING:
    from volumetric.config.inference import InferenceOptions


class OptionError(InputError):
    """An option with a value that does not fit."""


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
    """`"0.7,0.15,0.15"` as numbers; their sum is not checked."""
    try:
        train, val, test = map(float, text.split(","))
    except ValueError as error:
        raise OptionError(f"--split {text}: expected three numbers, for example 0.7,0.15,0.15") from error
    return train, val, test


def inference_options(
    device: Device, engine: Engine, precision: Precision, overlap: float | None, whole_volume: bool | None
) -> InferenceOptions:
    """The options of inference as one object; arguments as its fields."""
    from pydantic import ValidationError

    from volumetric.config.inference import InferenceOptions

    try:
        return InferenceOptions(
            device=device, engine=engine, precision=precision, overlap=overlap, whole_volume=whole_volume
        )
    except ValidationError as error:
        raise OptionError(error.errors()[0]["msg"].removeprefix("Value error, ")) from error
