"""Bias field of a scan, the smooth shading that its coil leaves, estimated by N4."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray

from volumetric.errors import InputError
from volumetric.imaging.geometry import Space, with_spacing
from volumetric.imaging.itk import one_thread, to_sitk
from volumetric.imaging.resample import resample

_MIN_VOXELS = 64
"""Fewer at the working size make no field."""


class BiasError(InputError):
    """An image whose bias field cannot be estimated."""


def bias_field(
    array: NDArray[np.float32],
    space: Space,
    mask: NDArray[np.bool_],
    *,
    working_mm: float = 4.0,
    iterations: Sequence[int] = (50, 50, 50, 50),
    name: str = "the image",
) -> NDArray[np.float32]:
    """The multiplicative field of N4 (Tustison et al., IEEE Trans. Med. Imaging 29(6), 2010).

    Fitted on a shrunken image and evaluated at every voxel, on one thread. Divide the image by it; in the mask its
    geometric mean is 1, so the scale of the image stays, and outside it takes no value that it does not take inside.

    Args:
        array: `(I, J, K)` in any units.
        space: its grid.
        mask: `(I, J, K)`, the brain; only positive voxels inside count.
        working_mm: voxel size of the shrunken image; axes that are coarser keep theirs.
        iterations: most iterations at each level, coarsest first.
        name: how to call the image in an error.

    Returns:
        float32 `(I, J, K)`, positive.

    Raises:
        BiasError: the mask has too few positive voxels.
    """
    side_i, side_j, side_k = np.maximum(space.spacing_mm, working_mm)
    small = with_spacing(space, (float(side_i), float(side_j), float(side_k)))
    values = resample(array, space, small)
    inside = (resample(mask, space, small) > 0.5) & (values > 0)
    if inside.sum() < _MIN_VOXELS:
        raise BiasError(
            f"{name}: {int(inside.sum())} positive voxels of {working_mm:g} mm lie in the mask, expected at least "
            f"{_MIN_VOXELS}; check that the mask lies on the brain, or set bias.enabled=false"
        )
    n4 = sitk.N4BiasFieldCorrectionImageFilter()
    n4.SetMaximumNumberOfIterations([int(n) for n in iterations])
    with one_thread():
        n4.Execute(to_sitk(values, small), sitk.Cast(to_sitk(inside.astype(np.float32), small), sitk.sitkUInt8))
        full = n4.GetLogBiasFieldAsImage(to_sitk(np.ascontiguousarray(array, np.float32), space))
    logarithm = sitk.GetArrayFromImage(full).transpose(2, 1, 0)
    inside_mask = logarithm[mask]
    field: NDArray[np.float32] = np.exp(
        np.clip(logarithm, inside_mask.min(), inside_mask.max()) - inside_mask.mean()
    ).astype(np.float32)
    return field
