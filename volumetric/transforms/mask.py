"""The brain mask of a volume that is loaded already, and the region around it."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

from monai.config import KeysCollection
from monai.transforms import MapTransform

from volumetric.config.choices import MaskKind
from volumetric.imaging.mask import MaskError, brain_mask, in_view, is_extracted, region_mask
from volumetric.transforms.tensors import to_image, to_mask, to_tensor


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
        given_name = "" if given is None else str(given.meta.get("filename_or_obj", ""))
        mask = brain_mask(image, None if given is None else to_image(given), name=name, given_name=given_name)
        return {**data, self.mask_key: to_tensor(mask.array[None], image.affine, rule=mask.rule)}


class RegionMaskd(MapTransform):
    """Region that a model reads and writes, of the volume under the first key: its brain, or its head.

    Takes `MetaTensor`s `(1, I, J, K)` and the brain mask under `mask_key`; writes a boolean one under `region_key`. The
    head is everything but the air around it, and holds the brain. Where `target_key` is given, of the head only what
    that volume reaches: a target that was resampled from a smaller field of view is 0 beyond it.

    Raises:
        MaskError: the head is wanted of a brain-extracted volume.
    """

    def __init__(
        self,
        keys: KeysCollection,
        kind: MaskKind = "head",
        mask_key: str = "mask",
        region_key: str = "region",
        target_key: str | None = None,
    ) -> None:
        """Find the region of the volume under `keys`."""
        super().__init__(keys)
        self.kind, self.mask_key, self.region_key, self.target_key = kind, mask_key, region_key, target_key

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """The dictionary with the region."""
        image, brain = to_image(data[self.keys[0]]), to_mask(data[self.mask_key])
        region = region_mask(self.kind, image, brain)
        if self.kind == "head":
            if is_extracted(region, brain):
                name = data[self.keys[0]].meta.get("filename_or_obj", self.keys[0])
                raise MaskError(
                    f"{name}: the image is brain-extracted, and mask.kind is head; name the scan as it was before "
                    "brain extraction, with the brain under `mask`, or set mask.kind=brain"
                )
            if self.target_key is not None:
                region &= brain | in_view(to_image(data[self.target_key]).array)
        return {**data, self.region_key: to_tensor(region[None], image.affine)}
