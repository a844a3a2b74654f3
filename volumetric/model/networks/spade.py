"""Generator from label maps: residual blocks that the map itself scales and shifts, at every resolution."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from torch import Tensor, nn
from torch.nn import functional

_NORMS: dict[str, Any] = {"instance": "INSTANCE", "batch": ("BATCH", {"affine": False}), "none": "INSTANCE"}


class SpadeGenerator(nn.Module):
    """MONAI's SPADE blocks (Park et al. 2019) from the coarsest level to the finest, for patches of any size.

    MONAI's `SPADENet` is built for one input size and has no linear head. Up-sampling is trilinear here, and the
    convolutions for scale and shift are plain ones, as in the paper: MONAI normalizes what they give, by which a
    region of one class would be scaled by nothing.

        input ─ mean over 2^(L-1) ─ conv ─ block ─ up ─ block ─ up ─ ... ─ block ─ head
          └──────────────────────────────────┴──────────────┴───────────────┘ nearest neighbor
    """

    def __init__(self, in_channels: int, out_channels: int, *, channels: Sequence[int], hidden: int, norm: str) -> None:
        """Build with random weights.

        Args:
            in_channels: classes of the label map, or contrasts.
            out_channels: of the output.
            channels: width of each level, finest first.
            hidden: width of the layer between the input and its scales and shifts.
            norm: of the features before they are scaled: `instance`, `batch` or `none`.
        """
        from monai.networks.blocks.spade_norm import SPADE
        from monai.networks.nets.spade_network import SPADENetResBlock

        super().__init__()
        self.factor = 2 ** (len(channels) - 1)
        self.first = nn.Conv3d(in_channels, channels[-1], 3, padding=1)
        widths = [channels[-1], *reversed(channels)]
        self.blocks = nn.ModuleList(
            SPADENetResBlock(3, a, b, in_channels, spade_intermediate_channels=hidden, norm=_NORMS[norm])
            for a, b in pairwise(widths)
        )
        self.last = nn.LeakyReLU(0.2)
        self.head = nn.Conv3d(channels[0], out_channels, 1)
        for module in [m for m in self.modules() if isinstance(m, SPADE)]:
            width = module.mlp_gamma.out_channels
            module.mlp_gamma, module.mlp_beta = (nn.Conv3d(hidden, width, 3, padding=1) for _ in range(2))
            if norm == "none":
                module.param_free_norm = nn.Identity()

    def forward(self, volume: Tensor) -> Tensor:
        """Map `(N, in_channels, I, J, K)` to `(N, out_channels, I, J, K)`; sides are multiples of the stride."""
        features = self.first(functional.avg_pool3d(volume, self.factor))
        for number, block in enumerate(self.blocks):
            if number:
                size = [2 * side for side in features.shape[2:]]
                features = functional.interpolate(features, size=size, mode="trilinear")
            features = block(features, volume)
        out: Tensor = self.head(self.last(features))
        return out
