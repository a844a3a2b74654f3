"""A matplotlib figure without any global state, and its whole-or-absent PNG."""

from __future__ import annotations

import io
from pathlib import Path

from matplotlib.figure import Figure

from volumetric.outputs import write_bytes


def new_figure(width_inch: float, height_inch: float, *, dark: bool = False) -> Figure:
    """An empty figure; a dark one is black, for images."""
    return Figure((width_inch, height_inch), layout="constrained", facecolor="black" if dark else "white")


def save_png(figure: Figure, path: Path, *, dpi: int = 80) -> None:
    """Write the figure; equal figures give equal bytes."""
    data = io.BytesIO()
    figure.savefig(data, format="png", dpi=dpi, metadata={"Software": None})
    write_bytes(path, data.getvalue())
