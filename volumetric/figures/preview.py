"""Figure of many subjects: an axial slice of each in both contrasts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from volumetric.figures.canvas import new_figure, save_png
from volumetric.figures.montage import GRAY_UPPER, SOURCE_UPPER

if TYPE_CHECKING:
    from matplotlib.axes import Axes

NUM_COLUMNS = 6
_PANEL_INCH = 2.2


@dataclass(frozen=True, eq=False)
class PreviewSubject:
    """One subject of a preview.

    Attributes:
        title: above its T1w slice.
        notes: below its T1w and its T2w slice; may be empty.
        t1w: `(I, J, K)` along RAS axes, reference units.
        t2w: the same.
        mask: brain `(I, J, K)`.
        spacing_mm: voxel size, `(3,)`.
    """

    title: str
    notes: tuple[str, str]
    t1w: NDArray[np.float32]
    t2w: NDArray[np.float32]
    mask: NDArray[np.bool_]
    spacing_mm: NDArray[np.float64]


def preview(subjects: Sequence[PreviewSubject], out: Path) -> None:
    """Write `draw_preview` as a PNG file."""
    save_png(draw_preview(subjects), out)


def draw_preview(subjects: Sequence[PreviewSubject]) -> Figure:
    """Draw an axial slice of each subject, T2w below T1w, six subjects side by side, all at one scale.

    Left in the figure is the patient's left. Gray goes from 0 to 1.8 in T1w and to 2.5 in T2w, in reference units.
    """
    columns = min(NUM_COLUMNS, len(subjects))
    lines = -(-len(subjects) // columns)
    width, depth = (max(s.t1w.shape[axis] * s.spacing_mm[axis] for s in subjects) for axis in (0, 1))
    figure = new_figure(_PANEL_INCH * columns, lines * 2 * (_PANEL_INCH * depth / width + 0.35), dark=True)
    all_axes = figure.subplots(2 * lines, columns, squeeze=False)
    for axes in all_axes.flat:
        axes.set(xticks=[], yticks=[], xlim=(-width / 2, width / 2), ylim=(-depth / 2, depth / 2), facecolor="black")
        axes.set_aspect("equal")
    for place, subject in enumerate(subjects):
        line, column = divmod(place, columns)
        upper, lower = all_axes[2 * line : 2 * line + 2, column]
        upper.set_title(subject.title, color="white", fontsize=9)
        slice_number = _slice_number(subject.mask)
        for axes, name, white, note in (
            (upper, "t1w", SOURCE_UPPER, subject.notes[0]),
            (lower, "t2w", GRAY_UPPER, subject.notes[1]),
        ):
            _draw_slice(axes, getattr(subject, name)[:, :, slice_number], subject.spacing_mm, white)
            axes.set_xlabel(note, color="white", fontsize=7)
            if not column:
                axes.set_ylabel(name, color="white")
    return figure


def _slice_number(mask: NDArray[np.bool_]) -> int:
    """Number of the axial slice with the most brain, which shows the ventricles also of a tilted head."""
    return int(mask.sum((0, 1)).argmax())


def _draw_slice(axes: Axes, plane: NDArray[np.float32], spacing_mm: NDArray[np.float64], white: float) -> None:
    x, y = np.array(plane.shape) * spacing_mm[:2] / 2
    extent = (-x, x, -y, y)
    axes.imshow(plane.T, cmap="gray", vmin=0, vmax=white, origin="lower", extent=extent, interpolation="nearest")
