"""Where a training stands: saved whole, restored exactly."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from lightning_fabric import Fabric
from torch import nn
from torch.optim import Optimizer


@dataclass
class Progress:
    """How far a run has come.

    Attributes:
        step: optimiser steps done.
        history: one row a validation, the rows of `history.csv`.
        best_psnr_db: highest validation PSNR so far.
    """

    step: int = 0
    history: list[dict[str, float]] = field(default_factory=list)
    best_psnr_db: float = float("-inf")


def save_checkpoint(fabric: Fabric, path: Path, network: nn.Module, optimizer: Optimizer, progress: Progress) -> None:
    """Write weights, optimiser state and progress under a temporary name, then rename; called on every rank."""
    temporary = path.with_name(f".{path.name}.tmp")
    state: dict[str, Any] = {"network": network, "optimizer": optimizer, "progress": asdict(progress)}
    fabric.save(temporary, state)
    if fabric.is_global_zero:
        temporary.replace(path)
    fabric.barrier()


def load_checkpoint(fabric: Fabric, path: Path, network: nn.Module, optimizer: Optimizer | None = None) -> Progress:
    """Restore what `save_checkpoint` wrote; without an optimiser, the weights alone."""
    state: dict[str, Any] = {"network": network}
    if optimizer is not None:
        state["optimizer"] = optimizer
    rest = fabric.load(path, state, strict=False, weights_only=True)
    return Progress(**rest["progress"])
