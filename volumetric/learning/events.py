"""TensorBoard events of a run, where they are enabled."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from volumetric.errors import InputError


class EventsError(InputError):
    """Events that are enabled and cannot be written."""


class Events:
    """Scalars over steps in a folder that `tensorboard --logdir` shows; does nothing where they are not enabled."""

    def __init__(self, folder: Path, *, enabled: bool, step: int) -> None:
        """Open the folder; events of an interrupted run after `step` are removed.

        Raises:
            EventsError: TensorBoard is not installed.
        """
        self._writer: Any = None
        if enabled:
            try:
                from torch.utils.tensorboard import SummaryWriter
            except ImportError as error:
                raise EventsError(
                    "tensorboard: true needs TensorBoard; install it with pip install 'volumetric[tensorboard]'"
                ) from error
            self._writer = SummaryWriter(folder, purge_step=step + 1)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self._writer is not None:
            self._writer.close()

    def scalars(self, values: Mapping[str, float], step: int) -> None:
        """Add values at a step."""
        if self._writer is not None:
            for name, value in values.items():
                self._writer.add_scalar(name, value, step)
