"""Figure of the alignment of two contrasts of a subject: mask outlines and checkerboards."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from volumetric.figures.canvas import new_figure, save_png

_SQUARE_MM = 18.0
_OUTLINE = "#ffd000"


class ImageColumn(NamedTuple):
    """One column of the figure: a title and a volume `(I, J, K)`, or two that alternate on a checkerboard."""

    title: str
    volumes: tuple[NDArray[np.float32], ...]


def alignment_figure(
    columns: list[ImageColumn], mask: NDArray[np.bool_], *, spacing_mm: NDArray[np.float64], title: str, out: Path
) -> None:
    """Draw three planes through the middle of the brain, with the mask's outline on single volumes.

    Gray goes from 0 to the 99th in-mask percentile of each volume. Left in the figure is the patient's left.

    Args:
        columns: titles and volumes; all volumes along RAS axes, on the mask's grid.
        mask: brain `(I, J, K)`.
        spacing_mm: voxel size, `(3,)`.
        title: above the figure.
        out: PNG to write.
    """
    width, depth, height = np.array(mask.shape) * spacing_mm
    figure = new_figure(2.9 * len(columns), 2.9 * (depth + 2 * height) / max(width, depth), dark=True)
    axes = figure.subplots(3, len(columns), height_ratios=[depth, height, height], squeeze=False)
    center = np.argwhere(mask).mean(axis=0).round().astype(int)
    for number, column in enumerate(columns):
        scaled = [volume / max(float(np.quantile(volume[mask], 0.99)), 1e-9) for volume in column.volumes]
        for row, (axis, along, up) in enumerate(((2, 0, 1), (1, 0, 2), (0, 1, 2))):
            planes = [np.take(volume, center[axis], axis).T for volume in scaled]
            outline = np.take(mask, center[axis], axis).T
            plane = planes[0] if len(planes) == 1 else np.where(_board(outline.shape, spacing_mm, along, up), *planes)
            ax = axes[row, number]
            aspect = spacing_mm[up] / spacing_mm[along]
            ax.imshow(plane, cmap="gray", vmin=0, vmax=1, origin="lower", aspect=aspect, interpolation="nearest")
            if len(planes) == 1 and outline.any() and not outline.all():
                ax.contour(outline, levels=[0.5], colors=_OUTLINE, linewidths=0.7)
            ax.set(xticks=[], yticks=[], facecolor="black")
        axes[0, number].set_title(column.title, color="white")
    figure.suptitle(title, color="white")
    save_png(figure, out)


def _board(shape: tuple[int, ...], spacing_mm: NDArray[np.float64], along: int, up: int) -> NDArray[np.bool_]:
    """Checkerboard `(rows, columns)` with squares of equal size in mm for any voxel size."""
    rows, columns = (np.arange(n) * s // _SQUARE_MM for n, s in zip(shape, spacing_mm[[up, along]], strict=True))
    board: NDArray[np.bool_] = (rows[:, None] + columns[None]) % 2 == 0
    return board
