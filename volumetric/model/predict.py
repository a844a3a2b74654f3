"""A loaded model: from a subject's source images to the missing contrast on the scan's own grid."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import nibabel as nib
import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from volumetric.config.inference import InferenceOptions
from volumetric.config.network import width_at_full_resolution
from volumetric.errors import InputError
from volumetric.imaging.geometry import Space
from volumetric.imaging.mask import BrainMask, brain_mask, is_extracted, region_mask
from volumetric.imaging.nifti import Image
from volumetric.model.device import pick_device
from volumetric.model.engines import NetworkFunction, choose_engine, in_bfloat16
from volumetric.model.networks import channels_last
from volumetric.model.plausibility import check_prediction
from volumetric.model.recognition import scan_warnings
from volumetric.model.space import ModelSpace, model_space_of
from volumetric.model.spec import ModelSpec
from volumetric.model.units import in_network_units, measure_sources
from volumetric.model.windows import WindowPlan, most_voxels, plan_large, plan_whole, plan_windows, stitch
from volumetric.subject import check_one_grid, read_source

_DEFAULTS = InferenceOptions()
_NO_HEAD = (
    "the scan is brain-extracted and the model was trained on heads, so the brain alone is synthesized, and less well; "
    "give the scan as it was before brain extraction, or use a model of the brain"
)


@dataclass(frozen=True, eq=False)
class ModelInput:
    """One subject as the input of the network.

    Attributes:
        header: of the first source's file.
        mask: the brain mask and its rule.
        region: `(I, J, K)` on the scan's grid, what is predicted: the brain or the head.
        space: model space, and the way back.
        volume: `(C, I, J, K)` in network units, 0 outside the region.
        plan: windows to run.
        warnings: what a reader should know before trusting what comes of it.
    """

    header: nib.Nifti1Header | None
    mask: BrainMask
    region: NDArray[np.bool_]
    space: ModelSpace
    volume: NDArray[np.float32]
    plan: WindowPlan
    warnings: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class Prediction:
    """A synthesized image and how it came about.

    Attributes:
        image: float32 on the source's grid, 1000 times reference units, 0 outside the model's region, never negative.
        mask: the brain mask and its rule.
        plan: the windows that were stitched.
        grid: the model's grid they lie on.
        warnings: what a reader should know before trusting it.
    """

    image: Image
    mask: BrainMask
    plan: WindowPlan
    grid: Space
    warnings: tuple[str, ...]


class Model:
    """A model ready to predict.

    Attributes:
        spec: what the model is.
        sha256: of the model folder.
        device: that the network is on.
        network: in evaluation mode.
        settings: options of inference, with `auto` and None resolved; an engine of `auto` stays, since it falls back.
        engine: what runs the network.
    """

    def __init__(
        self,
        spec: ModelSpec,
        network: nn.Module,
        *,
        options: InferenceOptions = _DEFAULTS,
        sha256: str = "",
        cache: Path | None = None,
    ) -> None:
        """Take a network onto a device.

        Args:
            spec: what the model is.
            network: with its weights.
            options: how to run it.
            sha256: of the model folder.
            cache: folder that keeps what the engine makes of the network.

        Raises:
            InputError: a device or an engine that cannot be had.
        """
        self.spec = spec
        self.sha256 = sha256
        self.device = pick_device(options.device)
        self.network = channels_last(network).to(self.device).eval()
        self.settings = resolve_options(options, spec, self.device)
        self.engine = choose_engine(
            self.network,
            spec.in_channels,
            stride=spec.network.stride,
            options=self.settings,
            cache=cache,
            key=sha256,
        )

    def predict(
        self, sources: Image | Path | str | Mapping[str, Image | Path | str], mask: Image | None = None
    ) -> Prediction:
        """Synthesize the target of one subject.

        Args:
            sources: the source scan or its file; for several contrasts a mapping such as `{"t1w": ..., "pdw": ...}`.
            mask: the brain on the same grid; without it the rule of `volumetric.imaging.mask` applies.

        Raises:
            InputError: a contrast that the model needs is missing, an image that cannot be used, or a prediction
                that is not finite, constant or implausible.
        """
        model_input = self.preprocess(sources, mask)
        units = self.forward(model_input)
        check_prediction(units, model_input.space.mask, self.spec.data_range)
        return self.postprocess(model_input, units)

    def preprocess(
        self, sources: Image | Path | str | Mapping[str, Image | Path | str], mask: Image | None = None
    ) -> ModelInput:
        """All that comes before the network; arguments and errors as in `predict`."""
        by_contrast = dict(sources) if isinstance(sources, Mapping) else {self.spec.sources[0]: sources}
        if missing := [contrast for contrast in self.spec.sources if contrast not in by_contrast]:
            raise InputError(f"the model needs {', '.join(self.spec.sources)}; {', '.join(missing)} not given")
        images: dict[str, Image] = {}
        for contrast in self.spec.sources:
            value = by_contrast[contrast]
            images[contrast] = value if isinstance(value, Image) else read_source(Path(value), contrast)
        check_one_grid(images, name="given")
        return self.preprocess_masked(images, brain_mask(images[self.spec.sources[0]], mask))

    def preprocess_masked(self, images: Mapping[str, Image], mask: BrainMask) -> ModelInput:
        """As `preprocess`, of images on one grid whose brain mask is known.

        Args:
            images: by contrast, every source of the model.
            mask: on their grid.

        Raises:
            InputError: an image that cannot be used.
        """
        scan = images[self.spec.sources[0]]
        region = region_mask(self.spec.mask.kind, scan, mask.array)
        space = model_space_of(scan.space, mask.array, self.spec.spacing_mm, region)
        names = [f"the {contrast} image" for contrast in self.spec.sources]
        if self.spec.label_classes is None:
            sources = space.to_model_space(*(images[contrast] for contrast in self.spec.sources), names=names)
        else:
            sources = space.labels_to_model_space(scan)
        measured = measure_sources(self.spec.source_normalization, self.spec.sources, sources, space.brain)
        warnings = scan_warnings(self.spec, images, sources, space)
        if self.spec.mask.kind == "head" and is_extracted(region, mask.array):
            warnings = (_NO_HEAD, *warnings)
        return ModelInput(
            header=scan.header,
            mask=mask,
            region=region,
            space=space,
            volume=in_network_units(self.spec, sources, space.mask, measured),
            plan=self._plan(space.mask),
            warnings=warnings,
        )

    def forward(self, model_input: ModelInput) -> NDArray[np.float32]:
        """The network itself: the target `(I, J, K)` in model space, reference units, 0 outside the mask."""
        mask = model_input.space.mask
        return run_windows(self.engine, self.spec, model_input.volume, mask, model_input.plan, self.device)

    def postprocess(self, model_input: ModelInput, units: NDArray[np.float32]) -> Prediction:
        """All that comes after the network: `units` from `forward`, back on the scan's own grid."""
        space = model_input.space
        array = space.from_model_space(units * np.float32(self.spec.intensity_scale))
        image = Image(np.maximum(array, 0, out=array), space.scan.affine, model_input.header)
        return Prediction(image, model_input.mask, model_input.plan, space.grid, model_input.warnings)

    def _plan(self, mask: NDArray[np.bool_]) -> WindowPlan:
        settings = self.settings
        overlap = self.spec.overlap if settings.overlap is None else settings.overlap
        return plan_for(self.spec, mask, self.device, overlap=overlap, whole_volume=bool(settings.whole_volume))


