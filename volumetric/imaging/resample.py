"""Resampling of a volume from one grid to another, through SimpleITK."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt, gaussian_filter1d

from volumetric.imaging.geometry import Space
from volumetric.imaging.itk import safe_threads, to_sitk

Interpolation = Literal["linear", "nearest", "cubic"]
_INTERPOLATORS = {"linear": sitk.sitkLinear, "nearest": sitk.sitkNearestNeighbor, "cubic": sitk.sitkBSpline}


def resample(
    array: NDArray[Any], source: Space, target: Space, interpolation: Interpolation = "linear"
) -> NDArray[np.float32]:
    """Resample a volume to another grid; 0 where the target leaves the source.

    Where the target is coarser, the volume is first smoothed along those axes by the Gaussian that
    widens a voxel of the source to one of the target (FWHM^2 adds up), so that nothing aliases.
    Smoothing is left out for `nearest`.

    Args:
        array: `(I, J, K)` on `source`.
        source: its grid.
        target: the new grid.
        interpolation: `linear`, `nearest` (labels) or `cubic` (B-spline).

    Returns:
        float32, of shape `target.shape`.
    """
    volume = array.astype(np.float32)
    if interpolation != "nearest":
        for axis, ratio in enumerate(_coarsening(source, target)):
            if ratio > 1.01:
                sigma_vox = np.sqrt(ratio**2 - 1) / 2.3548  # FWHM = 2 sqrt(2 ln 2) sigma
                volume = gaussian_filter1d(volume, sigma_vox, axis=axis, mode="nearest")
    with safe_threads():
        moved = sitk.Resample(
            to_sitk(volume, source),
            to_sitk(np.zeros((1, 1, 1), np.float32), target, size=target.shape),
            sitk.Transform(),
            _INTERPOLATORS[interpolation],
            0.0,
            sitk.sitkFloat32,
        )
    return np.ascontiguousarray(sitk.GetArrayFromImage(moved).transpose(2, 1, 0))


def _coarsening(source: Space, target: Space) -> NDArray[np.float64]:
    """For each axis of the source, how many of its voxels one target voxel spans along it."""
    directions = source.affine[:3, :3] / source.spacing_mm
    reach = np.abs(np.linalg.solve(directions, target.affine[:3, :3])).max(axis=1)
    ratios: NDArray[np.float64] = reach / source.spacing_mm
    return ratios


def continue_outward(array: NDArray[np.float32], mask: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Give each voxel outside the mask the value of the nearest inside.

    So interpolation at the mask's rim does not mix in the background's 0.
    """
    nearest = distance_transform_edt(~mask, return_distances=False, return_indices=True)
    spread: NDArray[np.float32] = array[tuple(nearest)]
    return spread
