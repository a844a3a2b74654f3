"""The whole configuration of a training run."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from volumetric.config.network import NetworkConfig
from volumetric.config.section import Section

Contrast = Literal["t1w", "t2w", "pdw", "flair"]
Millimetres = Annotated[float, Field(ge=0.2, le=6)]
Voxels = Annotated[int, Field(ge=8, le=1024)]


class TaskConfig(Section):
    """What is learnt from what."""

    sources: tuple[Contrast, ...] = Field(("t1w",), min_length=1, description="contrasts the network sees")
    target: Contrast = Field("t2w", description="contrast the network writes")

    @model_validator(mode="after")
    def _differ(self) -> Self:
        if self.target in self.sources or len(set(self.sources)) < len(self.sources):
            raise ValueError(f"the sources {list(self.sources)} and the target '{self.target}' must all differ")
        return self


class SpaceConfig(Section):
    """The grid the network works on."""

    spacing_mm: tuple[Millimetres, Millimetres, Millimetres] | None = Field(
        None, description="voxel size in model space; null keeps each scan's own"
    )


class PatchConfig(Section):
    """What the network sees at once, in training and in inference."""

    size: tuple[Voxels, Voxels, Voxels] = Field((96, 96, 96), description="voxels of model space, RAS order")
    batch_size: int = Field(4, ge=1, le=256, description="patches in an optimiser step, per device")
    num_per_volume: int = Field(2, ge=1, le=256, description="how many of these come from one volume")

    @model_validator(mode="after")
    def _volumes_are_whole(self) -> Self:
        if self.batch_size % self.num_per_volume:
            raise ValueError(
                f"patch.batch_size {self.batch_size} must be a multiple of patch.num_per_volume {self.num_per_volume}"
            )
        return self


class AugmentationConfig(Section):
    """Random changes of the training pairs; source and target share each draw."""

    flip_probability: float = Field(0.5, ge=0, le=1, description="left-right mirror")


class OptimConfig(Section):
    """The optimiser and its schedule."""

    lr: float = Field(1e-3, gt=0, le=1, description="peak learning rate of AdamW")
    weight_decay: float = Field(1e-5, ge=0, le=1)
    num_steps: int = Field(50_000, ge=1, description="optimiser steps of the whole run")
    warmup_fraction: float = Field(0.05, ge=0, lt=1, description="share of the steps in which the rate rises")
    clip_norm: float = Field(1.0, gt=0, description="largest norm of the gradient")


class ValidationConfig(Section):
    """How often the run looks at whole validation volumes, and saves where it is."""

    every_steps: int = Field(1000, ge=1, description="steps between two validations; a checkpoint goes with each")


class InferenceConfig(Section):
    """How patches are stitched; goes into the model folder as its default."""

    overlap: float = Field(0.5, ge=0, le=0.9, description="fraction of a patch that neighbouring windows share")


class RunConfig(Section):
    """A training run."""

    task: TaskConfig = TaskConfig()
    space: SpaceConfig = SpaceConfig()
    network: NetworkConfig = NetworkConfig()
    patch: PatchConfig = PatchConfig()
    augmentation: AugmentationConfig = AugmentationConfig()
    optim: OptimConfig = OptimConfig()
    validation: ValidationConfig = ValidationConfig()
    inference: InferenceConfig = InferenceConfig()
    seed: int = Field(0, ge=0, description="of the weights, the patches and the augmentation")
    device: Literal["auto", "cpu", "cuda"] = Field("auto", description="auto takes a GPU where there is one")
    precision: Literal["auto", "32-true", "bf16-mixed", "16-mixed"] = Field(
        "auto", description="auto: bf16-mixed on a GPU, 32-true on a CPU"
    )
    num_workers: int = Field(0, ge=0, le=64, description="processes that cut patches; 0 does it in the main process")

    @model_validator(mode="after")
    def _patch_fits_network(self) -> Self:
        stride = self.network.stride
        if any(side % stride for side in self.patch.size):
            fitting = [max(stride, round(side / stride) * stride) for side in self.patch.size]
            raise ValueError(
                f"patch.size {list(self.patch.size)} must be multiples of {stride} for a network of "
                f"{len(self.network.channels)} levels and stem_stride {self.network.stem_stride}, such as {fitting}"
            )
        return self
