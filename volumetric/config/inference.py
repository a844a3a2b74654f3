"""The options of inference, built once and handed down whole."""

from __future__ import annotations

from typing import Self

from pydantic import Field, model_validator

from volumetric.config.choices import Device, Engine, Precision
from volumetric.config.run import Source
from volumetric.config.section import Section


class InferenceOptions(Section):
    """Device, engine, precision, windows and outputs of inference."""

    device: Device = Field("auto", description="auto takes a GPU where there is one")
    engine: Engine = Field("auto", description="auto is OpenVINO on a CPU, where it can be had, and torch elsewhere")
    precision: Precision = Field("auto", description="auto is float32 on a CPU and bfloat16 on a GPU")
    overlap: float | None = Field(
        None, ge=0, le=0.9, description="fraction of a window that its neighbors share; null takes the model's own"
    )
    whole_volume: bool | None = Field(
        None,
        description="one window over the whole volume, where the memory allows; null follows the model, and takes "
        "windows where an overlap is set",
    )

    uncertainty: bool = Field(
        False, exclude_if=lambda wanted: not wanted, description="also the half-width of a 90 % interval in each voxel"
    )
    flips: str = Field(
        "",
        pattern="^x?y?z?$",
        exclude_if=lambda axes: not axes,
        description="axes along which windows are mirrored too and the outputs averaged: letters of xyz, x is "
        "left-right",
    )

    sources: tuple[Source, ...] = Field(
        (),
        exclude_if=lambda sources: not sources,
        description="those to use, of a model that takes any of its sources; empty: all that a subject has",
    )

    @model_validator(mode="after")
    def _overlap_needs_windows(self) -> Self:
        if self.whole_volume and self.overlap is not None:
            raise ValueError("--overlap is of windows: give --windows with it, or --whole-volume without it")
        return self
