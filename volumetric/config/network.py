"""Networks and their sizes: one section a network, told apart by its `name`."""

from __future__ import annotations

from itertools import pairwise
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Discriminator, Field, Tag, model_validator

from volumetric.config.section import Section

Width = Annotated[int, Field(ge=1, le=2048)]
Channels = Annotated[tuple[Width, ...], Field(min_length=2, max_length=7)]
Norm = Literal["instance", "batch", "group"]

MAX_WEIGHTS = 500_000_000
"""The largest network that is built; its training needs 10 GB in float32 for weights, averages and AdamW alone."""

DEFAULT_NETWORK = "unet"
NETWORK_NAMES = ("unet", "seed_unet", "segresnet", "dynunet", "swinunetr", "spade")


class UNetConfig(Section):
    """This project's residual U-Net."""

    name: Literal["unet"] = "unet"
    channels: Channels = Field((32, 64, 128, 256), description="width of each level, finest first")
    num_blocks: int = Field(2, ge=1, le=8, description="residual blocks at each level of the encoder")
    stem_stride: Literal[1, 2] = Field(
        1, description="2: the finest level works at half resolution, about seven times cheaper"
    )
    norm: Literal["instance", "batch", "group", "fixed_group", "none"] = Field(
        "none", description="normalization layer; batch, fixed_group and none do not depend on the window"
    )

    @property
    def stride(self) -> int:
        """Voxels of input per voxel of the coarsest level; patch sides are multiples of it."""
        return int(self.stem_stride * 2 ** (len(self.channels) - 1))


class SeedUNetConfig(Section):
    """The U-Net of 2021 that this project grew from; it has no settings."""

    name: Literal["seed_unet"]

    @property
    def stride(self) -> int:
        """Three halvings."""
        return 8


class SegResNetConfig(Section):
    """MONAI's SegResNet (Myronenko 2018), up-sampling by interpolation."""

    name: Literal["segresnet"]
    width: Width = Field(16, description="channels of the finest level; each coarser one has twice as many")
    num_blocks: tuple[Width, ...] = Field(
        (1, 2, 2, 4), min_length=2, max_length=6, description="blocks at each level of the encoder, finest first"
    )
    norm: Norm = Field("group", description="normalization layer; group means 8 groups")

    @model_validator(mode="after")
    def _groups_are_whole(self) -> SegResNetConfig:
        if self.norm == "group" and self.width % 8:
            raise ValueError(f"network.width {self.width} must be a multiple of 8 with norm `group`, such as 16")
        return self

    @property
    def stride(self) -> int:
        """Voxels of input per voxel of the coarsest level."""
        return int(2 ** (len(self.num_blocks) - 1))


class DynUNetConfig(Section):
    """MONAI's DynUNet, the U-Net of nnU-Net (Isensee 2021), with resize-convolutions for up-sampling."""

    name: Literal["dynunet"]
    channels: Channels = Field(
        (32, 64, 128, 256), min_length=3, description="width of each level, finest first; at least three"
    )
    norm: Norm = Field("instance", description="normalization layer; group means 8 groups")

    @property
    def stride(self) -> int:
        """Voxels of input per voxel of the coarsest level."""
        return int(2 ** (len(self.channels) - 1))


class SwinUNETRConfig(Section):
    """MONAI's Swin UNETR (Hatamizadeh 2022), with resize-convolutions for up-sampling."""

    name: Literal["swinunetr"]
    width: int = Field(24, ge=12, le=384, multiple_of=12, description="channels of the finest level")
    norm: Norm = Field("instance", description="normalization layer of the convolutions; group means 8 groups")

    @property
    def stride(self) -> int:
        """Patch embedding and four mergings."""
        return 32


class SpadeConfig(Section):
    """Generator of MONAI's SPADE blocks (Park 2019), for label maps: they scale and shift its features."""

    name: Literal["spade"]
    channels: Channels = Field((16, 32, 64), description="width of each level, finest first")
    hidden: Width = Field(16, description="width of the layer from the label map to its scales and shifts")
    norm: Literal["instance", "batch", "none"] = Field(
        "instance", description="of the features before they are scaled; batch and none do not depend on the window"
    )

    @property
    def stride(self) -> int:
        """Voxels of input per voxel of the coarsest level."""
        return int(2 ** (len(self.channels) - 1))


AnyNetwork = UNetConfig | SeedUNetConfig | SegResNetConfig | DynUNetConfig | SwinUNETRConfig | SpadeConfig


def least_weights(network: AnyNetwork) -> int:
    """Weights of the largest convolutions alone: a lower bound of the network's size without building it."""
    match network:
        case UNetConfig():
            return 54 * network.num_blocks * sum(width**2 for width in network.channels)
        case SegResNetConfig():
            return 54 * network.width**2 * sum(num << 2 * level for level, num in enumerate(network.num_blocks))
        case DynUNetConfig():
            return 54 * sum(width**2 for width in network.channels)
        case SwinUNETRConfig():
            return 54 * (16 * network.width) ** 2
        case SpadeConfig():
            return _least_spade_weights(network)
        case SeedUNetConfig():
            return 0


def _least_spade_weights(network: SpadeConfig) -> int:
    pairs = [(a, b, min(a, b)) for a, b in pairwise((network.channels[-1], *reversed(network.channels)))]
    return sum(27 * least * (a + b) + 54 * network.hidden * (a + least) for a, b, least in pairs)


def _name(section: Any) -> str:
    name = section.get("name", DEFAULT_NETWORK) if isinstance(section, dict) else getattr(section, "name", "none")
    return str(name)


def _check_size(network: AnyNetwork) -> AnyNetwork:
    if (weights := least_weights(network)) > MAX_WEIGHTS:
        raise ValueError(
            f"this `network` has over {weights / 1e6:.0f} million weights, expected at most {MAX_WEIGHTS / 1e6:.0f} "
            "million; make it narrower or shallower"
        )
    return network


NetworkConfig = Annotated[
    Annotated[UNetConfig, Tag("unet")]
    | Annotated[SeedUNetConfig, Tag("seed_unet")]
    | Annotated[SegResNetConfig, Tag("segresnet")]
    | Annotated[DynUNetConfig, Tag("dynunet")]
    | Annotated[SwinUNETRConfig, Tag("swinunetr")]
    | Annotated[SpadeConfig, Tag("spade")],
    Discriminator(
        _name,
        custom_error_type="network_name",
        custom_error_message=f"`name` must be one of {', '.join(NETWORK_NAMES)}",
    ),
    AfterValidator(_check_size),
]
"""Any of them; without a `name`, the `unet`."""


def is_window_independent(network: NetworkConfig) -> bool:
    """True where a prediction does not depend on statistics of the window."""
    return isinstance(network, SeedUNetConfig) or network.norm in ("batch", "fixed_group", "none")


def width_at_full_resolution(network: NetworkConfig) -> int:
    """Channels of the widest feature map with as many voxels as the input, about."""
    if isinstance(network, UNetConfig):
        return network.channels[0] if network.stem_stride == 1 else max(8, network.channels[0] // 2)
    if isinstance(network, SeedUNetConfig):
        return 64
    if isinstance(network, SpadeConfig):
        return max(2 * network.channels[0], network.hidden)
    return network.channels[0] if isinstance(network, DynUNetConfig) else network.width
