"""Images of this project as MONAI's channel-first tensors with metadata, and back."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from monai.data import MetaTensor
from numpy.typing import NDArray
from torch import Tensor

from volumetric.imaging.nifti import Image


def to_tensor(array: NDArray[Any], affine: NDArray[np.float64], **meta: str) -> MetaTensor:
    """A `MetaTensor` of a channel-first array `(C, I, J, K)`; `meta` goes into its metadata."""
    return MetaTensor(torch.from_numpy(array), affine=torch.from_numpy(affine), meta=dict(meta))


def to_image(tensor: Tensor) -> Image:
    """The image of a `MetaTensor` with one channel `(1, I, J, K)`.

    Raises:
        ValueError: more channels, or no affine.
    """
    if not isinstance(tensor, MetaTensor) or tensor.ndim != 4 or tensor.shape[0] != 1:
        raise ValueError(
            f"expected a MetaTensor (1, I, J, K), got {type(tensor).__name__} {tuple(tensor.shape)}; "
            "load it with LoadSubjectd, or with LoadImaged and EnsureChannelFirstd"
        )
    return Image(tensor.as_tensor().cpu().numpy()[0], tensor.affine.cpu().numpy().astype(np.float64))


def to_mask(tensor: Tensor) -> NDArray[np.bool_]:
    """A mask `(I, J, K)` of a tensor `(1, I, J, K)`; above 0.5 is inside."""
    plain = tensor.as_tensor() if isinstance(tensor, MetaTensor) else tensor
    mask: NDArray[np.bool_] = (plain[0] > 0.5).cpu().numpy() if plain.dtype != torch.bool else plain[0].cpu().numpy()
    return mask
