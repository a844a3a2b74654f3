"""A loaded model: from a subject's source images to the missing contrast on the scan's own grid."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import nibabel as nib
import numpy as np
from numpy.typing import NDArray
from torch import nn

from volumetric.config.inference import InferenceOptions
from volumetric.config.run import Source
from volumetric.errors import InputError
from volumetric.imaging.geometry import Space
from volumetric.imaging.mask import BrainMask, brain_mask, is_extracted, region_mask
from volumetric.imaging.nifti import Image
from volumetric.model.device import pick_device
from volumetric.model.engines import choose_engine
from volumetric.model.features import pooled_features
from volumetric.model.flips import over_flips
from volumetric.model.forward import NetworkOutput, plan_for, run_windows
from volumetric.model.networks import channels_last
from volumetric.model.options import resolve_options
from volumetric.model.plausibility import check_prediction
from volumetric.model.recognition import scan_warnings
from volumetric.model.space import ModelSpace, model_space_of
from volumetric.model.spec import ModelSpec
from volumetric.model.training_range import OutOfDistribution, out_of_distribution
from volumetric.model.units import in_network_units, measure_sources
from volumetric.model.windows import WindowPlan
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
        out_of_distribution: in spacing and intensity.
    """

    header: nib.Nifti1Header | None
    mask: BrainMask
    region: NDArray[np.bool_]
    space: ModelSpace
    volume: NDArray[np.float32]
    plan: WindowPlan
    warnings: tuple[str, ...]
    out_of_distribution: OutOfDistribution


