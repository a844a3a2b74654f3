"""Where a training stands: saved whole, restored exactly."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from lightning_fabric import Fabric


@dataclass
class Progress:
    """How far a run has come.

    Attributes:
        step: optimizer steps done.
        history: one row a validation, the rows of `history.csv`.
        best_psnr_db: highest validation PSNR so far.
    """

    step: int = 0
    history: list[dict[str, float]] = field(default_factory=list)
    best_psnr_db: float = float("-inf")


def save_checkpoint(fabric: Fabric, path: Path, state: Mapping[str, Any], progress: Progress) -> None:
    """Write modules, optimizer state and progress under a temporary name, then rename; called on every rank."""
    temporary = path.with_name(f".{path.name}.tmp")
    fabric.save(temporary, {**state, "progress": asdict(progress)})
    if fabric.is_global_zero:
        temporary.replace(path)
    fabric.barrier()


def load_checkpoint(fabric: Fabric, path: Path, state: Mapping[str, Any]) -> Progress:
    """Restore the modules and the optimizer in `state`, by name, from what `save_checkpoint` wrote."""
    rest = fabric.load(path, dict(state), strict=False, weights_only=True)
    return Progress(**rest["progress"])
