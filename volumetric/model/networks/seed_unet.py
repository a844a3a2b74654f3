"""The U-Net of 2021 that this project grew from, kept exactly, as the mark to beat."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class SeedUNet(nn.Module):
    """Batch-normalized U-Net of three halvings; 4,067,457 parameters with one input channel.

    Max-pooling, nearest up-sampling, concatenation, convolutions without bias, and a linear head:

        1 ─ 32 ─ 32 ────────────────────────────────── 64 ─ 32 ─ head
              └ 32 ─ 64 ─ 64 ───────────── 128 ─ 64 ─ 32 ┘
                       └ 64 ─ 128 ─ 128 ── 256 ─ 128 ─ 64 ┘
                                 └ 128 ─ 256 ─ 128 ┘
    """

    def __init__(self, in_channels: int, out_channels: int) -> None:
        """Build with random weights."""
        super().__init__()
        self.encode = nn.ModuleList([_pair(in_channels, 32, 32), _pair(32, 64, 64), _pair(64, 128, 128)])
        self.bridge = _pair(128, 256, 128)
        self.decode = nn.ModuleList([_pair(256, 128, 64), _pair(128, 64, 32)])
        self.last = nn.Sequential(*_convolution(64, 32))
        self.head = nn.Conv3d(32, out_channels, 1)
        self.pool = nn.MaxPool3d(2)
        self.up = nn.Upsample(scale_factor=2, mode="nearest")

    def forward(self, volume: Tensor) -> Tensor:
        """Map `(N, in_channels, I, J, K)` to `(N, out_channels, I, J, K)`; sides are multiples of 8."""
        features, skips = volume, []
        for encode in self.encode:
            features = encode(features)
            skips.append(features)
            features = self.pool(features)
        features = self.bridge(features)
        for decode in (*self.decode, self.last):
            features = decode(torch.cat([self.up(features), skips.pop()], dim=1))
        out: Tensor = self.head(features)
        return out


def _pair(in_channels: int, mid_channels: int, out_channels: int) -> nn.Sequential:
    return nn.Sequential(*_convolution(in_channels, mid_channels), *_convolution(mid_channels, out_channels))


def _convolution(in_channels: int, out_channels: int) -> tuple[nn.Module, nn.Module, nn.Module]:
    return (
        nn.Conv3d(in_channels, out_channels, 3, padding=1, bias=False),
        nn.BatchNorm3d(out_channels),
        nn.ReLU(inplace=True),
    )
