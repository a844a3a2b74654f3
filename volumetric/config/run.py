"""Sections of the configuration of a training run."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal, Self

from pydantic import Field, field_validator, model_validator

from volumetric.config.adversarial import AdversarialConfig
from volumetric.config.augmentation import AugmentationConfig
from volumetric.config.choices import Device, MaskKind
from volumetric.config.labels import LabelsConfig
from volumetric.config.mixture import MixtureConfig
from volumetric.config.network import NetworkConfig, UNetConfig
from volumetric.config.section import Section, Seed
from volumetric.config.simulation import SimulationConfig
from volumetric.config.uncertainty import UncertaintyConfig

Contrast = Literal["t1w", "t2w", "pdw", "flair", "t1wce"]
LABEL_SOURCE: Literal["labels"] = "labels"
Source = Literal["t1w", "t2w", "pdw", "flair", "t1wce", "labels"]
SourceNormalization = Literal["zscore", "pooled", "robust", "percentile", "white_stripe", "nyul", "fcm", "kde"]
Millimeters = Annotated[float, Field(ge=0.2, le=6)]
PatchSide = Annotated[int, Field(ge=8, le=1024)]


def check_contrasts(sources: Sequence[str], target: str) -> None:
    """Check that a model predicts none of its sources, and takes none twice.

    Raises:
        ValueError: it does.
    """
    if len({*sources, target}) <= len(sources):
        raise ValueError(f"the sources {list(sources)} and the target '{target}' must all differ")


class TaskConfig(Section):
    """Contrasts of the sources and of the target."""

    sources: tuple[Source, ...] = Field(
        ("t1w",), min_length=1, description="contrasts that the network takes, or `labels` alone: a label map"
    )
    target: Contrast = Field("t2w", description="contrast that the network predicts")

    @model_validator(mode="after")
    def _differ(self) -> Self:
        check_contrasts(self.sources, self.target)
        if LABEL_SOURCE in self.sources and len(self.sources) > 1:
            raise ValueError(f"the sources {list(self.sources)}: `labels` is the only source, or none")
        return self

    @property
    def images(self) -> tuple[Source, ...]:
        """The contrasts of sources and target: all but a label map."""
        return tuple(name for name in (*self.sources, self.target) if name != LABEL_SOURCE)


class SpaceConfig(Section):
    """The grid the network works on."""

    spacing_mm: tuple[Millimeters, Millimeters, Millimeters] | None = Field(
        None, description="voxel size in model space; null keeps each scan's own"
    )


class MaskConfig(Section):
    """The region that the model reads and writes."""

    kind: MaskKind = Field(
        "brain",
        description="brain, or head: all but the air around it; intensities are measured in the brain either way",
    )


class IntensityConfig(Section):
    """Normalization of the sources; the target is always normalized by one map fitted on the training subjects."""

    source_normalization: SourceNormalization = Field(
        "zscore",
        description="zscore: mean 0 and SD 1 in each scan's own mask; pooled: one map a contrast, of all training "
        "voxels; robust: median and MAD; percentile: 1st to 0, 99th to 1; white_stripe: mean 0 and SD 1 about the "
        "white-matter peak; nyul: deciles to those of the training subjects; fcm, kde: white matter's mean, mode to 1",
    )


class PatchConfig(Section):
    """Patches, the input of the network in training and in inference."""

    size: tuple[PatchSide, PatchSide, PatchSide] = Field((96, 96, 96), description="voxels of model space, RAS order")
    batch_size: int = Field(4, ge=1, le=256, description="patches in an optimizer step, over all devices")
    num_per_volume: int = Field(2, ge=1, le=256, description="how many of these come from one volume")

    @model_validator(mode="after")
    def _volumes_are_whole(self) -> Self:
        if self.batch_size % self.num_per_volume:
            raise ValueError(
                f"patch.batch_size {self.batch_size} must be a multiple of patch.num_per_volume {self.num_per_volume}"
            )
        return self


class LossConfig(Section):
    """Weights of the terms of the loss, all computed in the mask; 0 leaves a term out."""

    l1: float = Field(1, ge=0, description="mean absolute error")
    smooth_l1: float = Field(0, ge=0, description="absolute error, squared below 1 training SD (Girshick 2015)")
    l2: float = Field(0, ge=0, description="mean squared error")
    ssim: float = Field(1, ge=0, description="1 - SSIM in 3D (Wang 2004), window of 7 voxels")
    gradient: float = Field(0, ge=0, description="mean absolute difference of the gradients (Mathieu 2016)")

    @model_validator(mode="after")
    def _has_a_term(self) -> Self:
        if not any(self.model_dump().values()):
            raise ValueError("every weight of `loss` is 0; give at least one, for example --set loss.l1=1")
        return self


class OptimConfig(Section):
    """The optimizer and its schedule."""

    lr: float = Field(1e-3, gt=0, le=1, description="peak learning rate of AdamW")
    weight_decay: float = Field(1e-5, ge=0, le=1, description="decoupled weight decay of AdamW")
    num_steps: int = Field(50_000, ge=1, le=10**9, description="optimizer steps of the whole run")
    warmup_fraction: float = Field(0.05, ge=0, lt=1, description="share of the steps in which the rate rises")
    clip_norm: float = Field(1.0, gt=0, description="largest norm of the gradient")
    ema_decay: float = Field(
        0.99, ge=0, lt=1, description="of the averaged weights, which are validated and exported; 0 averages nothing"
    )


class ValidationConfig(Section):
    """Validation and checkpoint interval."""

    every_steps: int = Field(1000, ge=1, description="steps between two validations, each with a checkpoint")
    patience: int | None = Field(
        None, ge=1, description="stop after so many validations without a better PSNR; null never stops early"
    )


class InferenceConfig(Section):
    """Stitching of patches; the default of the exported model."""

    overlap: float = Field(0.25, ge=0, le=0.9, description="fraction of a patch that neighboring windows share")


class RunConfig(Section):
    """The whole configuration of a training run."""

    task: TaskConfig = TaskConfig()
    labels: LabelsConfig = LabelsConfig()
    space: SpaceConfig = SpaceConfig()
    mask: MaskConfig = MaskConfig()
    intensity: IntensityConfig = IntensityConfig()
    network: NetworkConfig = UNetConfig()
    patch: PatchConfig = PatchConfig()
    augmentation: AugmentationConfig = AugmentationConfig()
    mixture: MixtureConfig = MixtureConfig()
    simulation: SimulationConfig = SimulationConfig()
    loss: LossConfig = LossConfig()
    uncertainty: UncertaintyConfig = UncertaintyConfig()
    adversarial: AdversarialConfig = AdversarialConfig()
    optim: OptimConfig = OptimConfig()
    validation: ValidationConfig = ValidationConfig()
    inference: InferenceConfig = InferenceConfig()
    pretrained: str | None = Field(
        None, description="model folder that the training starts from; network, spacing and intensities are its own"
    )
    seed: Seed = Field(0, description="of the weights, the patches and the augmentation")
    device: Device = Field("auto", description="auto takes a GPU where there is one")
    precision: Literal["auto", "32-true", "bf16-mixed", "16-mixed"] = Field(
        "auto", description="auto: bf16-mixed on a GPU, 32-true on a CPU"
    )
    cache: str | None = Field(None, description="folder of volumes in model space; null: `cache` in the run folder")
    tensorboard: bool = Field(False, description="also write TensorBoard events; needs the extra `tensorboard`")
    max_patches_per_pass: int | None = Field(
        None,
        ge=1,
        description="patches that a device takes through the network at once; the gradients of a step's others are "
        "added up in further passes; null: all of its share",
    )
    checkpoint_every_s: float = Field(
        300, ge=0, description="seconds that an interruption may cost where validations are further apart"
    )
    num_workers: int = Field(0, ge=0, le=64, description="processes that crop patches; 0 does it in the main process")

    @property
    def any_subset(self) -> bool:
        """True where the model takes any of its sources, and rows of the manifest may lack some."""
        return self.augmentation.missing_probability > 0

    @model_validator(mode="after")
    def _a_source_is_left(self) -> Self:
        if self.any_subset and len(self.task.sources) < 2:
            raise ValueError("augmentation.missing_probability leaves sources out: give task.sources two or more")
        return self

    @field_validator("cache")
    @classmethod
    def _is_a_path(cls, cache: str | None) -> str | None:
        if cache is not None and "\0" in cache:
            raise ValueError(f"`cache` = {cache!r} holds a NUL character; give the path of a folder")
        return cache

    @field_validator("pretrained")
    @classmethod
    def _names_a_model(cls, pretrained: str | None) -> str | None:
        if pretrained is not None and ("\0" in pretrained or not pretrained):
            raise ValueError(f"`pretrained` = {pretrained!r} names no model; give its folder")
        return pretrained

    @model_validator(mode="after")
    def _simulates_one_pair(self) -> Self:
        contrasts = {*self.task.sources, self.task.target}
        if self.mixture.simulated and contrasts != {"t1w", "t2w"}:
            raise ValueError(
                f"mixture.simulated {self.mixture.simulated:g}: only pairs of t1w and t2w are simulated, not "
                f"{' and '.join(sorted(contrasts))}; set mixture.simulated=0"
            )
        if self.mixture.simulated and self.space.spacing_mm is None:
            raise ValueError(
                f"mixture.simulated {self.mixture.simulated:g} needs a voxel size; give space.spacing_mm, such as "
                "[1, 1, 1]"
            )
        return self

    @model_validator(mode="after")
    def _simulates_a_source(self) -> Self:
        if self.mixture.simulated_source and self.task.sources not in (("t1w",), ("t2w",)):
            raise ValueError(
                f"mixture.simulated_source {self.mixture.simulated_source:g}: only a t1w or a t2w alone is simulated, "
                f"not {' and '.join(self.task.sources)}; set mixture.simulated_source=0"
            )
        return self

    @model_validator(mode="after")
    def _patch_fits_network(self) -> Self:
        stride = self.network.stride
        if any(side % stride for side in self.patch.size):
            fitting = [max(stride, round(side / stride) * stride) for side in self.patch.size]
            raise ValueError(
                f"patch.size {list(self.patch.size)} must be multiples of {stride}, the stride of the coarsest level "
                f"of this {self.network.name}, such as {fitting}"
            )
        if all(side == stride for side in self.patch.size):
            raise ValueError(
                f"patch.size {list(self.patch.size)} leaves one voxel on the coarsest level of this "
                f"{self.network.name}; give at least {[2 * stride] * 3}"
            )
        return self

    @model_validator(mode="after")
    def _discriminator_takes_one_pass(self) -> Self:
        if self.adversarial.weight and self.max_patches_per_pass is not None:
            raise ValueError("a discriminator judges a batch in one pass: leave max_patches_per_pass out")
        return self

    @model_validator(mode="after")
    def _patch_fits_discriminator(self) -> Self:
        least = self.adversarial.least_side_vox
        if self.adversarial.weight and min(self.patch.size) < least:
            raise ValueError(
                f"patch.size {list(self.patch.size)} is too small for a discriminator of adversarial.num_layers "
                f"{self.adversarial.num_layers}: give at least {least} voxels a side, or fewer layers"
            )
        return self

    @model_validator(mode="after")
    def _labels_stay_labels(self) -> Self:
        if LABEL_SOURCE not in self.task.sources:
            return self
        if self.intensity.source_normalization != "zscore" or self.mask.kind == "head":
            raise ValueError(
                "a label map has classes, no intensities: leave intensity.source_normalization and mask.kind out"
            )
        if self.augmentation.changes_appearance:
            raise ValueError("a label map has no appearance to augment: leave bias, gamma, noise, blur and zoom at 0")
        return self
