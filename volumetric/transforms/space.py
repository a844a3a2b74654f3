"""Into model space and back, as an invertible transform."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

import numpy as np
from monai.config import KeysCollection
from monai.transforms import InvertibleTransform, MapTransform
from numpy.typing import NDArray

from volumetric.imaging.nifti import Image
from volumetric.manifest import LABEL_MAP
from volumetric.model.space import ModelSpace, Spacing, model_space_of
from volumetric.subject import check_one_grid
from volumetric.transforms.tensors import to_image, to_mask, to_tensor


class ToModelSpaced(MapTransform, InvertibleTransform):
    """Volumes of one grid in model space: RAS axes, one spacing, cropped to the brain, in reference units.

    Takes `MetaTensor`s `(1, I, J, K)` and the brain mask under `mask_key`. Writes float32 `(1, I', J', K')`: the voxel
    values divided by their median in the mask, 0 outside it; the mask comes along. This is what the networks of this
    project see before normalization.

    Where `region_key` is given, the region under it, such as the head of `RegionMaskd`, takes the mask's place for the
    crop and for what is 0; the divisor stays the median in the brain.

    A label map under the key `labels` keeps its numbers and comes by nearest neighbor.

    `inverse` takes volumes and masks back onto the scan's own grid, still in reference units, 0 where they were. Where
    `spacing_mm` is the scan's own it is exact to the bit, and otherwise a cubic interpolation.

    Raises:
        SubjectError: volumes on different grids.
        SpaceError: the brain has no voxel at that spacing.
        IntensityError: a volume without a positive median in the mask.
    """

    def __init__(
        self,
        keys: KeysCollection,
        spacing_mm: Spacing | None = None,
        mask_key: str = "mask",
        region_key: str | None = None,
    ) -> None:
        """Work on `keys`; `spacing_mm` is along RAS axes, None keeps the scan's own."""
        super().__init__(keys)
        self.spacing_mm, self.mask_key, self.region_key = spacing_mm, mask_key, region_key

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """The dictionary with volumes and mask in model space."""
        keys = [str(key) for key in self.keys]
        images = {key: to_image(data[key]) for key in keys}
        mask_keys = [self.mask_key] if self.region_key is None else [self.mask_key, self.region_key]
        masks = {key: Image(to_mask(data[key]), to_image(data[key]).affine) for key in mask_keys}
        check_one_grid({**images, **masks}, name=str(data.get("subject_id", keys[0])))
        brain, region = masks[mask_keys[0]].array, masks[mask_keys[-1]].array
        space = model_space_of(images[keys[0]].space, brain, self.spacing_mm, region)
        arrays = {
            key: space.labels_to_model_space(image) if key == LABEL_MAP else space.to_model_space(image)
            for key, image in images.items()
        }
        masks_there = dict(zip(mask_keys, (space.brain[None], space.mask[None]), strict=False))
        result = dict(data)
        for key, array in {**arrays, **masks_there}.items():
            result[key] = _placed(array, space.grid.affine, like=data[key])
            self.push_transform(result, key, extra_info={"model_space": space})
        return result

    def inverse(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """The dictionary with volumes and mask on the scan's grid."""
        result = dict(data)
        for key in (*self.keys, self.mask_key, self.region_key):
            if key is None or key not in result:
                continue
            space: ModelSpace = self.pop_transform(result, key)["extra_info"]["model_space"]
            if key == self.mask_key:
                array: NDArray[Any] = _on_scan(space.scan_brain, space)
            elif key == self.region_key:
                array = _on_scan(space.scan_mask, space)
            else:
                array = space.from_model_space(to_image(result[key]).array)
            result[key] = _placed(array[None], space.scan.affine, like=result[key])
        return result


def _on_scan(mask: NDArray[np.bool_], space: ModelSpace) -> NDArray[np.bool_]:
    """A mask on `scan_grid`, on the scan's own grid."""
    array = np.zeros(space.scan.shape, bool)
    space.flips.apply(array)[space.scan_box] = mask
    return array


def _placed(array: NDArray[Any], affine: NDArray[np.float64], *, like: Any) -> Any:
    """A tensor with another tensor's metadata and history, at a place of its own."""
    tensor = to_tensor(array, affine)
    tensor.meta.update({name: value for name, value in like.meta.items() if name not in ("affine", "spatial_shape")})
    tensor.applied_operations = list(like.applied_operations)
    return tensor
