"""What training minimises, computed in the mask."""

from __future__ import annotations

from torch import Tensor


def masked_l1(target: Tensor, prediction: Tensor, mask: Tensor) -> Tensor:
    """Mean absolute error over the true voxels of the mask; 0 is perfect.

    Args:
        target: `(N, 1, I, J, K)`.
        prediction: `(N, 1, I, J, K)`.
        mask: boolean `(N, 1, I, J, K)`.
    """
    inside = mask.float()
    return ((prediction.float() - target.float()).abs() * inside).sum() / inside.sum().clamp_min(1)
