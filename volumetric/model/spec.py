"""What a model is, apart from its weights: the content of `model.yaml`."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from volumetric.config.network import NetworkConfig
from volumetric.config.preparation import PreparationConfig
from volumetric.config.run import Contrast
from volumetric.config.section import Section
from volumetric.imaging.intensity import INTENSITY_SCALE

FORMAT_VERSION = 1


class AffineMap(Section):
    """`network units = (reference units - center) / scale`, and its inverse."""

    center: float
    scale: float = Field(gt=0)


class MaskSpec(Section):
    """Where the model sees and writes anything."""

    kind: Literal["brain"] = "brain"
    rule: Literal["given, else nonzero, else deepbet"] = "given, else nonzero, else deepbet"


class TrainingStatistics(Section):
    """What the training people looked like."""

    num_subjects: int
    source_quantiles: dict[Contrast, tuple[float, ...]] = Field(
        description="1st, 25th, 50th, 75th and 99th percentile in the mask, reference units, per contrast"
    )
    spacing_mm_low: tuple[float, float, float] = Field(description="finest voxel sides of the training scans, RAS")
    spacing_mm_high: tuple[float, float, float] = Field(description="coarsest voxel sides of the training scans, RAS")


class ModelSpec(Section):
    """Everything inference and evaluation need to know; no training key.

    Attributes:
        target_map: of the target.
    """

    @model_validator(mode="after")
    def _every_source_has_its_map(self) -> Self:
        if len(self.source_maps) != (len(self.sources) if self.source_normalization == "pooled" else 0):
            raise ValueError(f"{len(self.source_maps)} source_maps do not fit source_normalization and sources")
        return self

    format_version: Literal[1] = 1
    sources: tuple[Contrast, ...]
    target: Contrast
    spacing_mm: tuple[float, float, float] | None
    mask: MaskSpec = MaskSpec()
    preparation: PreparationConfig | None = Field(
        None, description="recipe the training scans were prepared by; null: as they came"
    )
    source_normalization: Literal["zscore", "pooled"] = Field(
        "zscore",
        description="zscore: each source to mean 0 and SD 1 in its own mask; pooled: by `source_maps`; background 0",
    )
    source_maps: tuple[AffineMap, ...] = Field((), description="of each source, where the normalisation is pooled")
    target_map: AffineMap
    intensity_scale: float = INTENSITY_SCALE
    data_range: float = Field(gt=0, description="upper end of the range of PSNR and SSIM, reference units")
    network: NetworkConfig
    patch_size: tuple[int, int, int]
    overlap: float
    training: TrainingStatistics
    training_manifest_sha256: str
    versions: dict[str, str]
    weights_licence: str | None = Field(None, description="to be filled in by whoever shares the model")
    training_data_licence: str | None = Field(None, description="to be filled in by whoever shares the model")
