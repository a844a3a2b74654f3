"""Section of the configuration for a discriminator beside the loss."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from volumetric.config.section import Section


class AdversarialConfig(Section):
    """A discriminator that the network is trained against beside `loss` (pix2pix, Isola 2017); weight 0: none.

    It sees patches of sources and target together and judges each of many overlapping regions of them (PatchGAN).
    """

    weight: float = Field(0, ge=0, description="of the adversarial loss, beside the weights of `loss`; 0 leaves it out")
    criterion: Literal["least_squares", "hinge"] = Field(
        "least_squares", description="least_squares: targets 1 and 0 (Mao 2017); hinge: margins 1 and -1 (Lim 2017)"
    )
    feature_matching: float = Field(
        0, ge=0, description="weight of the difference between the discriminator's features of truth and prediction"
    )
    channels: int = Field(32, ge=1, le=512, description="width of the discriminator's first layer; each next has twice")
    num_layers: int = Field(3, ge=1, le=5, description="layers after the first; all but the last halve the resolution")
    spectral_norm: bool = Field(True, description="each layer divided by its largest gain (Miyato 2018)")
    lr: float = Field(2e-4, gt=0, le=1, description="peak rate of the discriminator's Adam; it follows `optim`'s curve")
    instance_noise: float = Field(
        0, ge=0, le=5, description="SD of noise on all that the discriminator sees, network units; falls linearly to 0"
    )
    ramp_fraction: float = Field(0.1, ge=0, le=1, description="share of the steps in which the weights rise from 0")

    @property
    def least_side_vox(self) -> int:
        """Shortest side of a patch that the discriminator judges."""
        return int(3 * 2**self.num_layers)
