"""Training: from manifests and a configuration to a run folder with a model in it."""

from __future__ import annotations

import logging
import math
import os
import shutil
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning_fabric import Fabric

from volumetric.batch.subjects import progress as progress_bar
from volumetric.config.resolve import as_yaml, resolve
from volumetric.config.run import RunConfig
from volumetric.learning.checkpoint import Progress
from volumetric.learning.data import patch_batches
from volumetric.learning.events import Events
from volumetric.learning.lr_range import lr_range_test
from volumetric.learning.optimization import Optimization, TrainingError, learning_rate
from volumetric.learning.pairs import Pair, pool, read_pairs, source_maps
from volumetric.learning.plan import auto_config
from volumetric.learning.prepared import recipe_of, warn_of_quality
from volumetric.learning.validation import prefer_whole_volume, validate
from volumetric.manifest import Manifest, read_manifest
from volumetric.model.folder import SPEC, save_model
from volumetric.model.networks import num_parameters
from volumetric.model.predict import pick_device
from volumetric.model.spec import ModelSpec
from volumetric.outputs import check_same_settings, locked, provenance, versions, write_csv, write_json, write_text

log = logging.getLogger(__name__)

MIN_VALIDATION_SUBJECTS = 3
"""With fewer, the last weights are exported: the best of so few scores would be luck."""

FREE_TO_CHANGE = {"num_workers", "cache", "tensorboard"}
"""Settings that change nothing about the weights, so that a run may go on with others."""


def train(manifests: Sequence[Path], config: RunConfig, out: Path, *, fresh: bool = False) -> Path:
    """Train a model, or go on where an interrupted training stopped.

    Args:
        manifests: CSV files; rows with split `train` are learned from, those with `val` are scored.
        config: everything else.
        out: the run folder.
        fresh: forget what the run folder holds.

    Returns:
        The model folder, `out/model`.

    Raises:
        ManifestError: no training rows, or pairs that cannot be used (all are named).
        OutputError: `out` holds a run with another configuration or other subjects.
        TrainingError: the loss is no longer finite, or the memory is too small.
    """
    manifest = _checked(manifests, config)
    settings = config.model_dump(mode="json", exclude=FREE_TO_CHANGE) | {"training_manifest_sha256": manifest.digest()}
    fabric = _fabric(config)
    with locked(out) if fabric.is_global_zero else _nothing():
        if fresh and fabric.is_global_zero:
            _delete_outputs(out)
        fabric.barrier()
        resumed = check_same_settings(out / "settings.json", settings, what="a run")
        if (out / "model" / SPEC).is_file():
            log.info("%s is trained already; --fresh starts over", out)
            return out / "model"
        cohort = _read(manifest, config, fabric, out)
        if fabric.is_global_zero and not resumed:
            write_text(out / "config.yaml", as_yaml(config))
            write_json(out / "settings.json", settings)
            write_json(out / "provenance.json", provenance(seed=config.seed, device=str(fabric.device)))
        with _log_file(out / "log.txt"):
            _optimize(fabric, config, cohort, out)
    return out / "model"


def plan(manifests: Sequence[Path], overrides: Sequence[str], out: Path, *, fresh: bool = False) -> RunConfig:
    """The configuration of `--config auto`: planned from the cohort and the machine, or as planned before.

    Args:
        manifests: as in `train`.
        overrides: `section.key=value`, over what is planned.
        out: run folder; gets `auto.yaml`, with the reason beside each choice. One that is there is taken as it is.
        fresh: plan anew.
    """
    given = resolve(None, overrides)
    if fresh:
        (out / "auto.yaml").unlink(missing_ok=True)
    path = auto_config(_checked(manifests, given), given.task.sources[0], pick_device(given.device), out)
    return resolve(path, overrides)


def find_lr(manifests: Sequence[Path], config: RunConfig, out: Path) -> float:
    """Try learning rates on the training people, and suggest one.

    Args:
        manifests: as in `train`.
        config: as in `train`; its learning rate and number of steps are not used.
        out: run folder; gets `lr_range.csv` and `lr_range.png`.

    Returns:
        The suggested peak rate.
    """
    manifest = _checked(manifests, config)
    fabric = _fabric(config)
    with locked(out):
        cohort = _read(manifest, config, fabric, out)
        return lr_range_test(fabric, config, cohort.spec, cohort.train, out)


@dataclass(frozen=True)
class _Cohort:
    train: list[Pair]
    val: list[Pair]
    spec: ModelSpec


def _read(manifest: Manifest, config: RunConfig, fabric: Fabric, out: Path) -> _Cohort:
    cache = Path(config.cache) if config.cache else out / "cache"
    with fabric.rank_zero_first():
        train_pairs = read_pairs(manifest.split("train"), config, cache, title="reading train")
        val_pairs = read_pairs(manifest.split("val"), config, cache, title="reading val")
    statistics = pool(train_pairs, config)
    spec = ModelSpec(
        sources=config.task.sources,
        target=config.task.target,
        spacing_mm=config.space.spacing_mm,
        source_normalization=config.intensity.source_normalization,
        source_maps=source_maps(train_pairs, config),
        target_map=statistics.target_map(),
        data_range=statistics.target.data_range(),
        network=config.network,
        patch_size=config.patch.size,
        overlap=config.inference.overlap,
        preparation=recipe_of(manifest),
        training=statistics.describe(train_pairs),
        training_manifest_sha256=manifest.digest(),
        versions=versions(),
    )
    return _Cohort(train_pairs, val_pairs, spec)


