"""Training: from manifests and a configuration to a run folder with a model in it."""

from __future__ import annotations

import logging
import math
import os
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning_fabric import Fabric
from torch import Tensor, nn
from torch.optim import AdamW, Optimizer

from volumetric.batch.subjects import progress as progress_bar
from volumetric.config.resolve import as_yaml
from volumetric.config.run import RunConfig
from volumetric.errors import InputError
from volumetric.learning.checkpoint import Progress, load_checkpoint, save_checkpoint
from volumetric.learning.data import CohortStatistics, Pair, patch_batches, read_pairs
from volumetric.learning.losses import masked_l1
from volumetric.manifest import Manifest, read_manifest
from volumetric.metrics.error import psnr_db
from volumetric.metrics.ssim import ssim
from volumetric.model.folder import SPEC, save_model
from volumetric.model.networks import build_network, channels_last
from volumetric.model.networks.unet import num_parameters
from volumetric.model.predict import pick_device, synthesise
from volumetric.model.spec import ModelSpec
from volumetric.model.windows import plan_windows
from volumetric.outputs import check_same_settings, locked, provenance, versions, write_csv, write_json, write_text

log = logging.getLogger(__name__)

MIN_VALIDATION_SUBJECTS = 3
"""With fewer, the last weights are exported: the best of so few scores would be luck."""


class TrainingError(InputError):
    """A training that cannot start or go on."""


def train(manifests: Sequence[Path], config: RunConfig, out: Path, *, fresh: bool = False) -> Path:
    """Train a model, or go on where an interrupted training stopped.

    Args:
        manifests: CSV files; rows with split `train` are learnt from, those with `val` are scored.
        config: everything else.
        out: the run folder.
        fresh: forget what the run folder holds.

    Returns:
        The model folder, `out/model`.

    Raises:
        ManifestError: no training rows, or pairs that cannot be used (all are named).
        OutputError: `out` holds a run with another configuration or other subjects.
        TrainingError: the loss is no longer finite.
    """
    manifest = read_manifest(*manifests)
    _check_rows(manifest, config)
    settings = config.model_dump(mode="json") | {"training_manifest_sha256": manifest.digest()}
    fabric = _fabric(config)
    with locked(out) if fabric.is_global_zero else _nothing():
        if fresh and fabric.is_global_zero:
            _forget(out)
        fabric.barrier()
        resumed = check_same_settings(out / "settings.json", settings, what="a run")
        if (out / "model" / SPEC).is_file():
            log.info("%s is trained already; --fresh starts over", out)
            return out / "model"
        statistics = CohortStatistics()
        train_pairs = read_pairs(manifest.split("train"), config, title="reading train", statistics=statistics)
        val_pairs = read_pairs(manifest.split("val"), config, title="reading val")
        spec = _spec(config, manifest, statistics, train_pairs)
        if fabric.is_global_zero and not resumed:
            write_text(out / "config.yaml", as_yaml(config))
            write_json(out / "settings.json", settings)
            write_json(out / "provenance.json", provenance(seed=config.seed, device=str(fabric.device)))
        with _log_file(out / "log.txt"):
            _optimise(fabric, config, spec, train_pairs, val_pairs, out)
    return out / "model"


def _optimise(
    fabric: Fabric, config: RunConfig, spec: ModelSpec, train_pairs: list[Pair], val_pairs: list[Pair], out: Path
) -> None:
    fabric.seed_everything(config.seed, verbose=False)
    module = channels_last(build_network(config.network, len(config.task.sources)))
    optimizer: Optimizer = AdamW(
        module.parameters(), lr=config.optim.lr, weight_decay=config.optim.weight_decay, fused=False
    )
    network, optimizer = fabric.setup(module, optimizer)
    last, best = out / "checkpoints" / "last.ckpt", out / "checkpoints" / "best.ckpt"
    at = load_checkpoint(fabric, last, network, optimizer) if last.is_file() else Progress()
    batches: Any = fabric.setup_dataloaders(
        patch_batches(
            train_pairs,
            config,
            spec.target_map,
            first_step=at.step,
            rank=fabric.global_rank,
            world_size=fabric.world_size,
        ),
        use_distributed_sampler=False,
    )
    num_steps = config.optim.num_steps
    log.info(
        "%s: %s parameters, %d training and %d validation subjects (%.1f GB), on %s, %d threads, from step %d of %d",
        config.network.name, f"{num_parameters(module):,}", len(train_pairs), len(val_pairs),
        sum(pair.num_bytes for pair in [*train_pairs, *val_pairs]) / 1e9, fabric.device, torch.get_num_threads(),
        at.step, num_steps,
    )  # fmt: skip
    losses: list[float] = []
    start, first_step = time.perf_counter(), at.step
    network.train()
    with progress_bar("training", num_steps, "steps", done=at.step) as advance:
        for batch in batches:
            loss = _train_step(fabric, config, network, optimizer, batch, at.step)
            losses.append(loss)
            at.step += 1
            advance(f"loss {loss:.3f}")
            if at.step % config.validation.every_steps == 0 or at.step == num_steps:
                at.history.append(_row(config, at.step, losses, module, spec, val_pairs, fabric))
                losses.clear()
                save_checkpoint(fabric, last, network, optimizer, at)
                psnr = at.history[-1].get("val_psnr_db", -math.inf)
                if psnr > at.best_psnr_db:
                    at.best_psnr_db = psnr
                    save_checkpoint(fabric, best, network, optimizer, at)
                if fabric.is_global_zero:
                    write_csv(out / "history.csv", at.history)
                network.train()
    seconds = time.perf_counter() - start
    if at.step > first_step:
        log.info("%d steps in %.0f s, %.2f s a step", at.step - first_step, seconds, seconds / (at.step - first_step))
    if len(val_pairs) >= MIN_VALIDATION_SUBJECTS:
        load_checkpoint(fabric, best, network)
        log.info("exporting the best weights, validation PSNR %.2f dB", at.best_psnr_db)
    if fabric.is_global_zero:
        save_model(out / "model", module, spec)
        log.info("model written to %s", out / "model")


