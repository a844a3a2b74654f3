"""Optimization: one optimizer step, the averaged weights, and the schedule of the learning rate."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn
from torch.optim import AdamW, Optimizer
from torch.optim.swa_utils import AveragedModel

from volumetric.config.run import OptimConfig, RunConfig
from volumetric.errors import InputError
from volumetric.interrupts import held
from volumetric.learning.adversarial import Adversary
from volumetric.learning.checkpoint import Progress, load_checkpoint, save_checkpoint
from volumetric.learning.losses import MaskedLoss
from volumetric.learning.pretrained import fitted
from volumetric.learning.ranks import reduced
from volumetric.machine import is_out_of_memory
from volumetric.model.networks import build_network, channels_last
from volumetric.model.spec import ModelSpec


class TrainingError(InputError):
    """A training that cannot start or go on."""


class Optimization:
    """A network, its averaged twin and its optimizer, on the device.

    Attributes:
        averaged: exponential moving average of the weights (Polyak and Juditsky 1992), with the newest buffers; it is
            what is validated and exported.
        adversary: discriminator that the network is trained against, or None.
    """

    def __init__(
        self, fabric: Fabric, config: RunConfig, spec: ModelSpec, *, pretrained: nn.Module | None = None
    ) -> None:
        """The weights of a trained network of the same kind, or fresh ones from the configuration's seed."""
        fabric.seed_everything(config.seed, verbose=False)
        module = channels_last(build_network(config.network, spec.in_channels, spec.out_channels))
        if pretrained is not None:
            module.load_state_dict(fitted(pretrained.state_dict(), module.state_dict()))
        optimizer: Optimizer = AdamW(
            module.parameters(), lr=config.optim.lr, weight_decay=config.optim.weight_decay, fused=False
        )
        self._fabric, self._config = fabric, config
        self._network, self._optimizer = fabric.setup(module, optimizer)
        self._average = AveragedModel(module, multi_avg_fn=_toward(config.optim.ema_decay))
        self._module = module
        self._loss = MaskedLoss(config.loss, spec.target_map, spec.data_range, laplace=config.uncertainty.weight)
        self.adversary = Adversary(fabric, config, spec.in_channels) if config.adversarial.weight else None
        # statistics of batch norm, and the discriminator's largest gains
        self._forward_changes_buffers = self.adversary is not None or any(True for _ in module.buffers())

    @property
    def averaged(self) -> nn.Module:
        """The averaged network."""
        return self._average.module

    def step(self, batch: Mapping[str, Tensor], progress: Progress, lr: float) -> None:
        """Train on a batch, and count the step and its loss; an interruption leaves all of it done, or nothing.

        Raises:
            TrainingError: the loss or the norm of its gradient is not finite, or the memory is too small.
        """
        for group in self._optimizer.param_groups:
            group["lr"] = lr
        self._network.train()
        with _memory_advice(self._config), held() if self._forward_changes_buffers else nullcontext():
            loss = self._add_up_gradients(batch, progress.step)
            _check_finite(loss, "loss", progress.step, lr)
            norm = self._fabric.clip_gradients(
                self._network, self._optimizer, max_norm=self._config.optim.clip_norm, error_if_nonfinite=False
            )
            if norm is not None and self._config.precision != "16-mixed":  # whose scaler leaves such a step out
                _check_finite(float(norm), "norm of the gradient", progress.step, lr)
            with held():
                self._optimizer.step()
                self._optimizer.zero_grad()
                self._share_buffers()
                self._average.update_parameters(self._module)
                if self.adversary:
                    progress.balance.append(self.adversary.step(batch, progress.step, lr))
                progress.step += 1
                progress.losses.append(loss)

    def _add_up_gradients(self, batch: Mapping[str, Tensor], step: int) -> float:
        """The loss of a step over all passes and ranks, with its gradients in the network."""
        num_ranks, num_patches = self._fabric.world_size, len(batch["mask"])
        at_once = self._config.max_patches_per_pass or num_patches
        parts = [{key: batch[key][n : n + at_once] for key in batch} for n in range(0, num_patches, at_once)]
        losses = []
        for number, (part, shares) in enumerate(zip(parts, self._shares(parts), strict=True), 1):
            with self._fabric.no_backward_sync(self._network, enabled=number < len(parts)):
                output = self._network(part["source"])
                loss = self._loss(part["target"], output, part["mask"], shares)
                total = loss + self.adversary.loss(part, output[:, :1], step) if self.adversary else loss
                self._fabric.backward(total if num_ranks == 1 else total * num_ranks)  # DDP divides by it
            losses.append(loss.detach())
        return float(reduced(self._fabric, torch.stack(losses).sum()))

    def _shares(self, parts: Sequence[Mapping[str, Tensor]]) -> Sequence[Tensor | None]:
        """The share of each part in each term of the loss: a mean over the step's voxels, wherever they are."""
        if len(parts) == 1 and self._fabric.world_size == 1:
            return [None]
        counts = torch.stack([self._loss.counts(part["mask"]) for part in parts])
        return list(counts / reduced(self._fabric, counts.sum(0)).clamp_min(1))

    def _share_buffers(self) -> None:
        """Give every rank the mean of all ranks' running statistics, of networks that have any."""
        if self._fabric.world_size > 1:
            for buffer in self._module.buffers():
                if buffer.is_floating_point():
                    buffer.copy_(reduced(self._fabric, buffer.clone(), "mean"))

    def save(self, path: Path, progress: Progress) -> None:
        """Write a checkpoint, on rank 0; no rank waits."""
        save_checkpoint(self._fabric, path, self._state(), progress)

    def restore(self, path: Path) -> Progress:
        """Restore a checkpoint.

        Raises:
            CheckpointError: a file that cannot be used.
        """
        return load_checkpoint(self._fabric, path, self._state())

    def _state(self) -> dict[str, Any]:
        state = {"network": self._network, "averaged": self._average, "optimizer": self._optimizer}
        return state | (self.adversary.state() if self.adversary else {})


