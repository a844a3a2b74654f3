"""Borders of the windows that a prediction was stitched from."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from volumetric.imaging.geometry import Space
from volumetric.records.prediction import PredictionSidecar


def window_borders(sidecar: PredictionSidecar, space: Space) -> NDArray[np.bool_] | None:
    """Voxels within one voxel of the model's grid of a plane where a window ends.

    Args:
        sidecar: of the prediction.
        space: of the truth.

    Returns:
        `(I, J, K)`, or None where the prediction was made in one window or on a grid of its own.
    """
    if sidecar.prepared_here:
        return None
    windows = sidecar.windows
    starts, size = np.array(windows.starts), np.array(windows.size)
    to_model = np.linalg.inv(np.array(windows.grid_affine)) @ space.affine
    voxels = np.ogrid[tuple(slice(0, n) for n in space.shape)]
    borders = np.zeros(space.shape, bool)
    for axis, side in enumerate(windows.grid_shape):
        planes = {*starts[:, axis], *(starts[:, axis] + size[axis])}
        along = to_model[axis, 3] + sum(c * v for c, v in zip(to_model[axis, :3], voxels, strict=True))
        for plane in planes:
            if 0 < plane < side:
                borders |= np.abs(along - (plane - 0.5)) <= 1
    return borders if borders.any() else None
