"""The recipe of preparation, from raw scans to prepared pairs; kept in the model folder."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from volumetric.config.run import Contrast, Millimeters
from volumetric.config.section import Section, Seed

RECIPE_FILE = "preparation.yaml"
"""File beside a prepared manifest: its recipe. `train` copies it into the model folder."""

Iterations = Annotated[int, Field(ge=1, le=1000)]


class BiasConfig(Section):
    """N4 bias field correction (Tustison 2010), fitted on a shrunken image and applied at full resolution."""

    enabled: bool = Field(True, description="false leaves the shading in")
    working_mm: float = Field(4, ge=1, le=10, description="voxel size at which the field is fitted")
    iterations: tuple[Iterations, ...] = Field(
        (50, 50, 50, 50), min_length=1, max_length=6, description="most iterations at each level, coarsest first"
    )


class RegistrationConfig(Section):
    """Registration of every other contrast to the reference, by mutual information (Mattes 2003)."""

    transform: Literal["rigid", "affine"] = Field(
        "rigid", description="rigid is right for one subject in one session; affine absorbs scaling errors of a scanner"
    )
    num_starts: int = Field(
        4, ge=1, le=100, description="starts of the search: the scanner's coordinates, centers of mass, random moves"
    )


class GridConfig(Section):
    """The grid that a prepared pair lies on."""

    space: Literal["reference", "mni"] = Field(
        "reference", description="the reference image's own space, or MNI152 by an affine registration"
    )
    spacing_mm: Millimeters | None = Field(
        None, description="isotropic voxel size; null keeps the reference's own (mni: 1)"
    )
    crop_margin_mm: float | None = Field(
        None, ge=0, le=100, description="cut the grid to the brain with this margin; null cuts nothing"
    )


Threshold = tuple[float, float]


class QualityConfig(Section):
    """Thresholds at which a pair gets a warning and at which it fails: two numbers each, the warning first."""

    residual_mm: Threshold = Field((0.5, 2), description="mean residual shift in the brain, above")
    residual_deg: Threshold = Field((0.5, 2), description="residual rotation, above")
    brain_ml_low: Threshold = Field((900, 600), description="volume of the brain mask, below")
    brain_ml_high: Threshold = Field((1900, 2500), description="volume of the brain mask, above")
    overlap: Threshold = Field(
        (0.98, 0.8), description="share of the brain inside the other scan's field of view, below"
    )
    snr: Threshold = Field((8, 3), description="in-mask median over noise SD, below")
    nmi_gain: Threshold = Field((-0.002, -0.02), description="normalized mutual information, after minus before, below")


class PreparationConfig(Section):
    """The recipe of preparation."""

    reference: Contrast = Field("t1w", description="contrast that stays where it is; the others are registered to it")
    interpolation: Literal["linear", "cubic"] = Field(
        "cubic", description="of the one interpolation; cubic is clipped to the range of the scan"
    )
    bias: BiasConfig = BiasConfig()
    registration: RegistrationConfig = RegistrationConfig()
    grid: GridConfig = GridConfig()
    quality: QualityConfig = QualityConfig()
    seed: Seed = Field(0, description="of the random starts and samples of the registration")

    @model_validator(mode="after")
    def _reference_can_be_found_in_mni(self) -> Self:
        if self.grid.space == "mni" and self.reference != "t1w":
            raise ValueError(f"grid.space `mni` needs reference `t1w`, the template's contrast, not `{self.reference}`")
        return self
