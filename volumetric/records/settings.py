"""`settings.json`: the settings that an output folder was begun with; a repeated command goes on with the same."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Self

from pydantic import Field

from volumetric.config.adversarial import AdversarialConfig
from volumetric.config.choices import MaskKind
from volumetric.config.labels import LabelsConfig
from volumetric.config.preparation import PreparationConfig, QualityConfig
from volumetric.config.run import RunConfig
from volumetric.config.section import Section
from volumetric.config.uncertainty import UncertaintyConfig
from volumetric.outputs import OutputError
from volumetric.records.record import Record, keys_of

SETTINGS_FILE = "settings.json"
_NUM_SHOWN = 8
_ELSEWHERE = "choose another --out, or delete them yourself"


class Settings(Record):
    """Settings of an output folder; the subclasses name them. A field with `exclude=True` may change in between."""

    REMEDY: ClassVar[str] = "choose another --out, or start over with --fresh"

    def began(self, folder: Path) -> bool:
        """True if the folder was begun with these settings, False if it was not begun at all.

        Raises:
            OutputError: it was begun with others; the message names the differences.
            RecordError: its `settings.json` cannot be read.
        """
        path = folder / SETTINGS_FILE
        if not path.exists():
            return False
        before = _flat(self.read(path).model_dump(mode="json", exclude_unset=True))
        now = _flat(self.model_dump(mode="json"))
        differences = [
            f"{key} was {before.get(key, 'absent')}, is {now.get(key, 'absent')}"
            for key in sorted(before.keys() | now.keys())
            if before.get(key) != now.get(key) and self.uses(key)
        ]
        if differences:
            more = len(differences) - _NUM_SHOWN
            differences = differences[:_NUM_SHOWN] + [f"and {more} more"] * (more > 0)
            raise OutputError(f"{folder} was begun with other settings ({'; '.join(differences)}); {self.REMEDY}")
        return True

    def check_own(self, folder: Path) -> None:
        """Check that a folder that `--fresh` starts over was not begun by another command.

        Raises:
            OutputError: its `settings.json` is of another kind. One that cannot be read is no reason.
        """
        keys, fields = keys_of(folder / SETTINGS_FILE), type(self).model_fields
        required = {name for name, field in fields.items() if field.is_required()}
        if keys is not None and not required <= keys <= fields.keys():
            raise OutputError(f"{folder} was begun by another command, whose files --fresh would delete; {_ELSEWHERE}")

    def uses(self, key: str) -> bool:
        """False for a setting that changes nothing beside the others."""
        return True

    def begin(self, folder: Path) -> None:
        """Write the settings into the folder."""
        self.write(folder / SETTINGS_FILE)


class RunSettings(RunConfig, Settings):
    """Settings of a training run; the excluded ones change nothing about the weights."""

    training_manifest_sha256: str
    pretrained: str | None = Field(None, exclude_if=lambda value: value is None)
    max_patches_per_pass: int | None = Field(None, exclude=True)
    checkpoint_every_s: float = Field(300, exclude=True)
    labels: LabelsConfig = Field(LabelsConfig(), exclude_if=lambda section: section == LabelsConfig())
    uncertainty: UncertaintyConfig = Field(UncertaintyConfig(), exclude_if=lambda section: not section.weight)
    adversarial: AdversarialConfig = Field(AdversarialConfig(), exclude_if=lambda section: not section.weight)
    num_workers: int = Field(0, exclude=True)
    cache: str | None = Field(None, exclude=True)
    tensorboard: bool = Field(False, exclude=True)

    @classmethod
    def of(cls, config: RunConfig, training_manifest_sha256: str, **more: object) -> Self:
        """Those of a configuration and a manifest, and the fields that a subclass adds."""
        return cls.model_validate({**dict(config), "training_manifest_sha256": training_manifest_sha256, **more})

    def uses(self, key: str) -> bool:
        """False for the ranges of simulated pairs where none is drawn."""
        return self.mixture.simulates or not key.startswith("simulation.")


class CrossvalSettings(RunSettings):
    """Settings of a cross-validation; those of a training, and of its folds and evaluations.

    Attributes:
        folds: subject -> number of the fold that holds it out.
        next_fold_validates: instead of being trained on.
        segmentation: tissues are scored.
    """

    folds: Mapping[str, int]
    next_fold_validates: bool
    segmentation: bool


class PreparationSettings(PreparationConfig, Settings):
    """Settings of prepared scans; the thresholds of quality are applied anew each time."""

    quality: QualityConfig = Field(QualityConfig(), exclude=True)


class LabelMapSettings(Section):
    """The label maps of a simulated cohort.

    Attributes:
        table: name of the table from labels to tissues.
        table_sha256: of its content.
        region: `brain` or `head`.
        files: SHA-256 of each label map by file name, used or not: their number decides which subject has which.
    """

    table: str
    table_sha256: str
    region: MaskKind
    files: Mapping[str, str]


class PhantomSettings(Settings):
    """Settings of a simulated cohort; the label maps are absent from the file of one made without."""

    seed: int
    spacing_mm: float
    recipe: int
    label_maps: LabelMapSettings | None = Field(None, exclude_if=lambda value: value is None)


class LesionSettings(Settings):
    """Settings of label maps with added lesions; more copies change nothing about those that are there.

    Attributes:
        seed: of all draws.
        random: rough ellipsoids in place of the lesions of other maps.
        recipe: of the draws.
        table: name of the table from labels to tissues.
        table_sha256: of its content.
        maps: SHA-256 of each map by subject and session.
        donors: the same of the maps that the lesions come from.
    """

    seed: int
    random: bool
    recipe: int
    table: str
    table_sha256: str
    maps: Mapping[str, str]
    donors: Mapping[str, str]


def _flat(content: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested mappings as one level: `{"a": {"b": 1}}` -> `{"a.b": 1}`."""
    flat: dict[str, Any] = {}
    for key, value in content.items():
        if isinstance(value, Mapping):
            flat |= _flat(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value
    return flat