def _optimize(fabric: Fabric, config: RunConfig, cohort: _Cohort, out: Path) -> None:
    optimization = Optimization(fabric, config, cohort.spec)
    last, best = out / "checkpoints" / "last.ckpt", out / "checkpoints" / "best.ckpt"
    at = optimization.restore(last) if last.is_file() else Progress()
    num_steps = config.optim.num_steps
    log.info(
        "%s: %s parameters, %d training and %d validation subjects, on %s, %d threads, from step %d of %d",
        config.network.name, f"{num_parameters(optimization.averaged):,}", len(cohort.train), len(cohort.val),
        fabric.device, torch.get_num_threads(), at.step, num_steps,
    )  # fmt: skip
    batches: Any = fabric.setup_dataloaders(
        patch_batches(
            cohort.train,
            config,
            cohort.spec,
            first_step=at.step,
            rank=fabric.global_rank,
            world_size=fabric.world_size,
        ),
        use_distributed_sampler=False,
    )
    losses: list[float] = []
    start, first_step = time.perf_counter(), at.step
    with (
        Events(out / "tensorboard", wanted=config.tensorboard and fabric.is_global_zero, step=at.step) as events,
        progress_bar("training", num_steps, "steps", done=at.step) as advance,
    ):
        for batch in () if _patience_exhausted(config, at) else batches:
            rate = learning_rate(config.optim, at.step)
            losses.append(optimization.step(batch, at.step, rate))
            at.step += 1
            advance(f"loss {losses[-1]:.3f}")
            events.scalars({"loss": losses[-1], "lr": rate}, at.step)
            if at.step % config.validation.every_steps == 0 or at.step == num_steps:
                row = {"step": float(at.step), "lr": rate, "train_loss": float(np.mean(losses))}
                picture = out / "validation.png" if fabric.is_global_zero else None
                row |= validate(
                    optimization.averaged, cohort.spec, cohort.val, fabric.device,
                    picture=picture, title=f"step {at.step}",
                )  # fmt: skip
                log.info("  ".join(f"{key} {value:.4g}" for key, value in row.items()))
                events.scalars(row, at.step)
                at.history.append(row)
                losses.clear()
                better = row.get("val_psnr_db", -math.inf) > at.best_psnr_db
                at.best_psnr_db = max(at.best_psnr_db, row.get("val_psnr_db", -math.inf))
                if better:
                    optimization.save(best, at)
                optimization.save(last, at)
                if fabric.is_global_zero:
                    write_csv(out / "history.csv", at.history)
                if _patience_exhausted(config, at):
                    break
    seconds = time.perf_counter() - start
    if at.step > first_step:
        log.info("%d steps in %.0f s, %.2f s a step", at.step - first_step, seconds, seconds / (at.step - first_step))
    if len(cohort.val) >= MIN_VALIDATION_SUBJECTS:
        optimization.restore(best)
        log.info("exporting the best weights, validation PSNR %.2f dB", at.best_psnr_db)
    if fabric.is_global_zero:
        whole_volume = prefer_whole_volume(optimization.averaged, cohort.spec, cohort.val, fabric.device)
        save_model(out / "model", optimization.averaged, cohort.spec.model_copy(update={"whole_volume": whole_volume}))
        log.info("model written to %s", out / "model")


def _patience_exhausted(config: RunConfig, at: Progress) -> bool:
    """Whether the last `validation.patience` validations brought nothing better."""
    scores = [row["val_psnr_db"] for row in at.history if "val_psnr_db" in row]
    if config.validation.patience is None or not scores:
        return False
    dry = len(scores) - 1 - int(np.argmax(scores)) >= config.validation.patience
    if dry:
        log.info("stopping at step %d: %d validations without a better PSNR", at.step, config.validation.patience)
    return dry


def _checked(manifests: Sequence[Path], config: RunConfig) -> Manifest:
    manifest = read_manifest(*manifests)
    rows = manifest.split("train")
    if not rows:
        raise TrainingError(f"{manifest.name}: no row has split `train`; fill the split column")
    rows = (*rows, *manifest.split("val"))
    manifest.require(rows, [*config.task.sources, config.task.target])
    warn_of_quality(rows)
    return manifest


def _fabric(config: RunConfig) -> Fabric:
    """One device; under `torchrun`, as many as it started processes."""
    device = pick_device(config.device)
    precision = config.precision
    if precision == "auto":
        precision = "bf16-mixed" if device.type == "cuda" else "32-true"
    local = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    fabric = Fabric(
        accelerator=device.type,
        devices=local,
        num_nodes=int(os.environ.get("WORLD_SIZE", "1")) // local,
        precision=precision,
    )
    fabric.launch()
    return fabric


def _delete_outputs(out: Path) -> None:
    """Remove what a training writes, and nothing else; prepared volumes stay, since they depend on the scans alone."""
    for folder in ("checkpoints", "model", "tensorboard"):
        shutil.rmtree(out / folder, ignore_errors=True)
    for file in ("config.yaml", "settings.json", "provenance.json", "history.csv", "log.txt", "validation.png"):
        (out / file).unlink(missing_ok=True)


@contextmanager
def _log_file(path: Path) -> Iterator[None]:
    handler = logging.FileHandler(path)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    logger = logging.getLogger("volumetric")
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)
        handler.close()


@contextmanager
def _nothing() -> Iterator[None]:
    yield
