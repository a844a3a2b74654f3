"""The networks, in one table from name to builder."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import nn

from volumetric.config.network import NetworkConfig
from volumetric.model.networks.unet import UNet


def _unet(config: NetworkConfig, in_channels: int) -> nn.Module:
    return UNet(
        in_channels,
        1,
        channels=config.channels,
        num_blocks=config.num_blocks,
        stem_stride=config.stem_stride,
        norm=config.norm,
    )


NETWORKS: Mapping[str, Callable[[NetworkConfig, int], nn.Module]] = {"unet": _unet}
"""Name -> builder of a network from `(N, in_channels, I, J, K)` to `(N, 1, I, J, K)`."""


def build_network(config: NetworkConfig, in_channels: int) -> nn.Module:
    """The network that a configuration names, with fresh random weights."""
    return NETWORKS[config.name](config, in_channels)


def channels_last(network: nn.Module) -> nn.Module:
    """The network with its weights laid out channels last, which its convolutions are faster with; same numbers."""
    network.to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload]  # missing in torch's stubs
    return network
