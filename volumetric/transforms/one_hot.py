"""Label maps as channels."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import torch
from monai.config import KeysCollection
from monai.transforms import MapTransform

from volumetric.model.units import one_hot
from volumetric.transforms.tensors import to_mask


class OneHotLabelsd(MapTransform):
    """One channel a class of a label map `(1, I, J, K)`: float32 `(N, I, J, K)`, 1 in the class's voxels in the mask.

    Raises:
        LabelClassError: labels inside the mask that are in no class.
    """

    def __init__(self, keys: KeysCollection, classes: Mapping[str, Sequence[int]], mask_key: str = "mask") -> None:
        """Choose the classes, class -> labels, in the order of the channels."""
        super().__init__(keys)
        self.classes, self.mask_key = classes, mask_key

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """The dictionary with channels in place of label maps."""
        result, mask = dict(data), to_mask(data[self.mask_key])
        for key in self.key_iterator(result):
            result[key] = torch.from_numpy(one_hot(result[key][0].numpy(), mask, self.classes))
        return result
