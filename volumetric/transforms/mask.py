"""The brain mask of a volume that is loaded already."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

from monai.config import KeysCollection
from monai.transforms import MapTransform

from volumetric.imaging.mask import brain_mask
from volumetric.transforms.tensors import to_image, to_tensor


class BrainMaskd(MapTransform):
    """Brain mask of the volume under the first key: the given one, else its nonzero voxels, else deepbet's.

    Takes a `MetaTensor` `(1, I, J, K)`; writes a boolean one under `mask_key`, whose metadata names the `rule`.

    Raises:
        MaskError: the given mask lies on another grid or is empty, the volume is all zero, or deepbet is needed and
            is not installed or finds no brain.
    """

    def __init__(self, keys: KeysCollection, mask_key: str = "mask", given_key: str | None = None) -> None:
        """Find the brain of the volume under `keys`; `given_key` holds a mask that decides, where there is one."""
        super().__init__(keys)
        self.mask_key, self.given_key = mask_key, given_key

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """The dictionary with the mask."""
        volume = data[self.keys[0]]
        given = data.get(self.given_key) if self.given_key else None
        image = to_image(volume)
        name = str(volume.meta.get("filename_or_obj", self.keys[0]))
        mask = brain_mask(image, None if given is None else to_image(given), name=name)
        return {**data, self.mask_key: to_tensor(mask.array[None], image.affine, rule=mask.rule)}
