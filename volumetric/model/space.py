"""The one way from a scan into model space and back: reorient, resample, mask, crop, scale, and the inverse."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from volumetric.errors import InputError
from volumetric.imaging.geometry import (
    Flips,
    Slices,
    Space,
    bounding_box,
    crop,
    flips_to_ras,
    same_space,
    widened,
    with_spacing,
)
from volumetric.imaging.header import MAX_BYTES
from volumetric.imaging.intensity import in_reference_units, reference_scale
from volumetric.imaging.nifti import Image
from volumetric.imaging.resample import continue_outward, resample

Spacing = tuple[float, float, float]
_SAME_MM = 1e-3  # grids nearer than this need no interpolation; float32 headers are off by a tenth of it
_SPLINE_VOX = 8  # a cubic spline decays by a factor of 0.27 a voxel: beyond, less than a 20,000th is left


class SpaceError(InputError):
    """A brain that has no voxel in model space."""


@dataclass(frozen=True, eq=False)
class ModelSpace:
    """Model space of one subject: the grid that the model works on, and the ways there and back.

    Attributes:
        mask: region that the model reads and writes, `(I, J, K)` on `grid`: brain or head.
        brain: `(I, J, K)` on `grid`, within the mask; intensities are measured in it.
        grid: RAS axes, model spacing, cropped to the mask.
        scan: the scan's own grid.
        flips: from the scan's axes to RAS axes.
        scan_mask: the mask on `scan_grid`.
        scan_brain: the brain on `scan_grid`.
        scan_grid: the scan's own voxels, RAS axes, cropped to the mask.
        scan_box: where that lies in the scan once its axes are RAS.
        keeps_voxels: whether `grid` is `scan_grid`, so that nothing is interpolated.
    """

    mask: NDArray[np.bool_]
    brain: NDArray[np.bool_]
    grid: Space
    scan: Space
    flips: Flips
    scan_mask: NDArray[np.bool_]
    scan_brain: NDArray[np.bool_]
    scan_grid: Space
    scan_box: Slices
    keeps_voxels: bool

    def to_model_space(self, *images: Image, names: Sequence[str] = ()) -> NDArray[np.float32]:
        """Images on the scan's grid, resampled into model space.

        Args:
            images: on the scan's grid.
            names: how to call them in an error.

        Returns:
            float32 `(C, I, J, K)` in reference units, 0 outside the mask.

        Raises:
            IntensityError: an image without a positive median in the brain.
        """
        in_model_space = np.empty((len(images), *self.grid.shape), np.float32)
        names = names or ["the image"] * len(images)
        for image, name, place in zip(images, names, in_model_space, strict=True):
            array = np.ascontiguousarray(self.flips.apply(image.array)[self.scan_box])
            units = in_reference_units(array, self.scan_mask, reference_scale(array, self.scan_brain, name=name))
            if not self.keeps_voxels:
                units = resample(units, self.scan_grid, self.grid, "linear")
            np.multiply(units, self.mask, out=place)
        return in_model_space

    def labels_to_model_space(self, labels: Image) -> NDArray[np.float32]:
        """A label map on the scan's grid, by nearest neighbor: float32 `(1, I, J, K)` of labels, 0 outside the mask."""
        array = np.ascontiguousarray(self.flips.apply(labels.array)[self.scan_box]).astype(np.float32)
        if not self.keeps_voxels:
            array = resample(array, self.scan_grid, self.grid, "nearest")
        return (array * self.mask)[None]

    def from_model_space(self, volume: NDArray[np.float32]) -> NDArray[np.float32]:
        """A volume `(I, J, K)` on this grid, on the scan's own grid: float32, 0 outside the scan's mask.

        Where the model works at the scan's own spacing this is flips alone, exact to the bit.
        """
        if not self.keeps_voxels:
            pad = _around(self.grid, self.scan_grid)
            (i, j, k), (ni, nj, nk) = pad, volume.shape
            box = slice(-i[0], ni + i[1]), slice(-j[0], nj + j[1]), slice(-k[0], nk + k[1])
            spread = continue_outward(np.pad(volume, pad), np.pad(self.mask, pad))
            volume = resample(spread, crop(self.grid, box), self.scan_grid, "cubic")
        array = np.zeros(self.scan.shape, np.float32, order="F")  # the order of a NIfTI file
        np.multiply(volume, self.scan_mask, out=self.flips.apply(array)[self.scan_box])
        return array


