"""Figure of slices through a subject's volumes side by side, with the signed error."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from numpy.typing import NDArray

from volumetric.figures.canvas import new_figure, save_png

GRAY_UPPER = 2.5
"""White of truth and prediction, in reference units: about the brightness of T2w fluid."""
SOURCE_UPPER = 1.8
"""White of the sources."""
ERROR_UPPER = 1.0
"""Deepest red and blue of an error map, in reference units."""
_ERROR = "prediction - truth"


def montage(
    volumes: Mapping[str, NDArray[Any]],
    truth: NDArray[Any] | None,
    prediction: NDArray[Any],
    *,
    spacing_mm: NDArray[np.float64],
    title: str,
    out: Path,
) -> None:
    """Write `draw_montage` as a PNG file."""
    save_png(draw_montage(volumes, truth, prediction, spacing_mm=spacing_mm, title=title), out)


def draw_montage(
    volumes: Mapping[str, NDArray[Any]],
    truth: NDArray[Any] | None,
    prediction: NDArray[Any],
    *,
    spacing_mm: NDArray[np.float64],
    title: str,
) -> Figure:
    """Draw three planes through the middle of sources, truth, prediction and error (prediction - truth).

    Without a truth there are sources and prediction alone.

    Left in the figure is the patient's left. In reference units, gray goes from 0 to 2.5 (sources: 1.8) and the
    error from -1 to 1.

    Args:
        volumes: the sources by name, each `(I, J, K)` along RAS axes, reference units, 0 outside the mask.
        truth: `(I, J, K)`, or None.
        prediction: `(I, J, K)`.
        spacing_mm: voxel size, `(3,)`.
        title: above the figure; may be empty.
    """
    columns = {**volumes, "prediction": prediction}
    if truth is not None:
        columns = {**volumes, "truth": truth, "prediction": prediction, _ERROR: prediction - truth}
    width, depth, height = np.array(prediction.shape) * spacing_mm
    figure = new_figure(2.75 * len(columns), 2.75 * (depth + 2 * height) / max(width, depth), dark=True)
    axes = figure.subplots(3, len(columns), height_ratios=[depth, height, height], squeeze=False)
    for column, (name, volume) in enumerate(columns.items()):
        upper = SOURCE_UPPER if name in volumes else GRAY_UPPER
        shown = _draw_column(axes[:, column], volume, spacing_mm, None if name == _ERROR else upper)
        axes[0, column].set_title(name, color="white")
    if truth is not None:
        figure.colorbar(shown, ax=axes[:, -1], shrink=0.5).ax.tick_params(colors="white")
    if title:
        figure.suptitle(title, color="white")
    return figure


def _draw_column(
    axes: NDArray[Any], volume: NDArray[Any], spacing_mm: NDArray[np.float64], upper: float | None
) -> AxesImage:
    """Draw the three planes of a volume in gray up to `upper`, or of an error where `upper` is None."""
    i, j, k = (n // 2 for n in volume.shape)
    # the exact middle lies between the ventricles, so the planes are a little above and beside it
    planes = ((volume[:, :, k + k // 16], 1, 0), (volume[:, j], 2, 0), (volume[i + i // 8], 2, 1))
    for axis, (plane, up, along) in zip(axes, planes, strict=True):
        shown: AxesImage = axis.imshow(
            np.ma.masked_equal(plane.T, 0) if upper is None else plane.T,
            cmap="RdBu_r" if upper is None else "gray",
            vmin=-ERROR_UPPER if upper is None else 0,
            vmax=ERROR_UPPER if upper is None else upper,
            origin="lower",
            aspect=spacing_mm[up] / spacing_mm[along],
            interpolation="nearest",
        )
        axis.set(xticks=[], yticks=[], facecolor="black")
    return shown
