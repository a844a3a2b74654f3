"""Into model space and back, as an invertible transform."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

import numpy as np
from monai.config import KeysCollection
from monai.transforms import InvertibleTransform, MapTransform
from numpy.typing import NDArray

from volumetric.imaging.nifti import Image
from volumetric.model.space import ModelSpace, Spacing, model_space_of
from volumetric.subject import check_one_grid
from volumetric.transforms.tensors import to_image, to_mask, to_tensor


class ToModelSpaced(MapTransform, InvertibleTransform):
    """Volumes of one grid in model space: RAS axes, one spacing, cropped to the brain, in reference units.

    Takes `MetaTensor`s `(1, I, J, K)` and the brain mask under `mask_key`. Writes float32 `(1, I', J', K')`: the voxel
    values divided by their median in the mask, 0 outside it; the mask comes along. This is what the networks of this
    project see before normalization.

    `inverse` takes volumes and mask back onto the scan's own grid, still in reference units, 0 outside the mask. Where
    `spacing_mm` is the scan's own it is exact to the bit, and otherwise a cubic interpolation.

    Raises:
        SubjectError: volumes on different grids.
        SpaceError: the brain has no voxel at that spacing.
        IntensityError: a volume without a positive median in the mask.
    """

    def __init__(self, keys: KeysCollection, spacing_mm: Spacing | None = None, mask_key: str = "mask") -> None:
        """Work on `keys`; `spacing_mm` is along RAS axes, None keeps the scan's own."""
        super().__init__(keys)
        self.spacing_mm, self.mask_key = spacing_mm, mask_key

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """The dictionary with volumes and mask in model space."""
        keys = [str(key) for key in self.keys]
        images = {key: to_image(data[key]) for key in keys}
        mask = Image(to_mask(data[self.mask_key]), to_image(data[self.mask_key]).affine)
        check_one_grid({**images, self.mask_key: mask}, name=str(data.get("subject_id", keys[0])))
        space = model_space_of(images[keys[0]].space, mask.array, self.spacing_mm)
        arrays = dict(zip(keys, space.to_model_space(*images.values())[:, None], strict=True))
        result = dict(data)
        for key, array in {**arrays, self.mask_key: space.mask[None]}.items():
            result[key] = _placed(array, space.grid.affine, like=data[key])
            self.push_transform(result, key, extra_info={"model_space": space})
        return result

    def inverse(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """The dictionary with volumes and mask on the scan's grid."""
        result = dict(data)
        for key in (*self.keys, self.mask_key):
            if key not in result:
                continue
            space: ModelSpace = self.pop_transform(result, key)["extra_info"]["model_space"]
            if key == self.mask_key:
                array: NDArray[Any] = np.zeros(space.scan.shape, bool)
                space.flips.apply(array)[space.scan_box] = space.scan_mask
            else:
                array = space.from_model_space(to_image(result[key]).array)
            result[key] = _placed(array[None], space.scan.affine, like=result[key])
        return result


def _placed(array: NDArray[Any], affine: NDArray[np.float64], *, like: Any) -> Any:
    """A tensor with another tensor's metadata and history, at a place of its own."""
    tensor = to_tensor(array, affine)
    tensor.meta.update({name: value for name, value in like.meta.items() if name not in ("affine", "spatial_shape")})
    tensor.applied_operations = list(like.applied_operations)
    return tensor