@dataclass(frozen=True, eq=False)
class Prediction:
    """A synthesized image and how it came about.

    Attributes:
        image: float32 on the source's grid, 1000 times reference units, 0 outside the model's region, never negative.
        mask: the brain mask and its rule.
        plan: the windows that were stitched.
        grid: the model's grid they lie on.
        warnings: what a reader should know before trusting it.
        out_of_distribution: how far the scan lies from the training scans.
        uncertainty: half-width of the 90 % interval, of the same kind as the image; None where the options want none.
    """

    image: Image
    mask: BrainMask
    plan: WindowPlan
    grid: Space
    warnings: tuple[str, ...]
    out_of_distribution: OutOfDistribution
    uncertainty: Image | None = None


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
            InputError: a device, an engine or an uncertainty that cannot be had.
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

    @property
    def member_sha256(self) -> tuple[str, ...]:
        """Hashes of the models that are averaged; none of a single model."""
        return ()

    def used_sources(self, given: Collection[str]) -> tuple[Source, ...]:
        """The sources that are read of a subject: all, or those that it has of a model that takes any.

        Args:
            given: the subject's contrasts.

        Raises:
            InputError: the model takes any of its sources, and none is given.
        """
        if not self.spec.optional_sources:
            return self.spec.sources
        allowed = self.settings.sources or self.spec.sources
        used = tuple(contrast for contrast in self.spec.sources if contrast in allowed and contrast in given)
        if not used:
            raise InputError(f"the model takes any of {', '.join(allowed)}, and none is given; give at least one")
        return used

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
        output = self.run(model_input)
        check_prediction(output.units, model_input.space.mask, self.spec.data_range)
        return self.postprocess(model_input, *output)

    def preprocess(
        self, sources: Image | Path | str | Mapping[str, Image | Path | str], mask: Image | None = None
    ) -> ModelInput:
        """All that comes before the network; arguments and errors as in `predict`."""
        by_contrast = dict(sources) if isinstance(sources, Mapping) else {self.spec.sources[0]: sources}
        used = self.used_sources(by_contrast)
        if missing := [contrast for contrast in used if contrast not in by_contrast]:
            raise InputError(f"the model needs {', '.join(used)}; {', '.join(missing)} not given")
        images: dict[str, Image] = {}
        for contrast in used:
            value = by_contrast[contrast]
            images[contrast] = value if isinstance(value, Image) else read_source(Path(value), contrast)
        check_one_grid(images, name="given")
        return self.preprocess_masked(images, brain_mask(images[used[0]], mask))

    def preprocess_masked(
        self, images: Mapping[str, Image], mask: BrainMask, *, names: Mapping[str, Path] | None = None
    ) -> ModelInput:
        """As `preprocess`, of images on one grid whose brain mask is known.

        Args:
            images: by contrast, every source of the model, or those that `used_sources` names.
            mask: on their grid.
            names: how to call the images in an error, usually their paths.

        Raises:
            InputError: an image that cannot be used.
        """
        used = self.used_sources(images)
        scan = images[used[0]]
        region = region_mask(self.spec.mask.kind, scan, mask.array)
        space = model_space_of(scan.space, mask.array, self.spec.spacing_mm, region)
        if self.spec.label_classes is None:
            called = [str((names or {}).get(contrast, f"the {contrast} image")) for contrast in used]
            own = space.to_model_space(*(images[contrast] for contrast in used), names=called)
        else:
            own = space.labels_to_model_space(scan)
        using = self.spec.model_copy(update={"sources": used})
        warnings = scan_warnings(using, images, own, space)
        sources = self._with_missing(used, own)
        measured = measure_sources(self.spec.source_normalization, self.spec.sources, sources, space.brain)
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
            out_of_distribution=out_of_distribution(using, scan, own, space.brain),
        )

    def _with_missing(self, used: Sequence[str], own: NDArray[np.float32]) -> NDArray[np.float32]:
        """Every source `(C, I, J, K)`, 0 where it is missing."""
        if len(used) == len(self.spec.sources):
            return own
        sources = np.zeros((len(self.spec.sources), *own.shape[1:]), np.float32)
        sources[[self.spec.sources.index(contrast) for contrast in used]] = own
        return sources

    def forward(self, model_input: ModelInput) -> NDArray[np.float32]:
        """The network itself: the target `(I, J, K)` in model space, reference units, 0 outside the mask."""
        return self.run(model_input).units

    def run(self, model_input: ModelInput) -> NetworkOutput:
        """As `forward`, with the half-width of the 90 % interval and the distance of the features."""
        mask, features = model_input.space.mask, None
        network = over_flips(self.engine, self.settings.flips)
        output = run_windows(network, self.spec, model_input.volume, mask, model_input.plan, self.device)
        if self.spec.features is not None:
            pooled = pooled_features(self.network, model_input.volume, self.spec.patch_size, self.device)
            features = round(self.spec.features.score(pooled), 3)
        return output._replace(features=features)

    def postprocess(
        self,
        model_input: ModelInput,
        units: NDArray[np.float32],
        half_width: NDArray[np.float32] | None = None,
        features: float | None = None,
    ) -> Prediction:
        """All that comes after the network: what `run` returned, back on the scan's own grid."""
        wanted, warnings = half_width if self.settings.uncertainty else None, model_input.warnings
        if self.spec.features is not None and features is not None and features > 1:
            warnings = (*warnings, self.spec.features.warning(features))
        return Prediction(
            self._on_scan(model_input, units),
            model_input.mask,
            model_input.plan,
            model_input.space.grid,
            warnings,
            model_input.out_of_distribution._replace(features=features),
            None if wanted is None else self._on_scan(model_input, wanted),
        )

    def _on_scan(self, model_input: ModelInput, units: NDArray[np.float32]) -> Image:
        space = model_input.space
        array = space.from_model_space(units * np.float32(self.spec.intensity_scale))
        return Image(np.maximum(array, 0, out=array), space.scan.affine, model_input.header)

    def _plan(self, mask: NDArray[np.bool_]) -> WindowPlan:
        settings = self.settings
        overlap = self.spec.overlap if settings.overlap is None else settings.overlap
        return plan_for(self.spec, mask, self.device, overlap=overlap, whole_volume=bool(settings.whole_volume))
