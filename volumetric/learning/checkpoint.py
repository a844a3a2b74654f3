"""Checkpoints: the state of a training, saved whole and restored exactly."""

from __future__ import annotations

import os
import pickle
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lightning_fabric import Fabric

from volumetric.errors import InputError, one_line
from volumetric.machine import is_out_of_memory
from volumetric.outputs import hash_file
from volumetric.records.run import HistoryRow
from volumetric.records.settings import SETTINGS_FILE

# A file can be cut short, no checkpoint at all, or that of another network: torch has an error for each.
_DAMAGE = (RuntimeError, OSError, EOFError, LookupError, TypeError, ValueError, AttributeError, pickle.UnpicklingError)
_SETTINGS = "settings_sha256"


class CheckpointError(InputError):
    """A checkpoint that cannot be used."""


@dataclass
class Progress:
    """Progress of a run.

    Attributes:
        step: optimizer steps done.
        history: one row a validation, the rows of `history.csv`.
        losses: of the steps since the last validation.
        balance: adversarial loss, discriminator's loss and its accuracy of the same steps.
        best_psnr_db: highest validation PSNR so far.
    """

    step: int = 0
    losses: list[float] = field(default_factory=list)
    balance: list[tuple[float, float, float]] = field(default_factory=list)
    history: list[HistoryRow] = field(default_factory=list)
    best_psnr_db: float = float("-inf")


def save_checkpoint(fabric: Fabric, path: Path, state: Mapping[str, Any], progress: Progress) -> None:
    """Write modules, optimizer state and progress under a temporary name, then rename; rank 0 does.

    Raises:
        CheckpointError: the disk is full, or the folder cannot be written.
    """
    if not fabric.is_global_zero:
        return
    temporary = path.with_name(f".{path.name}.tmp")
    plain = {**vars(progress), "history": [row.model_dump() for row in progress.history]}
    whole = {**state, "progress": plain, _SETTINGS: _settings_sha256(path)}
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        fabric.strategy.save_checkpoint(temporary, whole)  # fabric.save waits for all ranks
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        temporary.replace(path)
    except (OSError, RuntimeError) as error:
        if is_out_of_memory(error):
            raise
        raise CheckpointError(
            f"{path}: the checkpoint cannot be written ({one_line(error)}); make room on the disk and repeat the "
            "command, which goes on from the checkpoint before"
        ) from error
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


def load_checkpoint(fabric: Fabric, path: Path, state: Mapping[str, Any]) -> Progress:
    """Restore the modules and the optimizer in `state`, by name, from what `save_checkpoint` wrote.

    Raises:
        CheckpointError: a file that is missing, damaged, of another network or of another run.
    """
    try:
        if path.exists() and not path.is_file():
            raise OSError("a folder or a pipe stands where a file belongs")
        rest = fabric.load(path, dict(state), strict=True, weights_only=True)
        if rest.get(_SETTINGS, now := _settings_sha256(path)) != now:
            raise ValueError("another run wrote it")
        return _progress_of(rest["progress"])
    except _DAMAGE as error:
        if is_out_of_memory(error):
            raise
        reason = str(error).strip().partition("\n")[0] or type(error).__name__
        if isinstance(error, pickle.UnpicklingError):  # torch advises to read it without its safeguard
            reason = "it holds something else than weights and numbers, or is damaged"
        raise CheckpointError(
            f"{path}: not a whole checkpoint of this run ({reason}); put a copy of it back, or start over with --fresh"
        ) from error


def _progress_of(plain: Mapping[str, Any]) -> Progress:
    history = [HistoryRow.model_validate(row) for row in plain["history"]]
    losses = [float(loss) for loss in plain.get("losses", [])]
    balance = [(float(a), float(b), float(c)) for a, b, c in plain.get("balance", [])]
    return Progress(int(plain["step"]), losses, balance, history, float(plain["best_psnr_db"]))


def _settings_sha256(path: Path) -> str:
    """Hash of the settings of the run folder that a checkpoint lies in; empty where there are none."""
    settings = path.parent.parent / SETTINGS_FILE
    return hash_file(settings) if settings.is_file() else ""
