"""Specification of a model, all but its weights: the content of `model.yaml`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, ValidationError, model_validator

from volumetric.config.choices import MaskKind
from volumetric.config.document import ConfigError, load_yaml
from volumetric.config.network import NetworkConfig
from volumetric.config.preparation import PreparationConfig
from volumetric.config.run import (
    LABEL_SOURCE,
    Contrast,
    Millimeters,
    PatchSide,
    Source,
    SourceNormalization,
    check_contrasts,
)
from volumetric.config.section import Section
from volumetric.errors import InputError, first_problem
from volumetric.imaging.intensity import INTENSITY_SCALE
from volumetric.imaging.limits import VOXEL_SIZE_LIMITS_MM
from volumetric.imaging.normalization import LANDMARKS
from volumetric.model.features import FeatureStatistics
from volumetric.model.uncertainty import UncertaintySpec

WEIGHTS = "model.safetensors"
SPEC = "model.yaml"
FORMAT_VERSION = 1
_Side = Annotated[float, Field(ge=VOXEL_SIZE_LIMITS_MM[0], le=VOXEL_SIZE_LIMITS_MM[1])]
_SpacingMm = tuple[_Side, _Side, _Side]
_Quantiles = tuple[float, float, float, float, float]


class ModelError(InputError):
    """A folder that holds no usable model."""


class AffineMap(Section):
    """`network units = (reference units - center) / scale`, and its inverse."""

    center: float
    scale: float = Field(gt=0)

    @classmethod
    def from_numbers(cls, numbers: tuple[float, ...]) -> Self:
        """From `(center, scale)`."""
        center, scale = numbers
        return cls(center=center, scale=scale)

    @property
    def numbers(self) -> tuple[float, ...]:
        """`(center, scale)`."""
        return self.center, self.scale


class StandardLandmarks(Section):
    """Average landmarks of the training subjects, from the 1st percentile to the 99th; rising."""

    landmarks: tuple[float, ...] = Field(min_length=len(LANDMARKS), max_length=len(LANDMARKS))

    @classmethod
    def from_numbers(cls, numbers: tuple[float, ...]) -> Self:
        """From the landmarks."""
        return cls(landmarks=numbers)

    @property
    def numbers(self) -> tuple[float, ...]:
        """The landmarks."""
        return self.landmarks


SOURCE_MAPS: dict[str, type[AffineMap] | type[StandardLandmarks]] = {"pooled": AffineMap, "nyul": StandardLandmarks}
"""Kind of map that a normalization learns from the training subjects, one for each source."""


class MaskSpec(Section):
    """Region that the model reads and writes.

    Attributes:
        kind: the brain, or the head around it.
        rule: of the brain mask, which the head mask starts from.
    """

    kind: MaskKind = "brain"
    rule: Literal["given, else nonzero, else deepbet"] = "given, else nonzero, else deepbet"


class TrainingStatistics(Section):
    """Statistics of the training subjects."""

    num_subjects: int = Field(ge=0, description="with scanned pairs")
    num_label_maps: int = Field(0, ge=0, description="that pairs were simulated from")
    source_quantiles: dict[Source, _Quantiles] = Field(
        description="1st, 25th, 50th, 75th and 99th percentile in the mask, reference units, per contrast"
    )
    spacing_mm_low: _SpacingMm = Field(description="finest voxel sides of the training scans, RAS")
    spacing_mm_high: _SpacingMm = Field(description="coarsest voxel sides of the training scans, RAS")


class ModelSpec(Section):
    """Everything inference and evaluation need to know; no training key.

    Attributes:
        target_map: of the target.
    """

    format_version: Literal[1] = 1
    sources: tuple[Source, ...] = Field(min_length=1)
    optional_sources: bool = Field(
        False,
        exclude_if=lambda optional: not optional,
        description="any of the sources will do; one is 0 where missing",
    )
    label_classes: dict[str, tuple[int, ...]] | None = Field(
        None,
        exclude_if=lambda classes: classes is None,
        description="of a label map that is the source: class -> its labels; a channel each, in this order",
    )
    target: Contrast
    spacing_mm: tuple[Millimeters, Millimeters, Millimeters] | None
    mask: MaskSpec = MaskSpec()
    preparation: PreparationConfig | None = Field(
        None, description="recipe the training scans were prepared by; null: as they came"
    )
    source_normalization: SourceNormalization = Field(
        "zscore",
        description="how each source comes to the network: by its own numbers, and `source_maps` where there are any; "
        "background 0",
    )
    source_maps: tuple[AffineMap | StandardLandmarks, ...] = Field(
        (), description="of each source, what pooled (a map) or nyul (landmarks) learned from the training subjects"
    )
    target_map: AffineMap
    intensity_scale: float = Field(
        INTENSITY_SCALE,
        ge=INTENSITY_SCALE,
        le=INTENSITY_SCALE,
        description="voxels of a prediction are this times reference units; evaluation relies on it",
    )
    data_range: float = Field(gt=0, le=1000, description="upper end of the range of PSNR and SSIM, reference units")
    network: NetworkConfig
    uncertainty: UncertaintySpec | None = Field(
        None,
        exclude_if=lambda uncertainty: uncertainty is None,
        description="of the network's second output; absent: it has one output",
    )
    patch_size: tuple[PatchSide, PatchSide, PatchSide]
    overlap: float = Field(ge=0, le=0.9)
    whole_volume: bool = Field(
        False, description="one pass over the volume instead of windows: it scored as well on the validation subjects"
    )
    training: TrainingStatistics
    features: FeatureStatistics | None = Field(
        None, exclude_if=lambda features: features is None, description="of the training scans, to know others by"
    )
    training_manifest_sha256: str
    pretrained_sha256: str | None = Field(None, description="of the model that the training started from")
    versions: dict[str, str]
    weights_sha256: str | None = Field(None, description="of the file of weights; null: written by an older version")
    weights_license: str | None = Field(None, description="to be filled in by whoever shares the model")
    training_data_license: str | None = Field(None, description="to be filled in by whoever shares the model")

    @property
    def in_channels(self) -> int:
        """Channels of the network's input: one a contrast, or one a class of the label map."""
        return len(self.sources) if self.label_classes is None else len(self.label_classes)

    @property
    def out_channels(self) -> int:
        """Channels of the network's output: the target, and the logarithm of its width where there is uncertainty."""
        return 1 if self.uncertainty is None else 2

    @model_validator(mode="after")
    def _a_label_map_has_its_classes(self) -> Self:
        if (self.sources == (LABEL_SOURCE,)) != bool(self.label_classes):
            raise ValueError("label_classes belong to a model whose one source is `labels`, and to no other")
        return self

    @model_validator(mode="after")
    def _contrasts_differ(self) -> Self:
        check_contrasts(self.sources, self.target)
        return self

    @model_validator(mode="after")
    def _every_source_has_its_map(self) -> Self:
        kind = SOURCE_MAPS.get(self.source_normalization)
        expected = [kind] * len(self.sources) if kind else []
        if [type(source_map) for source_map in self.source_maps] != expected:
            raise ValueError(f"{len(self.source_maps)} source_maps do not fit source_normalization and sources")
        return self

    @model_validator(mode="after")
    def _every_source_has_its_quantiles(self) -> Self:
        known = {*self.training.source_quantiles, LABEL_SOURCE}
        missing = [contrast for contrast in self.sources if contrast not in known]
        if missing:
            raise ValueError(f"training.source_quantiles has no {', '.join(missing)}, a source of the model")
        return self

    @model_validator(mode="after")
    def _patch_fits_the_network(self) -> Self:
        stride = self.network.stride
        if any(side % stride for side in self.patch_size):
            raise ValueError(f"patch_size {list(self.patch_size)} must be multiples of {stride}, the network's stride")
        return self


def parse_spec(data: bytes, path: Path) -> ModelSpec:
    """Specification that the bytes of `model.yaml` hold; the path is for messages.

    Raises:
        ModelError: a format that this version does not know, or damaged content.
    """
    try:
        content = load_yaml(data.decode(), str(path))
        version = content.get("format_version") if isinstance(content, dict) else None
        if version != FORMAT_VERSION:
            raise ModelError(
                f"{path}: format_version is {version!r}, this version of volumetric reads {FORMAT_VERSION}; "
                "use the version that wrote the model (named under `versions` in the file)"
            )
        return ModelSpec.model_validate(content)
    except (ConfigError, UnicodeDecodeError) as error:
        raise ModelError(f"{path}: not a YAML file of a model; copy the model folder again") from error
    except ValidationError as error:
        raise ModelError(f"{path}: {first_problem(error)}; copy the model folder again") from error
