"""Random changes of training patches: one draw of geometry for the whole pair, appearance for the sources alone."""

from __future__ import annotations

import math

from monai.transforms import Compose, Rand3DElasticd, RandAffined, RandFlipd, RandomizableTransform

from volumetric.config.augmentation import AugmentationConfig
from volumetric.transforms.augmentation import appearance_steps

PAIR = ("source", "target", "mask")
_ELASTIC_SIGMA_VOX = (5, 7)


def size_with_margin(config: AugmentationConfig, size: tuple[int, int, int]) -> tuple[int, ...]:
    """The size to crop so that turned and stretched patches are full of image: an even margin, a tenth a side."""
    return tuple(side + 2 * math.ceil(0.1 * side) for side in size) if config.moves else size


def augment(config: AugmentationConfig, size: tuple[int, int, int], *, labels: bool = False) -> Compose:
    """The transforms whose probability is above 0, as one.

    They take a dictionary of `source (C, *crop)`, `target (1, *crop)` and `mask (1, *crop)`, images in reference units,
    and crop it to `size`. With `labels` the source is a label map, and moved by nearest neighbor.
    """
    return Compose(
        [*_geometry_steps(config, size, "nearest" if labels else "bilinear"), *appearance_steps("source", config)]
    )


def _geometry_steps(
    config: AugmentationConfig, size: tuple[int, int, int], source_mode: str
) -> list[RandomizableTransform]:
    steps, interpolation = [], (source_mode, "bilinear", "nearest")
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
                mode=interpolation,
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
                mode=interpolation,
                padding_mode="zeros",
            )
        )
    return steps
