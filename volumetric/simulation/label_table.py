"""Tables from the labels of a segmentation to tissues: YAML, `tissue: [labels]`, and `extends: table` to add to one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydantic import TypeAdapter, ValidationError

from volumetric.config.document import load_yaml
from volumetric.errors import InputError
from volumetric.outputs import hash_json
from volumetric.simulation.tissues import NUMBER
from volumetric.subject import HIGHEST_LABEL

LESION = "white_matter_lesion"
_EXPECTED = "expected lines `tissue: [labels]`, as in `cortex: [3, 42]`"
_FOLDER = Path(__file__).parent / "tables"
_ENTRIES = TypeAdapter(dict[str, list[int] | str])


class LabelTableError(InputError):
    """A table, or a label map, that cannot be used with the other."""


@dataclass(frozen=True)
class LabelTable:
    """The tissue of each label.

    Attributes:
        name: of the table, for messages.
        tissue_of: label -> name of a tissue.
    """

    name: str
    tissue_of: Mapping[int, str]

    def classes(self, *, lesions: bool = True) -> dict[str, tuple[int, ...]]:
        """The labels of each tissue, in the order of `tissues.NAMES`; without `lesions` theirs are white matter's."""
        merged = {} if lesions else {LESION: "white_matter"}
        grouped: dict[str, list[int]] = {name: [] for name in NUMBER}
        for label, tissue in self.tissue_of.items():
            grouped[merged.get(tissue, tissue)].append(label)
        return {tissue: tuple(sorted(labels)) for tissue, labels in grouped.items() if labels}

    @property
    def sha256(self) -> str:
        """Hash of the content."""
        return hash_json(sorted(self.tissue_of.items()))

    def tissues(self, labels: NDArray[np.integer], *, name: str) -> NDArray[np.uint8]:
        """The tissue's number, a place in `tissues.NAMES`, in each voxel.

        Args:
            labels: any shape.
            name: of the label map, for messages.

        Raises:
            LabelTableError: labels that the table does not know.
        """
        present = np.flatnonzero(np.bincount(labels.ravel()))
        unknown = [int(label) for label in present if int(label) not in self.tissue_of]
        if unknown:
            raise LabelTableError(
                f"{name}: the table `{self.name}` has no tissue for {_listed(unknown)}; choose another --table, or "
                "give a YAML of your own with a line `tissue: [labels]` for each tissue"
            )
        numbers = np.zeros(int(present.max()) + 1, np.uint8)
        numbers[present] = [NUMBER[self.tissue_of[int(label)]] for label in present]
        result: NDArray[np.uint8] = numbers[labels]
        return result


def shipped_tables() -> list[str]:
    """Names of the tables that come with the package."""
    return sorted(path.stem for path in _FOLDER.glob("*.yaml"))


def read_label_table(name: str | Path) -> LabelTable:
    """Read a shipped table by its name, or a YAML file.

    Raises:
        LabelTableError: no such table or file, an unknown tissue, or a label of two tissues.
        ConfigError: a file that is not YAML.
    """
    path = _FOLDER / f"{name}.yaml" if str(name) in shipped_tables() else Path(name)
    if not path.is_file():
        raise LabelTableError(f"no table `{name}`; there are {', '.join(shipped_tables())}, or give a YAML file")
    try:
        entries = _ENTRIES.validate_python(load_yaml(path.read_text(encoding="utf-8"), str(path)))
    except (ValidationError, UnicodeDecodeError, OSError) as error:
        raise LabelTableError(f"{path}: {_EXPECTED}") from error
    base = entries.pop("extends", None)
    tissue_of = {} if base is None else _shipped_table(base, path)
    return LabelTable(str(name), tissue_of | _tissue_of(entries, path))


def _shipped_table(name: str | list[int], path: Path) -> dict[int, str]:
    """Tissues of the table that another extends."""
    if isinstance(name, list) or name not in shipped_tables():
        raise LabelTableError(f"{path}: extends: no table `{name}`; there are {', '.join(shipped_tables())}")
    return dict(read_label_table(name).tissue_of)


def _tissue_of(entries: Mapping[str, list[int] | str], path: Path) -> dict[int, str]:
    tissue_of: dict[int, str] = {}
    for tissue, labels in entries.items():
        if tissue not in NUMBER:
            raise LabelTableError(f"{path}: no tissue `{tissue}`; there are {', '.join(NUMBER)}")
        if isinstance(labels, str):
            raise LabelTableError(f"{path}: {_EXPECTED}")
        for label in labels:
            if not 0 <= label <= HIGHEST_LABEL:
                raise LabelTableError(f"{path}: label {label} of `{tissue}`: expected 0 to {HIGHEST_LABEL}")
            if tissue_of.setdefault(label, tissue) != tissue:
                raise LabelTableError(f"{path}: label {label} is `{tissue_of[label]}` and `{tissue}`; keep one")
    return tissue_of


def _listed(labels: list[int]) -> str:
    shown = ", ".join(map(str, labels[:8]))
    word = "label" if len(labels) == 1 else "labels"
    return f"{word} {shown}" + (f" and {len(labels) - 8} more" if len(labels) > 8 else "")
