"""Matplotlib figures without global state, and their encoding as PNG or WebP."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Literal

from matplotlib.figure import Figure

from volumetric.outputs import write_bytes


def new_figure(width_inch: float, height_inch: float, *, dark: bool = False) -> Figure:
    """An empty figure; a dark one is black, for images."""
    return Figure((width_inch, height_inch), layout="constrained", facecolor="black" if dark else "white")


def encode(figure: Figure, kind: Literal["png", "webp"], *, dpi: int = 80) -> bytes:
    """The figure as an image file's content; equal figures give equal bytes."""
    data = io.BytesIO()
    if kind == "png":
        figure.savefig(data, format="png", dpi=dpi, metadata={"Software": None})
    else:
        figure.savefig(data, format="webp", dpi=dpi, pil_kwargs={"quality": 88, "method": 6})
    return data.getvalue()


def save_png(figure: Figure, path: Path, *, dpi: int = 80) -> None:
    """Write the figure; equal figures give equal bytes."""
    write_bytes(path, encode(figure, "png", dpi=dpi))
