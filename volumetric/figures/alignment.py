"""Whether two contrasts of a head lie on one another: mask outlines and checkerboards."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from volumetric.figures.canvas import new_figure, save_png

_SQUARE_MM = 18.0
_OUTLINE = "#ffd000"


class Panel(NamedTuple):
    """One column of the picture: a title and a volume `(I, J, K)`, or two that take turns on a checkerboard."""

    title: str
    volumes: tuple[NDArray[np.float32], ...]


def alignment_figure(
    panels: list[Panel], mask: NDArray[np.bool_], *, spacing_mm: NDArray[np.float64], title: str, out: Path
) -> None:
    """Three planes through the middle of the brain, the mask's outline on single volumes.

    Gray goes from 0 to the 99th in-mask percentile of each volume. Left in the picture is the patient's left.

    Args:
        panels: the columns; all volumes along RAS axes, on the mask's grid.
        mask: brain `(I, J, K)`.
        spacing_mm: voxel size, `(3,)`.
        title: above the picture.
        out: PNG to write.
    """
    width, depth, height = np.array(mask.shape) * spacing_mm
    figure = new_figure(2.9 * len(panels), 2.9 * (depth + 2 * height) / max(width, depth), dark=True)
    axes = figure.subplots(3, len(panels), height_ratios=[depth, height, height], squeeze=False)
    center = np.argwhere(mask).mean(axis=0).round().astype(int)
    for column, panel in enumerate(panels):
        shown = [volume / max(float(np.quantile(volume[mask], 0.99)), 1e-9) for volume in panel.volumes]
        for row, (axis, along, up) in enumerate(((2, 0, 1), (1, 0, 2), (0, 1, 2))):
            planes = [np.take(volume, center[axis], axis).T for volume in shown]
            outline = np.take(mask, center[axis], axis).T
            plane = planes[0] if len(planes) == 1 else np.where(_board(outline.shape, spacing_mm, along, up), *planes)
            ax = axes[row, column]
            aspect = spacing_mm[up] / spacing_mm[along]
            ax.imshow(plane, cmap="gray", vmin=0, vmax=1, origin="lower", aspect=aspect, interpolation="nearest")
            if len(planes) == 1 and outline.any() and not outline.all():
                ax.contour(outline, levels=[0.5], colors=_OUTLINE, linewidths=0.7)
            ax.set(xticks=[], yticks=[], facecolor="black")
        axes[0, column].set_title(panel.title, color="white")
    figure.suptitle(title, color="white")
    save_png(figure, out)


def _board(shape: tuple[int, ...], spacing_mm: NDArray[np.float64], along: int, up: int) -> NDArray[np.bool_]:
    """Squares of equal size in mm, whatever the voxels."""
    rows, columns = (np.arange(n) * s // _SQUARE_MM for n, s in zip(shape, spacing_mm[[up, along]], strict=True))
    board: NDArray[np.bool_] = (rows[:, None] + columns[None]) % 2 == 0
    return board
