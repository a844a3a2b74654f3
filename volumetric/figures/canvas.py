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
    figure.set_dpi(dpi)
    _round_layout(figure)
    data = io.BytesIO()
    if kind == "png":
        figure.savefig(data, format="png", dpi=dpi, metadata={"Software": None})
    else:
        figure.savefig(data, format="webp", dpi=dpi, pil_kwargs={"quality": 88, "method": 6})
    return data.getvalue()


def save_png(figure: Figure, path: Path, *, dpi: int = 80) -> None:
    """Write the figure; equal figures give equal bytes."""
    write_bytes(path, encode(figure, "png", dpi=dpi))


def _round_layout(figure: Figure) -> None:
    """Lay out the axes at six digits: the last ones differ between processes, and antialiased lines with them."""
    if (engine := figure.get_layout_engine()) is None:
        return
    engine.execute(figure)
    figure.set_layout_engine("none")
    for ax in figure.axes:
        left, bottom, width, height = (round(side, 6) for side in ax.get_position(original=True).bounds)
        ax.set_position((left, bottom, width, height))
