"""The residual 3D U-Net for regression."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from torch import Tensor, nn
from torch.nn import functional

from volumetric.model.networks.norms import NORMS


class UNet(nn.Module):
    """Residual U-Net whose output is smooth where it should be.

    Up-sampling is trilinear, never a transposed convolution, and the head is one linear 1x1x1 convolution
    without norm or activation: transposed convolutions and normed heads make dotty regression images.
    Residual blocks are pre-activation (He et al. 2016, "Identity Mappings in Deep Residual Networks").

        stem ─ block ──────────────────────────────── + ─ block ─ [up] ─ head
                 └ down ─ block ──────────── + ─ block ┘ up
                            └ down ─ block ──┘ up

    With `stem_stride` 2 the finest level works at half resolution and a thin full-resolution branch
    (one convolution of the input) joins before the head, so that edges stay sharp.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        channels: Sequence[int],
        num_blocks: int = 2,
        stem_stride: int = 1,
        norm: str = "none",
    ) -> None:
        """Build with random weights.

        Args:
            in_channels: channels of the input.
            out_channels: channels of the output.
            channels: width of each level, finest first.
            num_blocks: residual blocks at each level on the way down; one on the way up.
            stem_stride: 1, or 2 for a finest level at half resolution.
            norm: an entry of `NORMS`.
        """
        super().__init__()
        self.stem = nn.Conv3d(in_channels, channels[0], 3, stride=stem_stride, padding=1)
        self.down = nn.ModuleList(nn.Conv3d(a, b, 3, stride=2, padding=1) for a, b in pairwise(channels))
        self.encode = nn.ModuleList(
            nn.Sequential(*(_ResidualBlock(width, norm) for _ in range(num_blocks))) for width in channels
        )
        self.narrow = nn.ModuleList(nn.Conv3d(b, a, 1) for a, b in pairwise(channels))
        self.decode = nn.ModuleList(_ResidualBlock(width, norm) for width in channels[:-1])
        self.refine: nn.Module | None = None
        if stem_stride == 2:
            thin = max(8, channels[0] // 2)
            self.skim = nn.Conv3d(in_channels, thin, 3, padding=1)
            self.thin = nn.Conv3d(channels[0], thin, 1)
            self.refine = nn.Sequential(nn.LeakyReLU(0.01), nn.Conv3d(thin, thin, 3, padding=1), nn.LeakyReLU(0.01))
        self.head = nn.Conv3d(thin if self.refine else channels[0], out_channels, 1)

    def forward(self, volume: Tensor) -> Tensor:
        """Map `(N, in_channels, I, J, K)` to `(N, out_channels, I, J, K)`; sides are multiples of the total stride."""
        features = self.encode[0](self.stem(volume))
        skips = []
        for down, encode in zip(self.down, list(self.encode)[1:], strict=True):
            skips.append(features)
            features = encode(down(features))
        for narrow, decode in zip(reversed(self.narrow), reversed(self.decode), strict=True):
            features = decode(_double(narrow(features)) + skips.pop())
        if self.refine is not None:
            features = self.refine(_double(self.thin(features)) + self.skim(volume))
        out: Tensor = self.head(features)
        return out


class _ResidualBlock(nn.Module):
    def __init__(self, channels: int, norm: str) -> None:
        super().__init__()
        last = nn.Conv3d(channels, channels, 3, padding=1)
        nn.init.zeros_(last.weight)  # each block starts as the identity
        nn.init.zeros_(last.bias)  # type: ignore[arg-type]
        self.body = nn.Sequential(
            NORMS[norm](channels),
            nn.LeakyReLU(0.01),
            nn.Conv3d(channels, channels, 3, padding=1, bias=norm == "none"),
            NORMS[norm](channels),
            nn.LeakyReLU(0.01),
            last,
        )

    def forward(self, features: Tensor) -> Tensor:
        out: Tensor = features + self.body(features)
        return out


def _double(features: Tensor) -> Tensor:
    """Twice the resolution, trilinear; a convolution to fewer channels goes before it, where it is cheap."""
    size = [2 * n for n in features.shape[2:]]
    doubled: Tensor = functional.interpolate(features, size=size, mode="trilinear", align_corners=False)
    return doubled