def learning_rate(optim: OptimConfig, step: int) -> float:
    """Linear warm-up to the peak rate, then a cosine down to zero (Loshchilov & Hutter 2017)."""
    warmup = round(optim.warmup_fraction * optim.num_steps)
    if step < warmup:
        return optim.lr * (step + 1) / warmup
    return optim.lr * 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1, optim.num_steps - warmup)))


def _check_finite(value: float, name: str, step: int, lr: float) -> None:
    if not math.isfinite(value):
        raise TrainingError(
            f"the {name} is {value} at step {step}; lower the learning rate, for example --set "
            f"optim.lr={lr / 3:.1g}, or look for one with --find-lr"
        )


def _toward(decay: float) -> Callable[[Sequence[Tensor], Sequence[Tensor], Tensor | int], None]:
    """Update of the moving average; the decay rises from 0.2 to its value, so that the first weights fade soon."""

    @torch.no_grad()
    def update(averages: Sequence[Tensor], weights: Sequence[Tensor], num_averaged: Tensor | int) -> None:
        n = int(num_averaged)
        share = 1 - min(decay, (1 + n) / (10 + n))
        for average, weight in zip(averages, weights, strict=True):
            average.lerp_(weight, share)

    return update


@contextmanager
def _memory_advice(config: RunConfig) -> Iterator[None]:
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        raise TrainingError(memory_advice(config)) from error


def memory_advice(config: RunConfig) -> str:
    """Settings to lower when the memory is too small, each with a value."""
    size, batch, network = config.patch.size, config.patch.batch_size, config.network
    smaller = [max(network.stride, int(0.75 * side) // network.stride * network.stride) for side in size]
    ways = []
    if batch > 1 and config.max_patches_per_pass != 1:
        ways.append("--set max_patches_per_pass=1 (same result, a patch at a time)")
    if batch > 1:
        each = min(config.patch.num_per_volume, batch // 2)
        ways.append(f"--set patch.batch_size={batch // 2 // each * each} --set patch.num_per_volume={each}")
    if smaller != list(size):
        ways.append(f"--set patch.size={str(smaller).replace(' ', '')}")
    if network.name in ("unet", "dynunet", "spade"):
        ways.append(f"--set network.channels={str([max(1, n // 2) for n in network.channels]).replace(' ', '')}")
    return (
        f"out of memory with patches of {list(size)} voxels, {batch} in a batch, network {network.name}; lower one "
        f"of them, in this order: {', or '.join(ways) or 'a smaller network'}"
    )
