"""Which network, and how big."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from volumetric.config.section import Section

Channels = Annotated[int, Field(ge=1, le=2048)]


class NetworkConfig(Section):
    """The network: everything needed to build it, apart from the numbers of contrasts."""

    name: Literal["unet"] = Field("unet", description="an entry of volumetric.model.networks.NETWORKS")
    channels: tuple[Channels, ...] = Field(
        (32, 64, 128, 256), min_length=2, max_length=7, description="width of each level, finest first"
    )
    num_blocks: int = Field(2, ge=1, le=8, description="residual blocks at each level of the encoder")
    stem_stride: Literal[1, 2] = Field(
        1, description="2: the finest level works at half resolution, about seven times cheaper"
    )
    norm: Literal["instance", "batch", "group", "none"] = Field("instance", description="normalisation layer")

    @property
    def stride(self) -> int:
        """Voxels of input per voxel of the coarsest level; patch sides are multiples of it."""
        return int(self.stem_stride * 2 ** (len(self.channels) - 1))