def _train_step(
    fabric: Fabric, config: RunConfig, network: nn.Module, optimizer: Optimizer, batch: Mapping[str, Tensor], step: int
) -> float:
    for group in optimizer.param_groups:
        group["lr"] = learning_rate(config, step)
    loss = masked_l1(batch["target"], network(batch["source"]), batch["mask"])
    if not torch.isfinite(loss):
        raise TrainingError(
            f"the loss is {loss.item()} at step {step}; lower the learning rate, for example "
            f"--set optim.lr={config.optim.lr / 3:.1g}"
        )
    fabric.backward(loss)
    fabric.clip_gradients(network, optimizer, max_norm=config.optim.clip_norm)
    optimizer.step()
    optimizer.zero_grad()
    return loss.item()


def learning_rate(config: RunConfig, step: int) -> float:
    """Linear warm-up to the peak rate, then a cosine down to zero (Loshchilov & Hutter 2017)."""
    warmup = round(config.optim.warmup_fraction * config.optim.num_steps)
    if step < warmup:
        return config.optim.lr * (step + 1) / warmup
    return config.optim.lr * 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1, config.optim.num_steps - warmup)))


def _row(
    config: RunConfig,
    step: int,
    losses: list[float],
    network: nn.Module,
    spec: ModelSpec,
    pairs: list[Pair],
    fabric: Fabric,
) -> dict[str, float]:
    """One row of `history.csv`; the validation scores stand in it if there are validation subjects."""
    row = {"step": float(step), "lr": learning_rate(config, step - 1), "train_loss": float(np.mean(losses))}
    if pairs:
        row |= _validate(network, spec, pairs, fabric.device)
    log.info("  ".join(f"{key} {value:.4g}" for key, value in row.items()))
    return row


def _validate(network: nn.Module, spec: ModelSpec, pairs: list[Pair], device: torch.device) -> dict[str, float]:
    """Mean in-mask PSNR and SSIM over whole volumes in model space."""
    network.eval()
    scores = []
    for pair in pairs:
        plan = plan_windows(pair.mask[0], spec.patch_size, spec.overlap)
        prediction = synthesise(network, spec, pair.sources, pair.mask[0], plan, device).clip(min=0)
        mask = torch.from_numpy(pair.mask[0])
        arguments = torch.from_numpy(pair.target[0]), torch.from_numpy(prediction)
        scores.append(
            (
                psnr_db(*arguments, mask=mask, data_range=spec.data_range),
                ssim(*arguments, mask=mask, data_range=spec.data_range),
            )
        )
    psnr, similarity = np.mean(scores, axis=0)
    return {"val_psnr_db": float(psnr), "val_ssim": float(similarity)}


def _spec(config: RunConfig, manifest: Manifest, statistics: CohortStatistics, pairs: list[Pair]) -> ModelSpec:
    return ModelSpec(
        sources=config.task.sources,
        target=config.task.target,
        spacing_mm=config.space.spacing_mm,
        target_map=statistics.target_map(),
        data_range=statistics.target.data_range(),
        network=config.network,
        patch_size=config.patch.size,
        overlap=config.inference.overlap,
        training=statistics.describe(pairs),
        training_manifest_sha256=manifest.digest(),
        versions=versions(),
    )


def _check_rows(manifest: Manifest, config: RunConfig) -> None:
    rows = manifest.split("train")
    if not rows:
        raise TrainingError(f"{manifest.name}: no row has split `train`; fill the split column")
    manifest.require([*rows, *manifest.split("val")], [*config.task.sources, config.task.target])


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


def _forget(out: Path) -> None:
    """Remove what a training writes, and nothing else."""
    for folder in ("checkpoints", "model"):
        shutil.rmtree(out / folder, ignore_errors=True)
    for file in ("config.yaml", "settings.json", "provenance.json", "history.csv", "log.txt"):
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
