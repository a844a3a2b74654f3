"""The files of a training run: where it came from, its validations, and the learning rates that were tried."""

from __future__ import annotations

import platform
import re
import shlex
import subprocess
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Self

from volumetric.outputs import versions
from volumetric.records.record import Record
from volumetric.records.table import Cell, TableRow

PROVENANCE_FILE = "provenance.json"
HISTORY_FILE = "history.csv"


class Provenance(Record):
    """`provenance.json`: who made a run.

    Attributes:
        command: the command line, with the names of files but not of their folders.
        git_commit: of the checkout, with `-dirty` after it if files differ; None outside a checkout.
        versions: of Python, this package and the numerical libraries.
        platform: operating system and processor.
        seed: of the weights and the patches.
        device: where it was trained.
    """

    command: str
    git_commit: str | None
    versions: dict[str, str]
    platform: str
    seed: int
    device: str

    @classmethod
    def now(cls, *, seed: int, device: str) -> Self:
        """Of this process."""
        return cls(
            command=shlex.join(without_folders(word) for word in sys.argv),
            git_commit=_git_commit(),
            versions=versions(),
            platform=platform.platform(),
            seed=seed,
            device=device,
        )


class HistoryRow(TableRow):
    """A row of `history.csv`: one validation. Without validation subjects the scores have no columns.

    Attributes:
        step: optimizer steps done.
        lr: learning rate of the last of them.
        train_loss: mean loss of the steps since the validation before, without the adversarial one.
        adversarial_loss: mean adversarial loss of the network over the same steps, unweighted.
        discriminator_loss: mean loss of the discriminator over them.
        discriminator_accuracy: share of the discriminator's judgments that are right; 0.5 is guessing.
        val_psnr_db: mean in-mask PSNR over the validation subjects.
        val_ssim: mean in-mask SSIM over the validation subjects.
    """

    step: int
    lr: float
    train_loss: float
    adversarial_loss: float | None = None
    discriminator_loss: float | None = None
    discriminator_accuracy: float | None = None
    val_psnr_db: float | None = None
    val_ssim: float | None = None

    def values(self) -> dict[str, float]:
        """Values of the row by column."""
        return self.model_dump(exclude_none=True)

    def to_cells(self) -> dict[str, Cell]:
        """The cells of the columns that the row has."""
        return dict(self.values())

    @classmethod
    def write_table(cls, path: Path, rows: Iterable[Self], columns: Sequence[str] | None = None) -> None:
        """Write a table of the columns that any row has."""
        rows = list(rows)
        some = [name for name in cls.model_fields if any(getattr(row, name) is not None for row in rows)]
        super().write_table(path, rows, columns or some)


class LearningRateRow(TableRow):
    """A row of `lr_range.csv`: one step of the learning-rate range test.

    Attributes:
        lr: learning rate of the step.
        loss: before the step.
        smoothed: moving average of the losses up to it.
    """

    lr: float
    loss: float
    smoothed: float


def without_folders(word: str) -> str:
    """A word of a command line, such as `--out=/a/b` or `cache=b/c`, with the last name of each path alone."""
    return re.sub(r"[^=,\[\]]*[/\\]+(?=[^/\\=,\[\]])", "", word)


def _git_commit() -> str | None:
    """The commit of the checkout this package runs from, with `-dirty` after it if files differ."""
    root = Path(__file__).resolve().parents[2]
    if not (root / ".git").exists():
        return None
    git = ["git", "-C", str(root), "describe", "--always", "--abbrev=40", "--dirty", "--exclude=*"]
    try:
        return subprocess.run(git, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None
