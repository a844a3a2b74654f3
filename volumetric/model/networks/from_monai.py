"""MONAI's networks, changed in one thing: up-sampling by interpolation, since transposed convolutions make dots."""

from __future__ import annotations

from typing import Any

from torch import nn

from volumetric.config.network import DynUNetConfig, SegResNetConfig, SwinUNETRConfig

_NORMS: dict[str, Any] = {
    "instance": ("INSTANCE", {"affine": True}),
    "batch": "BATCH",
    "group": ("GROUP", {"num_groups": 8}),
}


def segresnet(config: SegResNetConfig, in_channels: int, out_channels: int) -> nn.Module:
    """SegResNet (Myronenko 2018); it up-samples by interpolation itself."""
    from monai.networks.nets.segresnet import SegResNet

    network: nn.Module = SegResNet(
        in_channels=in_channels,
        out_channels=out_channels,
        init_filters=config.width,
        blocks_down=config.num_blocks,
        blocks_up=(1,) * (len(config.num_blocks) - 1),
        norm=_NORMS[config.norm],
    )
    return network


def dynunet(config: DynUNetConfig, in_channels: int, out_channels: int) -> nn.Module:
    """DynUNet (Isensee et al. 2021), plain blocks, no deep supervision."""
    from monai.networks.nets.dynunet import DynUNet

    levels = len(config.channels)
    return _interpolating(
        DynUNet(
            3,
            in_channels,
            out_channels,
            kernel_size=[3] * levels,
            strides=[1] + [2] * (levels - 1),
            upsample_kernel_size=[2] * (levels - 1),
            filters=config.channels,
            norm_name=_NORMS[config.norm],
        )
    )


def swinunetr(config: SwinUNETRConfig, in_channels: int, out_channels: int) -> nn.Module:
    """Swin UNETR (Hatamizadeh et al. 2022)."""
    from monai.networks.nets.swin_unetr import SwinUNETR

    return _interpolating(
        SwinUNETR(in_channels, out_channels, feature_size=config.width, norm_name=_NORMS[config.norm])
    )


def _interpolating(network: nn.Module) -> nn.Module:
    """Replace each transposed convolution of stride 2 by a 1x1x1 convolution and trilinear up-sampling."""
    for name, module in list(network.named_modules()):
        if isinstance(module, nn.ConvTranspose3d):
            assert module.stride == module.kernel_size == (2, 2, 2), f"{name}: {module}"
            up = nn.Sequential(
                nn.Conv3d(module.in_channels, module.out_channels, 1, bias=module.bias is not None),
                nn.Upsample(scale_factor=2, mode="trilinear"),
            )
            network.set_submodule(name, up)
    return network
