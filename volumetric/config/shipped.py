"""The configurations that come with the package, named without a path."""

from __future__ import annotations

from pathlib import Path

_FOLDER = Path(__file__).parents[1] / "configs"


def shipped() -> dict[str, str]:
    """The names of the shipped configurations, each with the purpose that its first line states."""
    files = sorted(_FOLDER.glob("*.yaml"))
    return {file.stem: file.read_text().partition("\n")[0].removeprefix("# Purpose: ") for file in files}


def configuration_file(name: str | Path, folder: Path = Path()) -> Path:
    """The file of a shipped configuration, by its name, or of a path, which is relative to `folder`."""
    return _FOLDER / f"{name}.yaml" if str(name) in shipped() else folder / name
