"""Several models as one: the mean of what they predict, in reference units."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from operator import attrgetter
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from volumetric.config.inference import InferenceOptions
from volumetric.imaging.mask import BrainMask
from volumetric.imaging.nifti import Image
from volumetric.model.folder import load_model
from volumetric.model.forward import NetworkOutput
from volumetric.model.predict import Model, ModelInput
from volumetric.model.spec import ModelError, ModelSpec
from volumetric.model.uncertainty import LAPLACE_FACTOR, UncertaintySpec
from volumetric.outputs import hash_bytes

_DEFAULTS = InferenceOptions()
_SHARED = ("sources", "optional_sources", "target", "spacing_mm", "mask.kind", "preparation")


@dataclass(frozen=True, eq=False)
class EnsembleInput(ModelInput):
    """One subject as the input of each member; the rest is the first one's, with every member's warnings."""

    members: tuple[ModelInput, ...]


class Ensemble(Model):
    """Models of one task and space, whose mean is the prediction.

    Attributes:
        members: by hash, so that their order in a call changes nothing.
        spec: of the first, with the mean of the data ranges, and uncalibrated.
        sha256: of the members' hashes.
    """

    def __init__(self, members: Sequence[Model]) -> None:
        """Take loaded models.

        Raises:
            ModelError: two that are one, or that differ in what an average needs; the message names it.
        """
        self.members = sorted(members, key=lambda member: member.sha256)
        check_agree([member.spec for member in members], _SHARED)
        if len({member.sha256 for member in members}) < len(members):
            raise ModelError("two models of the ensemble are the same; name each once")
        first = self.members[0]
        data_range = float(np.mean([member.spec.data_range for member in self.members]))
        self.spec = uncalibrated(first.spec).model_copy(update={"data_range": data_range})
        self.sha256 = hash_bytes(*(member.sha256.encode() for member in self.members))
        self.device, self.network, self.settings, self.engine = (
            first.device,
            first.network,
            first.settings,
            first.engine,
        )

    @property
    def member_sha256(self) -> tuple[str, ...]:
        """Of each member's folder."""
        return tuple(member.sha256 for member in self.members)

    def preprocess_masked(
        self, images: Mapping[str, Image], mask: BrainMask, *, names: Mapping[str, Path] | None = None
    ) -> EnsembleInput:
        """As of one model, for each member in its own network units."""
        inputs = [member.preprocess_masked(images, mask, names=names) for member in self.members]
        warnings = tuple(dict.fromkeys(warning for one in inputs for warning in one.warnings))
        return EnsembleInput(**{**vars(inputs[0]), "warnings": warnings}, members=tuple(inputs))

    def run(self, model_input: ModelInput) -> NetworkOutput:
        """The mean of the members' targets, their mixture's half-width where all have one, the farthest features."""
        assert isinstance(model_input, EnsembleInput)
        outputs = [member.run(one) for member, one in zip(self.members, model_input.members, strict=True)]
        widths = [output.half_width for output in outputs if output.half_width is not None]
        targets = [output.units for output in outputs]
        features = max((output.features for output in outputs if output.features is not None), default=None)
        half_width = mixture_half_width(targets, widths) if len(widths) == len(outputs) else None
        return NetworkOutput(_mean(targets).astype(np.float32), half_width, features)


def mixture_half_width(
    targets: Sequence[NDArray[np.float32]], half_widths: Sequence[NDArray[np.float32]]
) -> NDArray[np.float32]:
    """The half-width of the Laplace distribution that has the variance of the members' mixture.

    A width b has the variance 2 b^2; the mixture's is the mean of the members' and the variance of their targets
    (Lakshminarayanan et al. 2017, section 2.4).

    Args:
        targets: of each member, of one shape.
        half_widths: of each member's 90 % interval, of the same shape and unit.
    """
    own = 2 * _mean([(width / LAPLACE_FACTOR) ** 2 for width in half_widths])
    spread = np.var(np.stack(targets), axis=0, dtype=np.float64)
    joint: NDArray[np.float32] = (LAPLACE_FACTOR * np.sqrt((own + spread) / 2)).astype(np.float32)
    return joint


def _mean(volumes: Sequence[NDArray[np.float32]]) -> NDArray[np.float64]:
    mean: NDArray[np.float64] = np.stack(volumes).mean(axis=0, dtype=np.float64)
    return mean


def load_models(models: Sequence[Path | str], *, options: InferenceOptions = _DEFAULTS) -> Model:
    """Read a model, or several as an `Ensemble`; arguments and errors as `load_model` and `Ensemble`."""
    loaded = [load_model(model, options=options) for model in models]
    return loaded[0] if len(loaded) == 1 else Ensemble(loaded)


def uncalibrated(spec: ModelSpec) -> ModelSpec:
    """The specification without the factor of uncertainty, which was measured on one model's predictions."""
    return spec if spec.uncertainty is None else spec.model_copy(update={"uncertainty": UncertaintySpec()})


def check_agree(specs: Sequence[ModelSpec], fields: Sequence[str]) -> None:
    """Check that models agree in some fields of their specification.

    Raises:
        ModelError: naming the first that differs, with both values.
    """
    first, *others = specs
    for name in fields:
        value = attrgetter(name)
        for other in others:
            if value(other) != value(first):
                raise ModelError(
                    f"the models differ in {name} ({_shown(value(first))} and {_shown(value(other))}); name models of "
                    "one task"
                )


def _shown(value: object) -> str:
    text = str(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
