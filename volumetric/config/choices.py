"""Options that are one of a few words, and the default model; apart from the sections, so that the command line loads
without pydantic."""

from __future__ import annotations

from typing import Literal

Device = Literal["auto", "cpu", "cuda"]
Engine = Literal["auto", "openvino", "torch"]
Executor = Literal["local", "ray"]
Layout = Literal["auto", "bids", "ixi", "dicom", "folders"]
MaskKind = Literal["brain", "head"]
Precision = Literal["auto", "float32", "bfloat16"]
SplitChoice = Literal["train", "val", "test", "all"]
ViewerChoice = Literal["shown", "all", "none"]

DEFAULT_MODEL = "t1w_to_t2w"
"""Shipped model that is run where none is named."""
