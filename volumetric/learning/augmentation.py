"""Random changes of training patches, from MONAI's dictionary transforms: one draw of geometry for the whole pair."""

from __future__ import annotations

import math

from monai.transforms import (
    Compose,
    Rand3DElasticd,
    RandAdjustContrastd,
    RandAffined,
    RandBiasFieldd,
    RandFlipd,
    RandGaussianNoised,
    RandGaussianSmoothd,
    RandSimulateLowResolutiond,
)

from volumetric.config.run import AugmentationConfig

PAIR = ("source", "target", "mask")
_INTERPOLATION = ("bilinear", "bilinear", "nearest")
_ELASTIC_SIGMA_VOX = (5, 7)


def size_with_margin(config: AugmentationConfig, size: tuple[int, int, int]) -> tuple[int, ...]:
    """How much to cut so that turned and stretched patches are full of image: an even margin, a tenth a side."""
    return tuple(side + 2 * math.ceil(0.1 * side) for side in size) if config.moves else size


def augment(config: AugmentationConfig, size: tuple[int, int, int]) -> Compose:
    """The transforms whose probability is above 0, as one.

    They take a dictionary of `source (C, *cut)`, `target (1, *cut)` and `mask (1, *cut)`, images in reference units,
    and cut it to `size`.
    """
    steps: list[object] = []
    if config.flip_probability:
        steps.append(RandFlipd(PAIR, prob=config.flip_probability, spatial_axis=0))
    if config.elastic_probability:
        steps.append(
            Rand3DElasticd(
                PAIR,
                sigma_range=_ELASTIC_SIGMA_VOX,
                # noise of unit range, smoothed in 3D by these sigmas, has an SD of about a fortieth
                magnitude_range=(0, 20 * config.elastic_vox),
                prob=config.elastic_probability,
                mode=_INTERPOLATION,
                padding_mode="zeros",
            )
        )
    if config.moves:
        steps.append(
            RandAffined(
                PAIR,
                prob=config.affine_probability,
                rotate_range=(math.radians(config.rotation_deg),) * 3,
                scale_range=(config.scaling,) * 3,
                shear_range=(config.shear,) * 6,
                spatial_size=size,
                mode=_INTERPOLATION,
                padding_mode="zeros",
            )
        )
    if config.blur_probability:
        sigma = (0.25 * config.blur_vox, config.blur_vox)
        steps.append(RandGaussianSmoothd("source", sigma, sigma, sigma, prob=config.blur_probability))
    if config.low_resolution_probability:
        steps.append(
            RandSimulateLowResolutiond(
                "source", prob=config.low_resolution_probability, zoom_range=(config.low_resolution, 1)
            )
        )
    if config.bias_probability:
        steps.append(RandBiasFieldd("source", coeff_range=(-config.bias, config.bias), prob=config.bias_probability))
    if config.gamma_probability:
        gamma = (math.exp(-config.gamma), math.exp(config.gamma))
        steps.append(RandAdjustContrastd("source", prob=config.gamma_probability, gamma=gamma))
    if config.noise_probability:
        steps.append(RandGaussianNoised("source", prob=config.noise_probability, std=config.noise))
    return Compose(steps)
