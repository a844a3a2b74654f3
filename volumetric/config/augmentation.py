"""Section of the configuration for random changes of training pairs."""

from __future__ import annotations

from pydantic import Field

from volumetric.config.section import Probability, Section


class AugmentationConfig(Section):
    """Random changes of the training pairs: geometry for source and target alike, appearance for the sources alone.

    Each `_probability` is that of a patch; ranges are drawn from uniformly.
    """

    flip_probability: Probability = Field(0.5, description="left-right mirror")
    affine_probability: Probability = Field(0, description="rotation, scaling and shear")
    rotation_deg: float = Field(8, ge=0, le=90, description="largest rotation about each axis")
    scaling: float = Field(0.08, ge=0, le=0.5, description="largest relative change of size along each axis")
    shear: float = Field(0.02, ge=0, le=0.5, description="largest shear")
    elastic_probability: Probability = Field(0, description="smooth deformation")
    elastic_vox: float = Field(2, ge=0, le=20, description="largest displacement along each axis")
    bias_probability: Probability = Field(0, description="smooth shading of the sources")
    bias: float = Field(0.3, ge=0, le=2, description="largest coefficient of the cubic polynomial in its exponent")
    gamma_probability: Probability = Field(0, description="contrast of the sources: u to the power gamma")
    gamma: float = Field(0.3, ge=0, le=1, description="largest logarithm of gamma, either way")
    noise_probability: Probability = Field(0, description="Gaussian noise on the sources")
    noise: float = Field(0.05, ge=0, le=1, description="largest SD, in reference units")
    blur_probability: Probability = Field(0, description="Gaussian blur of the sources")
    blur_vox: float = Field(1, ge=0, le=10, description="largest sigma")
    low_resolution_probability: Probability = Field(0, description="sources sampled coarsely and back")
    low_resolution: float = Field(0.5, gt=0, le=1, description="smallest zoom; 0.5 is every other voxel")
    missing_probability: float = Field(
        0,
        ge=0,
        lt=1,
        exclude_if=lambda probability: probability == 0,
        description="each source is left out, but never all; above 0 the model takes any of its sources",
    )

    @property
    def moves(self) -> bool:
        """True where anything is interpolated, so that patches are cut with a margin."""
        return self.affine_probability > 0 or self.elastic_probability > 0

    @property
    def changes_appearance(self) -> bool:
        """True where anything changes the intensities of the sources."""
        kinds = (self.bias_probability, self.gamma_probability, self.noise_probability, self.blur_probability)
        return any(kinds) or self.low_resolution_probability > 0
