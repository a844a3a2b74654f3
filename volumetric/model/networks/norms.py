"""Normalization layers by name, and one that does not depend on the window in inference."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn


class FixedGroupNorm(nn.Module):
    """Group norm (Wu and He 2018) that normalizes by running averages of its statistics in inference.

    Group norm measures mean and variance of each window, so the same tissue comes out differently in a patch and in
    a whole volume. Here training does that, and inference uses the average of training, as batch norm does.

    Attributes:
        running_mean: `(num_groups,)`, of the groups' means.
        running_var: `(num_groups,)`, of the groups' population variances.
    """

    running_mean: Tensor
    running_var: Tensor

    def __init__(self, num_groups: int, num_channels: int, *, momentum: float = 0.02, eps: float = 1e-5) -> None:
        """Start from mean 0 and variance 1; `momentum` is the weight of the newest statistics."""
        super().__init__()
        self.num_groups, self.momentum, self.eps = num_groups, momentum, eps
        self.weight = nn.Parameter(torch.ones(num_channels))
        self.bias = nn.Parameter(torch.zeros(num_channels))
        self.register_buffer("running_mean", torch.zeros(num_groups))
        self.register_buffer("running_var", torch.ones(num_groups))

    def forward(self, features: Tensor) -> Tensor:
        """Normalize `(N, C, I, J, K)`."""
        grouped = features.reshape(features.shape[0], self.num_groups, -1)
        if self.training:
            var, mean = torch.var_mean(grouped, dim=2, correction=0)
            with torch.no_grad():
                self.running_mean.lerp_(mean.mean(0).to(self.running_mean), self.momentum)
                self.running_var.lerp_(var.mean(0).to(self.running_var), self.momentum)
        else:
            mean, var = self.running_mean.expand(len(features), -1), self.running_var.expand(len(features), -1)
        normal = (grouped - mean[..., None]) * torch.rsqrt(var + self.eps)[..., None]
        normal = normal.reshape(features.shape)
        shape = (1, -1, *[1] * (features.ndim - 2))
        return normal * self.weight.reshape(shape) + self.bias.reshape(shape)


def _num_groups(channels: int) -> int:
    """Groups of eight channels, or one group where eight do not divide them."""
    return channels // 8 if channels % 8 == 0 else 1


NORMS: Mapping[str, Callable[[int], nn.Module]] = {
    "instance": lambda channels: nn.InstanceNorm3d(channels, affine=True),
    "batch": lambda channels: nn.BatchNorm3d(channels),
    "group": lambda channels: nn.GroupNorm(_num_groups(channels), channels),
    "fixed_group": lambda channels: FixedGroupNorm(_num_groups(channels), channels),
    "none": lambda channels: nn.Identity(),
}
"""Name -> layer for a number of channels."""
