"""The networks, in one table from name to builder."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import nn

from volumetric.config.network import NetworkConfig, SeedUNetConfig, SpadeConfig, UNetConfig
from volumetric.model.networks.from_monai import dynunet, segresnet, swinunetr
from volumetric.model.networks.seed_unet import SeedUNet
from volumetric.model.networks.spade import SpadeGenerator
from volumetric.model.networks.unet import UNet


def _unet(config: UNetConfig, in_channels: int, out_channels: int) -> nn.Module:
    return UNet(
        in_channels,
        out_channels,
        channels=config.channels,
        num_blocks=config.num_blocks,
        stem_stride=config.stem_stride,
        norm=config.norm,
    )


def _seed_unet(config: SeedUNetConfig, in_channels: int, out_channels: int) -> nn.Module:
    return SeedUNet(in_channels, out_channels)


def _spade(config: SpadeConfig, in_channels: int, out_channels: int) -> nn.Module:
    return SpadeGenerator(in_channels, out_channels, channels=config.channels, hidden=config.hidden, norm=config.norm)


NETWORKS: Mapping[str, Callable[[Any, int, int], nn.Module]] = {
    "unet": _unet,
    "seed_unet": _seed_unet,
    "segresnet": segresnet,
    "dynunet": dynunet,
    "swinunetr": swinunetr,
    "spade": _spade,
}
"""Name -> builder of a network from `(N, in_channels, I, J, K)` to `(N, out_channels, I, J, K)`."""


def build_network(config: NetworkConfig, in_channels: int, out_channels: int = 1) -> nn.Module:
    """The network that a configuration names, with fresh random weights."""
    return NETWORKS[config.name](config, in_channels, out_channels)


def channels_last(network: nn.Module) -> nn.Module:
    """The network with its weights laid out channels last, which its convolutions are faster with; same numbers."""
    network.to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload]  # missing in torch's stubs
    return network


def num_parameters(network: nn.Module) -> int:
    """Number of trained weights."""
    return sum(p.numel() for p in network.parameters() if p.requires_grad)
