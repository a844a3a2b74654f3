"""The one way from a scan into model space and back: reorient, resample, mask, crop, scale, and the inverse."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from volumetric.errors import InputError
from volumetric.imaging.geometry import Flips, Slices, Space, bounding_box, crop, flips_to_ras, same_space, with_spacing
from volumetric.imaging.intensity import in_reference_units, reference_scale
from volumetric.imaging.nifti import Image
from volumetric.imaging.resample import continue_outwards, resample

Spacing = tuple[float, float, float]
_SAME_MM = 1e-3  # grids nearer than this need no interpolation; float32 headers are off by a tenth of it


class PairError(InputError):
    """Images of one subject that do not lie on one grid."""


@dataclass(frozen=True, eq=False)
class ModelView:
    """How a model sees one subject: the grid it works on, and the ways there and back.

    Attributes:
        mask: brain `(I, J, K)` on `grid`.
        grid: RAS axes, model spacing, cropped to the brain.
        scan: the scan's own grid.
        scan_mask: brain on the scan's grid.
        flips: from the scan's axes to RAS axes.
        whole: `grid` before cropping.
        box: where `grid` lies in `whole`.
    """

    mask: NDArray[np.bool_]
    grid: Space
    scan: Space
    scan_mask: NDArray[np.bool_]
    flips: Flips
    whole: Space
    box: Slices

    def bring(self, *images: Image) -> NDArray[np.float32]:
        """Images on the scan's grid, brought into model space.

        Returns:
            float32 `(C, I, J, K)` in reference units, 0 outside the mask.

        Raises:
            IntensityError: an image without a positive median in the mask.
        """
        brought = []
        for image in images:
            units = in_reference_units(image.array, self.scan_mask, reference_scale(image.array, self.scan_mask))
            brought.append(_to_whole(units, self.scan, self.flips, self.whole)[self.box] * self.mask)
        return np.stack(brought)

    def return_to_scan(self, volume: NDArray[np.float32]) -> NDArray[np.float32]:
        """A volume `(I, J, K)` on this grid, on the scan's own grid: float32, 0 outside the scan's mask.

        Where the model works at the scan's own spacing this is flips alone, exact to the bit.
        """
        whole = np.zeros(self.whole.shape, np.float32)
        whole[self.box] = volume
        upright = self.flips.apply_to_space(self.scan)
        if not same_space(self.whole, upright, tolerance_mm=_SAME_MM):
            inside = np.zeros(whole.shape, bool)
            inside[self.box] = self.mask
            whole = resample(continue_outwards(whole, inside), self.whole, upright, "cubic")
        return np.ascontiguousarray(self.flips.invert(whole) * self.scan_mask)


def view_in_model_space(scan: Space, mask: NDArray[np.bool_], spacing_mm: Spacing | None) -> ModelView:
    """How a model of the given spacing sees a scan.

    Args:
        scan: the scan's grid.
        mask: brain `(I, J, K)` on that grid.
        spacing_mm: voxel size of model space (RAS axes), or None for the scan's own.

    Raises:
        PairError: the brain is too small to have a voxel at that spacing.
    """
    flips = flips_to_ras(scan.affine)
    upright = flips.apply_to_space(scan)
    whole = upright if spacing_mm is None else with_spacing(upright, spacing_mm)
    inside = _to_whole(mask, scan, flips, whole) >= 0.5
    if not inside.any():
        raise PairError(
            f"the brain mask has no voxel left at a spacing of {spacing_mm} mm; check the scan's voxel size"
        )
    box = bounding_box(inside)
    return ModelView(inside[box], crop(whole, box), scan, mask, flips, whole, box)


def check_one_grid(images: Mapping[str, Image], *, name: str) -> None:
    """Check that all images of a subject lie on the grid of the first.

    Raises:
        PairError: naming the subject, the two images and what differs.
    """
    (first, reference), *others = images.items()
    for key, image in others:
        if same_space(reference.space, image.space):
            continue
        shapes = reference.space.shape, image.space.shape
        what = (
            f"shape {shapes[1]} and `{first}` {shapes[0]}"
            if shapes[0] != shapes[1]
            else f"the shape of `{first}` but another affine, so equal voxels lie at different places"
        )
        raise PairError(f"subject {name}: `{key}` has {what}; make pairs of raw scans with `volumetric prepare`")


def _to_whole(array: NDArray[Any], scan: Space, flips: Flips, whole: Space) -> NDArray[np.float32]:
    upright = flips.apply_to_space(scan)
    flipped = np.ascontiguousarray(flips.apply(array), np.float32)
    if same_space(upright, whole, tolerance_mm=_SAME_MM):
        return flipped
    return resample(flipped, upright, whole, "linear")
