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

from volumetric.config.network import width_at_full_resolution
from volumetric.errors import InputError
from volumetric.imaging.geometry import Space, spacing_mm
from volumetric.imaging.mask import BrainMask, brain_mask
from volumetric.imaging.nifti import Image, read_image
from volumetric.model.engines import PRECISIONS, EngineError, Run, choose_engine, in_bfloat16
from volumetric.model.networks import channels_last
from volumetric.model.space import ModelSpace, model_space_of
from volumetric.model.spec import ModelSpec
from volumetric.model.units import in_network_units
from volumetric.model.windows import WindowPlan, most_voxels, plan_large, plan_whole, plan_windows, stitch
from volumetric.subject import check_one_grid

_ENOUGH_VOXELS = 100_000  # for quartiles that are compared roughly


class DeviceError(InputError):
    """A device that is asked for and not there."""


@dataclass(frozen=True, eq=False)
class ModelInput:
    """One subject as the network sees it.

    Attributes:
        header: of the first source's file.
        mask: the brain mask and its rule.
        view: model space, and the way back.
        volume: `(C, I, J, K)` in network units, 0 outside the mask.
        plan: windows to run.
        warnings: what a reader should know before trusting what comes of it.
    """

    header: nib.Nifti1Header | None
    mask: BrainMask
    view: ModelSpace
    volume: NDArray[np.float32]
    plan: WindowPlan
    warnings: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class Prediction:
    """A synthesized image and how it came about.

    Attributes:
        image: float32 on the source's grid, 1000 times reference units, 0 outside the mask, never negative.
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
        asked: the settings that shape a prediction, as they were asked for or come from the model.
        engine: what runs the network.
        precision: what it computes in, `float32` or `bfloat16`.
    """

    def __init__(
        self,
        spec: ModelSpec,
        network: nn.Module,
        *,
        sha256: str = "",
        device: str = "auto",
        engine: str = "auto",
        precision: str = "auto",
        cache: Path | None = None,
        overlap: float | None = None,
        whole_volume: bool | None = None,
    ) -> None:
        """Take a network onto a device.

        Args:
            spec: what the model is.
            network: with its weights.
            sha256: of the model folder.
            device: `auto`, `cpu` or `cuda`.
            engine: what runs the network, one of `engines.ENGINES`.
            precision: what it computes in, one of `engines.PRECISIONS`.
            cache: folder that keeps what the engine makes of the network.
            overlap: fraction of a window that neighbors share; None takes the model's own.
            whole_volume: one window over the whole head instead, where the memory allows; None asks the model, but
                takes windows where an overlap is given.

        Raises:
            InputError: a device, an engine or a precision that cannot be had, or an overlap outside of [0, 0.9].
        """
        self.spec = spec
        self.sha256 = sha256
        self.device = pick_device(device)
        self.network = channels_last(network).to(self.device).eval()
        self.overlap = spec.overlap if overlap is None else overlap
        if not 0 <= self.overlap <= 0.9:
            raise DeviceError(f"--overlap {overlap}: expected a fraction from 0 to 0.9")
        if whole_volume and overlap is not None:
            raise DeviceError("--overlap is of windows: give --windows with it, or --whole-volume without it")
        self.whole_volume = spec.whole_volume and overlap is None if whole_volume is None else whole_volume
        on_cpu = self.device.type == "cpu"
        if precision not in PRECISIONS:
            raise EngineError(f"--precision {precision}: expected {', '.join(PRECISIONS)}")
        self.precision = ("float32" if on_cpu else "bfloat16") if precision == "auto" else precision
        self.settings = {
            "engine": engine,
            "precision": self.precision,
            "overlap": None if self.whole_volume else self.overlap,
            "whole_volume": self.whole_volume,
        }
        self.engine = choose_engine(
            engine,
            self.network,
            len(spec.sources),
            stride=spec.network.stride,
            on_cpu=on_cpu,
            cache=cache,
            key=sha256,
            bfloat16=self.precision == "bfloat16",
        )

    def predict(
        self, sources: Image | Path | str | Mapping[str, Image | Path | str], mask: Image | None = None
    ) -> Prediction:
        """Synthesize the target of one subject.

        Args:
            sources: the source scan or its file; for several contrasts a mapping such as `{"t1w": ..., "pdw": ...}`.
            mask: the brain on the same grid; without it the rule of `volumetric.imaging.mask` applies.

        Raises:
            InputError: a contrast the model needs is not given, or an image that cannot be used.
        """
        seen = self.preprocess(sources, mask)
        return self.postprocess(seen, self.forward(seen))

    def preprocess(
        self, sources: Image | Path | str | Mapping[str, Image | Path | str], mask: Image | None = None
    ) -> ModelInput:
        """All that comes before the network; arguments and errors as in `predict`."""
        given = dict(sources) if isinstance(sources, Mapping) else {self.spec.sources[0]: sources}
        if missing := [contrast for contrast in self.spec.sources if contrast not in given]:
            raise InputError(f"the model needs {', '.join(self.spec.sources)}; {', '.join(missing)} not given")
        images: dict[str, Image] = {}
        for contrast in self.spec.sources:
            value = given[contrast]
            images[contrast] = value if isinstance(value, Image) else read_image(Path(value))
        check_one_grid(images, name="given")
        scan = images[self.spec.sources[0]]
        brain = brain_mask(scan, mask)
        view = model_space_of(scan.space, brain.array, self.spec.spacing_mm)
        sources_seen = view.to_model_space(*images.values())
        plan = plan_for(self.spec, view.mask, self.device, overlap=self.overlap, whole_volume=self.whole_volume)
        warnings = self._warnings(scan, sources_seen, view.mask)
        return ModelInput(
            scan.header, brain, view, in_network_units(self.spec, sources_seen, view.mask), plan, warnings
        )

    def forward(self, seen: ModelInput) -> NDArray[np.float32]:
        """The network itself: the target `(I, J, K)` in model space, reference units, 0 outside the mask."""
        return run_windows(self.engine, self.spec, seen.volume, seen.view.mask, seen.plan, self.device)

    def postprocess(self, seen: ModelInput, units: NDArray[np.float32]) -> Prediction:
        """All that comes after the network: `units` from `run`, back on the scan's own grid."""
        array = seen.view.from_model_space(units * np.float32(self.spec.intensity_scale))
        image = Image(np.maximum(array, 0, out=array), seen.view.scan.affine, seen.header)
        return Prediction(image, seen.mask, seen.plan, seen.view.grid, seen.warnings)

    def _warnings(self, scan: Image, sources: NDArray[np.float32], mask: NDArray[np.bool_]) -> tuple[str, ...]:
        warnings = []
        low, high = self.spec.training.spacing_mm_low, self.spec.training.spacing_mm_high
        upright = np.sort(spacing_mm(scan.affine))
        if (upright < 0.67 * np.sort(low)).any() or (upright > 1.5 * np.sort(high)).any():
            sides = " x ".join(f"{s:.2f}" for s in spacing_mm(scan.affine))
            warnings.append(f"voxels of {sides} mm lie far outside those of the training scans ({low} to {high} mm)")
        for contrast, source in zip(self.spec.sources, sources, strict=True):
            seen = self.spec.training.source_quantiles[contrast]
            inside = source[mask]
            lower, upper = np.quantile(inside[:: max(1, inside.size // _ENOUGH_VOXELS)], [0.25, 0.75])
            spread = seen[3] - seen[1]
            if abs(lower - seen[1]) > spread or abs(upper - seen[3]) > spread:
                warnings.append(
                    f"the {contrast} intensities (quartiles {lower:.2f}, {upper:.2f} of the median) are unlike "
                    f"those of the training scans ({seen[1]:.2f}, {seen[3]:.2f})"
                )
        return tuple(warnings)


def plan_for(
    spec: ModelSpec, mask: NDArray[np.bool_], device: torch.device, *, overlap: float, whole_volume: bool
) -> WindowPlan:
    """One window over a mask `(I, J, K)`, or the largest that the memory holds, if that is wanted; else the patch's."""
    plan = None
    if whole_volume:
        limit = most_voxels(width_at_full_resolution(spec.network), device)
        plan = plan_whole((mask.shape[0], mask.shape[1], mask.shape[2]), spec.network.stride)
        if math.prod(plan.size) > limit:
            plan = plan_large(mask, spec.network.stride, limit)
    return plan or plan_windows(mask, spec.patch_size, overlap)


def synthesize(
    network: Run,
    spec: ModelSpec,
    sources: NDArray[np.float32],
    mask: NDArray[np.bool_],
    plan: WindowPlan,
    device: torch.device,
) -> NDArray[np.float32]:
    """Run a network over the windows of one subject in model space, in bfloat16 on a GPU.

    Args:
        network: in evaluation mode, on `device`.
        spec: for the way into network units and back.
        sources: `(C, I, J, K)` in reference units.
        mask: `(I, J, K)`.
        plan: windows that cover the mask.
        device: where to compute.

    Returns:
        The target in reference units, float32 `(I, J, K)`, 0 outside the mask.

    Raises:
        IntensityError: a source without what the model's normalization needs.
    """
    run = in_bfloat16(network) if device.type == "cuda" else network
    return run_windows(run, spec, in_network_units(spec, sources, mask), mask, plan, device)


def run_windows(
    network: Run,
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


def pick_device(device: str) -> torch.device:
    """The device a name means; `auto` takes a GPU where there is one.

    Raises:
        DeviceError: `cuda` is asked for and there is none.
    """
    if device == "cuda" and not torch.cuda.is_available():
        raise DeviceError("--device cuda: this machine shows no CUDA device; use --device cpu or auto")
    chosen = ("cuda" if torch.cuda.is_available() else "cpu") if device == "auto" else device
    return torch.device(chosen)
