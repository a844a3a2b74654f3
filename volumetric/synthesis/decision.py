"""Decision for each subject: its scans are prepared by the model's recipe first, or taken as they are, and why."""

from __future__ import annotations

from typing import NamedTuple

from volumetric.config.preparation import PreparationConfig
from volumetric.imaging.geometry import same_space
from volumetric.imaging.mask import find_extracted_brain
from volumetric.model.spec import ModelSpec
from volumetric.records.prediction import PredictionSidecar
from volumetric.records.preparation import SIDECAR
from volumetric.subject import RawSubject

FORCED, FORBIDDEN = "--prepare was given", "--as-is was given"


class Decision(NamedTuple):
    """Decision on one subject.

    Attributes:
        recipe: to prepare the scans by; None takes them as they are.
        reason: what decided, a clause.
    """

    recipe: PreparationConfig | None
    reason: str

    @property
    def sentence(self) -> str:
        """The decision and its reason, for the log."""
        return f"{'taken as it is' if self.recipe is None else 'prepared'}: {self.reason}"


def decide(raw: RawSubject, spec: ModelSpec, prepare: bool | None) -> Decision:
    """Decide by the option, the files beside the scan, and the scan itself.

    Args:
        raw: the scans of a subject, and its mask where one is given.
        spec: of the model.
        prepare: True prepares, False does not, None finds out.

    Raises:
        InputError: a scan that is 0 everywhere.
    """
    recipe, reference = spec.preparation, next(iter(raw.images.values()))
    if recipe is None:
        return Decision(None, "the model was trained on scans as they came")
    if prepare is not None:
        return Decision(recipe, FORCED) if prepare else Decision(None, FORBIDDEN)
    path = raw.row.path(next(iter(raw.images)))
    if (path.parent / SIDECAR).is_file():
        return Decision(None, "`volumetric prepare` wrote the scan")
    if not all(same_space(reference.space, image.space) for image in raw.images.values()):
        return Decision(recipe, "the scans lie on different grids")
    if "mask" in raw.labels:
        return Decision(None, "a mask is given")
    brain, reason = find_extracted_brain(reference, name=str(path))
    return Decision(recipe if brain is None else None, reason)


def agrees(sidecar: PredictionSidecar, prepare: bool | None) -> bool:
    """True if the same scans and the option would be decided upon as the sidecar records it."""
    if prepare is None:
        return sidecar.preparation_reason not in (FORCED, FORBIDDEN)
    return sidecar.prepared_here == prepare