def model_space_of(
    scan: Space, brain: NDArray[np.bool_], spacing_mm: Spacing | None, region: NDArray[np.bool_] | None = None
) -> ModelSpace:
    """Model space of a scan, for a model of one spacing.

    Args:
        scan: the scan's grid.
        brain: `(I, J, K)` on that grid.
        spacing_mm: voxel size of model space (RAS axes), or None for the scan's own.
        region: `(I, J, K)`, that the model reads and writes; it holds the brain. None is the brain.

    Raises:
        SpaceError: the brain is too small to have a voxel at that spacing, or the scan too large.
    """
    masks = [brain] if region is None or region is brain else [region, brain]
    flips = flips_to_ras(scan.affine)
    upright = flips.apply_to_space(scan)
    whole = upright if spacing_mm is None else with_spacing(upright, spacing_mm)
    _check_size(scan, whole)
    keeps_voxels = same_space(upright, whole, tolerance_mm=_SAME_MM)
    scan_box = bounding_box(flips.apply(masks[0]))
    if not keeps_voxels:
        scan_box = widened(scan_box, upright.shape, _margin_vox(upright, whole))
    scan_grid = crop(upright, scan_box)
    on_scan = [np.ascontiguousarray(flips.apply(mask)[scan_box]) for mask in masks]
    inside, grid = on_scan, scan_grid
    if not keeps_voxels:
        inside = [resample(mask, scan_grid, whole, "linear") >= 0.5 for mask in on_scan]
        if not inside[-1].any():
            raise SpaceError(
                f"the brain mask has no voxel left at a spacing of {spacing_mm} mm; check the scan's voxel size"
            )
        box = bounding_box(inside[0])
        inside, grid = [mask[box] for mask in inside], crop(whole, box)
    return ModelSpace(
        mask=inside[0],
        brain=inside[-1],
        grid=grid,
        scan=scan,
        flips=flips,
        scan_mask=on_scan[0],
        scan_brain=on_scan[-1],
        scan_grid=scan_grid,
        scan_box=scan_box,
        keeps_voxels=keeps_voxels,
    )


def _check_size(scan: Space, model: Space) -> None:
    if math.prod(model.shape) * np.dtype(np.float32).itemsize > MAX_BYTES:
        sides = " x ".join(f"{side:g}" for side in scan.spacing_mm)
        raise SpaceError(
            f"voxel size {sides} mm: at the model's spacing the scan has {' x '.join(map(str, model.shape))} voxels, "
            f"expected at most {MAX_BYTES / 2**30:g} GiB of float32; check the units of the header"
        )


def _margin_vox(scan: Space, model: Space) -> NDArray[np.int64]:
    """Reach beyond a mask on `scan` of values that are smoothed for the voxels of `model`, and two voxels more.

    Smoothing ends at four sigmas, and its sigma is less than half a voxel of the model.
    """
    margin: NDArray[np.int64] = np.ceil(4 * 0.5 * np.maximum(1, model.spacing_mm / scan.spacing_mm)).astype(int) + 2
    return margin


def _around(grid: Space, inner: Space) -> list[tuple[int, int]]:
    """Voxels to add before and after each axis of `grid` so that it covers `inner`, whose axes are parallel."""
    to_grid = np.linalg.inv(grid.affine) @ inner.affine
    first = to_grid[:3, 3]
    last = first + to_grid[:3, :3] @ (np.array(inner.shape) - 1)
    before = np.maximum(0, np.ceil(-first)).astype(int) + _SPLINE_VOX
    after = np.maximum(0, np.ceil(last - np.array(grid.shape) + 1)).astype(int) + _SPLINE_VOX
    return list(zip(before.tolist(), after.tolist(), strict=True))