def resolve_options(options: InferenceOptions, spec: ModelSpec, device: torch.device) -> InferenceOptions:
    """The options as a model on a device follows them: only the engine may still be `auto`."""
    on_cpu = device.type == "cpu"
    whole_volume = options.whole_volume
    if whole_volume is None:
        whole_volume = spec.whole_volume and options.overlap is None
    overlap = spec.overlap if options.overlap is None else options.overlap
    precision = options.precision
    if precision == "auto":
        precision = "float32" if on_cpu else "bfloat16"
    return InferenceOptions(
        device="cpu" if on_cpu else "cuda",
        engine=options.engine,
        precision=precision,
        overlap=None if whole_volume else overlap,
        whole_volume=whole_volume,
    )


def plan_for(
    spec: ModelSpec, mask: NDArray[np.bool_], device: torch.device, *, overlap: float, whole_volume: bool
) -> WindowPlan:
    """Windows over a mask `(I, J, K)` of the patch's size; for `whole_volume` one, or the largest the memory holds."""
    plan = None
    if whole_volume:
        limit = most_voxels(width_at_full_resolution(spec.network), device)
        plan = plan_whole((mask.shape[0], mask.shape[1], mask.shape[2]), spec.network.stride)
        if math.prod(plan.size) > limit:
            plan = plan_large(mask, spec.network.stride, limit)
    return plan or plan_windows(mask, spec.patch_size, overlap)


def synthesize(
    network: NetworkFunction,
    spec: ModelSpec,
    sources: NDArray[np.float32],
    mask: NDArray[np.bool_],
    plan: WindowPlan,
    device: torch.device,
    measured: NDArray[np.float64] | None = None,
) -> NDArray[np.float32]:
    """Run a network over the windows of one subject in model space, in bfloat16 on a GPU.

    Args:
        network: in evaluation mode, on `device`.
        spec: for the way into network units and back.
        sources: `(C, I, J, K)` in reference units.
        mask: `(I, J, K)`.
        plan: windows that cover the mask.
        device: where to compute.
        measured: of the sources in the brain; None measures them in the mask.

    Returns:
        The target in reference units, float32 `(I, J, K)`, 0 outside the mask.

    Raises:
        IntensityError: a source without what the model's normalization needs.
    """
    run = in_bfloat16(network) if device.type == "cuda" else network
    return run_windows(run, spec, in_network_units(spec, sources, mask, measured), mask, plan, device)


def run_windows(
    network: NetworkFunction,
    spec: ModelSpec,
    volume: NDArray[np.float32],
    mask: NDArray[np.bool_],
    plan: WindowPlan,
    device: torch.device,
) -> NDArray[np.float32]:
    """As `synthesize`, from a `volume` `(C, I, J, K)` in network units."""
    inside = torch.from_numpy(mask).to(device)
    with torch.inference_mode():
        out = stitch(torch.from_numpy(volume).to(device), plan, network)[0]
    units = (out * spec.target_map.scale + spec.target_map.center) * inside
    array: NDArray[np.float32] = units.cpu().numpy()
    return array
