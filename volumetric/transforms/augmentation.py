"""Random changes of a scan's appearance, from MONAI's dictionary transforms."""

from __future__ import annotations

import math

from monai.config import KeysCollection
from monai.transforms import (
    Compose,
    RandAdjustContrastd,
    RandBiasFieldd,
    RandGaussianNoised,
    RandGaussianSmoothd,
    RandomizableTransform,
    RandSimulateLowResolutiond,
)

from volumetric.config.augmentation import AugmentationConfig

_SOMETIMES = AugmentationConfig(
    bias_probability=0.3,
    gamma_probability=0.3,
    noise_probability=0.3,
    blur_probability=0.3,
    low_resolution_probability=0.3,
)


class RandAppearanced(Compose):
    """Blur, coarse sampling, shading, contrast and noise, each with a probability of its own.

    Takes and writes volumes `(C, I, J, K)` in reference units (about 0 to 3), before normalization: shading then
    multiplies what a coil would. Geometry is left alone, so a target needs no change.
    """

    def __init__(self, keys: KeysCollection, config: AugmentationConfig = _SOMETIMES) -> None:
        """Change `keys`; the default `config` makes each change in three of ten volumes."""
        super().__init__(appearance_steps(keys, config))


def appearance_steps(keys: KeysCollection, config: AugmentationConfig) -> list[RandomizableTransform]:
    """The transforms of a volume's appearance whose probability is above 0."""
    sigma = (0.25 * config.blur_vox, config.blur_vox)
    gamma = (math.exp(-config.gamma), math.exp(config.gamma))
    zoom = (config.low_resolution, 1)
    steps = [
        RandGaussianSmoothd(keys, sigma, sigma, sigma, prob=config.blur_probability),
        RandSimulateLowResolutiond(keys, prob=config.low_resolution_probability, zoom_range=zoom),
        RandBiasFieldd(keys, coeff_range=(-config.bias, config.bias), prob=config.bias_probability),
        RandAdjustContrastd(keys, prob=config.gamma_probability, gamma=gamma),
        RandGaussianNoised(keys, prob=config.noise_probability, std=config.noise),
    ]
    return [step for step in steps if step.prob > 0]
