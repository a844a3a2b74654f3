"""`dataset_description.json`, BIDS' description of a folder; keys that others add to it stay."""

from __future__ import annotations

from pathlib import Path
from typing import Self

from pydantic import BaseModel, ConfigDict, JsonValue, ValidationError

from volumetric.outputs import versions, write_json

DESCRIPTION = "dataset_description.json"
PROGRAM = "volumetric"
"""Name of this program among those that made a data set."""


class DatasetDescription(BaseModel):
    """The content of the file, of any program; fields as BIDS names them."""

    model_config = ConfigDict(frozen=True, extra="allow")

    Name: JsonValue = None
    BIDSVersion: JsonValue = None
    DatasetType: JsonValue = None
    GeneratedBy: JsonValue = None
    HowToAcknowledge: JsonValue = None

    @classmethod
    def read_if_usable(cls, folder: Path) -> Self | None:
        """Read that of a folder; None where it is absent or damaged."""
        path = folder / DESCRIPTION
        try:
            return cls.model_validate_json(path.read_bytes()) if path.is_file() else None
        except ValidationError:
            return None

    @classmethod
    def of_predictions(cls, target: str, notice: str, before: Self | None) -> Self:
        """Describe predictions of a target; what else was said before stays."""
        return cls(
            **((before and before.model_extra) or {}),
            Name=f"Synthetic {target} images",
            BIDSVersion="1.10.0",
            DatasetType="derivative",
            GeneratedBy=[{"Name": PROGRAM, "Version": versions()[PROGRAM]}],
            HowToAcknowledge=notice,
        )

    @property
    def is_own(self) -> bool:
        """True where this program is among the makers."""
        makers = self.GeneratedBy if isinstance(self.GeneratedBy, list) else []
        return PROGRAM in [maker.get("Name") for maker in makers if isinstance(maker, dict)]

    def write(self, folder: Path) -> None:
        """Write it into a folder, whole or not at all."""
        write_json(folder / DESCRIPTION, self.model_dump(mode="json"))
