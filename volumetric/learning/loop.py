"""The training loop: steps, validations and checkpoints, and the export of the model."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import numpy as np
import torch
from lightning_fabric import Fabric
from torch import nn

from volumetric.batch.progress import progress as progress_bar
from volumetric.config.run import RunConfig
from volumetric.interrupts import Interruption, check, held
from volumetric.learning.adversarial import balance_columns
from volumetric.learning.anatomies import TrainingAnatomy
from volumetric.learning.calibration import calibrated
from volumetric.learning.checkpoint import Progress
from volumetric.learning.data import Batch, patch_batches
from volumetric.learning.events import Events
from volumetric.learning.familiarity import described
from volumetric.learning.mixture import counted_draws
from volumetric.learning.optimization import Optimization, learning_rate
from volumetric.learning.pairs import TrainingPair
from volumetric.learning.validation import prefer_whole_volume, validate
from volumetric.model.folder import save_model
from volumetric.model.networks import num_parameters
from volumetric.model.spec import ModelSpec
from volumetric.records.run import HISTORY_FILE, HistoryRow

log = logging.getLogger(__name__)

MIN_VALIDATION_SUBJECTS = 3
"""With fewer, the last weights are exported: the best of so few scores would be luck."""


@dataclass(frozen=True)
class TrainingCohort:
    """Pairs to learn from, pairs to validate on, label maps to simulate pairs from, and the model to be.

    Attributes:
        pretrained: network to start from.
    """

    train: list[TrainingPair]
    val: list[TrainingPair]
    anatomies: list[TrainingAnatomy]
    spec: ModelSpec
    pretrained: nn.Module | None = None


def run_training(fabric: Fabric, config: RunConfig, cohort: TrainingCohort, out: Path) -> None:
    """Train from the last checkpoint in `out`, or from the start, to the end, and export the model.

    Raises:
        CheckpointError: the checkpoint cannot be used.
        TrainingError: the loss is no longer finite, or the memory is too small.
    """
    optimization = Optimization(fabric, config, cohort.spec, pretrained=cohort.pretrained)
    last, best = out / "checkpoints" / "last.ckpt", out / "checkpoints" / "best.ckpt"
    progress = optimization.restore(last) if last.exists() else Progress()
    log.info(
        f"{config.network.name}: {num_parameters(optimization.averaged):,} parameters, {len(cohort.train)} training "
        f"and {len(cohort.val)} validation subjects, on {fabric.world_size} x {fabric.device}, "
        f"{torch.get_num_threads()} threads, "
        f"from step {progress.step} of {config.optim.num_steps}"
    )
    if remark := counted_draws(cohort.train, cohort.anatomies, config):
        log.info(remark)
    start, first_step = time.perf_counter(), progress.step
    if not patience_exhausted(config, progress.history):
        _run_steps(fabric, config, cohort, optimization, progress, out)
    seconds, num_steps = time.perf_counter() - start, progress.step - first_step
    if num_steps:
        log.info("%d steps in %.0f s, %.2f s a step", num_steps, seconds, seconds / num_steps)
    if len(cohort.val) >= MIN_VALIDATION_SUBJECTS:
        fabric.barrier()  # until rank 0 has written it
        optimization.restore(best)
        log.info("exporting the best weights, validation PSNR %.2f dB", progress.best_psnr_db)
    _export(fabric, optimization, cohort, out / "model")


def _run_steps(
    fabric: Fabric, config: RunConfig, cohort: TrainingCohort, optimization: Optimization, progress: Progress, out: Path
) -> None:
    """Steps up to the last, or until validation no longer improves; `progress` goes along."""
    num_steps, saved_s = config.optim.num_steps, time.monotonic()
    bar = progress_bar("training", num_steps, "steps", done=progress.step)
    with (
        Events(out / "tensorboard", enabled=config.tensorboard and fabric.is_global_zero, step=progress.step) as events,
        bar if fabric.is_global_zero else nullcontext(lambda remark: None) as advance,
        _saved_if_interrupted(fabric, optimization, progress, out),
    ):
        if validation_is_due(config, progress):  # it was interrupted
            events.scalars(_validate(fabric, config, cohort, optimization, progress, out).values(), progress.step)
        for batch in _batches(fabric, config, cohort, progress.step):
            if patience_exhausted(config, progress.history):
                break
            rate = learning_rate(config.optim, progress.step)
            optimization.step(batch, progress, rate)
            check()
            advance(f"loss {progress.losses[-1]:.3f}")
            events.scalars({"loss": progress.losses[-1], "lr": rate}, progress.step)
            if validation_is_due(config, progress):
                row = _validate(fabric, config, cohort, optimization, progress, out)
                events.scalars(row.values(), progress.step)
                saved_s = time.monotonic()
            elif time.monotonic() - saved_s > config.checkpoint_every_s:
                _save_last(optimization, progress, out)
                saved_s = time.monotonic()


@contextmanager
def _saved_if_interrupted(fabric: Fabric, optimization: Optimization, progress: Progress, out: Path) -> Iterator[None]:
    """Write a checkpoint where a signal ends the steps."""
    try:
        yield
    except Interruption:
        if progress.step and fabric.is_global_zero:  # the others may be at another step
            _save_last(optimization, progress, out)
            log.info("checkpoint of step %d written", progress.step)
        raise


def _save_last(optimization: Optimization, progress: Progress, out: Path) -> None:
    optimization.save(out / "checkpoints" / "last.ckpt", progress)


def validation_is_due(config: RunConfig, progress: Progress) -> bool:
    """True after every `validation.every_steps` steps and after the last, until the history has the row."""
    validated = progress.history[-1].step if progress.history else 0
    at_interval = progress.step % config.validation.every_steps == 0 or progress.step == config.optim.num_steps
    return at_interval and progress.step > validated


def _batches(fabric: Fabric, config: RunConfig, cohort: TrainingCohort, first_step: int) -> Iterable[Batch]:
    """The batches of this rank, on the device."""
    ranks = {"rank": fabric.global_rank, "world_size": fabric.world_size}
    loader = patch_batches(
        cohort.train, config, cohort.spec, first_step=first_step, anatomies=cohort.anatomies, **ranks
    )
    return cast(Iterable[Batch], fabric.setup_dataloaders(loader, use_distributed_sampler=False))


def _validate(
    fabric: Fabric, config: RunConfig, cohort: TrainingCohort, optimization: Optimization, progress: Progress, out: Path
) -> HistoryRow:
    """The row of the history with the scores of the averaged weights; writes checkpoints and `validation.png`."""
    rate = learning_rate(config.optim, progress.step - 1)
    row = HistoryRow(step=progress.step, lr=rate, train_loss=float(np.mean(progress.losses)))
    row = row.model_copy(update=balance_columns(progress.balance))
    if cohort.val:
        figure, title = out / "validation.png" if fabric.is_global_zero else None, f"step {row.step}"
        scores = validate(optimization.averaged, cohort.spec, cohort.val, fabric, figure=figure, title=title)
        row = row.model_copy(update={"val_psnr_db": scores.psnr_db, "val_ssim": scores.ssim})
    log.info("  ".join(f"{name} {value:.4g}" for name, value in row.values().items()))
    with held():
        _save(fabric, optimization, progress, row, out)
    return row


def _save(fabric: Fabric, optimization: Optimization, progress: Progress, row: HistoryRow, out: Path) -> None:
    """Add a validation to the progress; write the checkpoints and `history.csv`."""
    progress.history.append(row)
    progress.losses.clear()
    progress.balance.clear()
    if row.val_psnr_db is not None and row.val_psnr_db > progress.best_psnr_db:
        progress.best_psnr_db = row.val_psnr_db
        optimization.save(out / "checkpoints" / "best.ckpt", progress)
    _save_last(optimization, progress, out)
    if fabric.is_global_zero:
        HistoryRow.write_table(out / HISTORY_FILE, progress.history)


def patience_exhausted(config: RunConfig, history: Sequence[HistoryRow]) -> bool:
    """True if the last `validation.patience` validations gave no better PSNR."""
    scores = [row.val_psnr_db for row in history if row.val_psnr_db is not None]
    patience = config.validation.patience
    if patience is None or not scores:
        return False
    exhausted = len(scores) - 1 - int(np.argmax(scores)) >= patience
    if exhausted:
        log.info("stopping at step %d: %d validations without a better PSNR", history[-1].step, patience)
    return exhausted


def _export(fabric: Fabric, optimization: Optimization, cohort: TrainingCohort, folder: Path) -> None:
    """Write the model folder."""
    whole_volume = prefer_whole_volume(optimization.averaged, cohort.spec, cohort.val, fabric)
    if fabric.is_global_zero:
        spec = cohort.spec.model_copy(update={"whole_volume": whole_volume})
        spec = calibrated(optimization.averaged, spec, cohort.val, fabric.device)
        save_model(folder, optimization.averaged, described(optimization.averaged, spec, cohort.train, fabric.device))
    log.info("model written to %s", folder)
