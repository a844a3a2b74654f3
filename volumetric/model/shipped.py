"""The models that come with the package, named without a path."""

from __future__ import annotations

import logging
import os
from dataclasses import dataclass
from pathlib import Path

from volumetric.model.spec import SPEC, WEIGHTS, ModelError, ModelSpec, parse_spec
from volumetric.records.shipped_model import ShippedModel

log = logging.getLogger(__name__)

MODELS = Path(__file__).parents[1] / "models"
"""Folder of the package with a folder for each model."""
LISTING = "shipped.json"
CARD = "README.md"
CACHE_VARIABLE = "VOLUMETRIC_CACHE"


@dataclass(frozen=True)
class ShippedFolder:
    """A shipped model, all but its weights.

    Attributes:
        name: of the model and its folder.
        spec: content of `model.yaml`.
        about: content of `shipped.json`.
        num_bytes: size of the weights.
    """

    name: str
    spec: ModelSpec
    about: ShippedModel
    num_bytes: int


def shipped_names() -> list[str]:
    """The names of the shipped models, sorted."""
    return sorted(path.parent.name for path in MODELS.glob(f"*/{LISTING}"))


def read_shipped(name: str) -> ShippedFolder:
    """Read all but the weights, unchecked.

    Raises:
        ModelError: no shipped model has this name, or its `model.yaml` is damaged.
        RecordError: its `shipped.json` is damaged.
    """
    folder = _folder(name)
    return ShippedFolder(
        name=name,
        spec=parse_spec((folder / SPEC).read_bytes(), folder / SPEC),
        about=ShippedModel.read(folder / LISTING),
        num_bytes=(folder / WEIGHTS).stat().st_size,
    )


def read_card(name: str) -> str:
    """The model card, Markdown text.

    Raises:
        ModelError: no shipped model has this name.
    """
    return (_folder(name) / CARD).read_text(encoding="utf-8")


def find_model(model: Path | str) -> Path:
    """Model folder that a name or a path means.

    Args:
        model: a text that is a shipped name means the shipped model, also where a folder of that name lies in the
            working directory; `./name`, or a `Path`, means that folder: a model folder, or a run folder with one in it.

    Raises:
        ModelError: neither a shipped name nor a folder with a model.
    """
    folder = _model_in(Path(model))
    if isinstance(model, str) and model in shipped_names():
        if folder:
            log.warning("%s is the model of the package; the folder here is ./%s", model, model)
        return MODELS / model
    if folder is None:
        raise ModelError(
            f"{model}: no {SPEC} there or in its `model` folder, and no shipped model of this name "
            f"({_known_names()}); check the name, or name the run folder of a finished training"
        )
    return folder


def check_as_shipped(folder: Path, sha256: str) -> None:
    """Compare the hash of a model's files with the one it was shipped with.

    Raises:
        ModelError: they differ.
        RecordError: `shipped.json` is damaged.
    """
    expected = ShippedModel.read(folder / LISTING).sha256
    if sha256 != expected:
        raise ModelError(
            f"{folder}: {WEIGHTS} and {SPEC} are not as they were shipped (SHA-256 {sha256[:12]}, expected "
            f"{expected[:12]}); {ShippedModel.REMEDY}"
        )


def engine_cache() -> Path | None:
    """Folder for what engines make of shipped models, since the package itself may be read-only; None without a home.

    It is `engines` in the folder that the environment variable `VOLUMETRIC_CACHE` names, else in
    `$XDG_CACHE_HOME/volumetric`, else in `~/.cache/volumetric`.
    """
    if named := os.environ.get(CACHE_VARIABLE):
        return Path(named) / "engines"
    try:
        base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    except RuntimeError:
        return None
    return base / "volumetric" / "engines"


def _model_in(path: Path) -> Path | None:
    return next((folder for folder in (path, path / "model") if (folder / SPEC).is_file()), None)


def _folder(name: str) -> Path:
    if name not in shipped_names():
        raise ModelError(f"{name}: no shipped model of this name ({_known_names()}); check the name")
    return MODELS / name


def _known_names() -> str:
    names = shipped_names()
    return f"there are: {', '.join(names)}" if names else "the package holds none"
