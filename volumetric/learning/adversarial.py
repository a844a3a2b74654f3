"""Adversarial training: a discriminator that learns to tell predictions from targets, and its loss for the network.

pix2pix (Isola et al. 2017) in 3D: sources and target, or sources and prediction, go into a PatchGAN, which judges
overlapping regions. All that it sees is 0 outside the mask.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from lightning_fabric import Fabric
from monai.losses.adversarial_loss import PatchAdversarialLoss
from monai.networks.nets.patchgan_discriminator import PatchDiscriminator
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

from volumetric.config.adversarial import AdversarialConfig
from volumetric.config.run import RunConfig
from volumetric.learning.ranks import RankError

_SECOND_STREAM = 1
"""Key of the noise that the network's own loss sees; the discriminator's step has key 0."""

Balance = tuple[float, float, float]
"""Of one step: the adversarial loss of the network, unweighted, the discriminator's loss, and its accuracy."""


class Adversary:
    """A discriminator and its optimizer, on the device."""

    def __init__(self, fabric: Fabric, config: RunConfig, in_channels: int) -> None:
        """Fresh weights from torch's global generator, beside a network of that many `in_channels`.

        Raises:
            RankError: several processes train.
        """
        if fabric.world_size > 1:
            raise RankError("a discriminator trains in one process; leave out --devices, or set adversarial.weight=0")
        self._fabric, self._config, self._section = fabric, config, config.adversarial
        self._module = build_discriminator(self._section, in_channels + 1)
        optimizer = torch.optim.Adam(self._module.parameters(), lr=self._section.lr, betas=(0.5, 0.999))
        self._network, self._optimizer = fabric.setup(self._module, optimizer)
        self._criterion = adversarial_criterion(self._section)
        self._judged: tuple[float, Tensor] | None = None

    def loss(self, batch: Mapping[str, Tensor], prediction: Tensor, number: int) -> Tensor:
        """The weighted scalar to add to the network's loss; the discriminator's weights get no gradient.

        Args:
            batch: `source (N, C, I, J, K)`, `target` and `mask (N, 1, I, J, K)`.
            prediction: `(N, 1, I, J, K)`, network units.
            number: of the step.
        """
        self._module.requires_grad_(False)
        with self._fabric.autocast():
            *features, judged = self._module(self._input(batch, prediction, number, _SECOND_STREAM))
            adversarial = self._criterion(judged.float(), target_is_real=True, for_discriminator=False)
            loss: Tensor = self._section.weight * adversarial
            if self._section.feature_matching:
                with torch.no_grad():
                    *expected, _ = self._module(self._input(batch, batch["target"], number, _SECOND_STREAM))
                loss = loss + self._section.feature_matching * feature_distance(expected, features)
        self._module.requires_grad_(True)
        self._judged = adversarial.item(), prediction.detach()
        return self._ramp(number) * loss

    def step(self, batch: Mapping[str, Tensor], number: int, lr: float) -> Balance:
        """Train the discriminator on what `loss` judged; `lr` is the rate of the network, whose curve it follows."""
        assert self._judged is not None, "loss comes first"
        adversarial, prediction = self._judged
        for group in self._optimizer.param_groups:
            group["lr"] = self._section.lr * lr / self._config.optim.lr
        pairs = [self._input(batch, volume, number, 0) for volume in (batch["target"], prediction)]
        *_, judged = self._network(torch.cat(pairs))
        real, predicted = judged.float().chunk(2)
        loss = 0.5 * (
            self._criterion(real, target_is_real=True, for_discriminator=True)
            + self._criterion(predicted, target_is_real=False, for_discriminator=True)
        )
        self._fabric.backward(loss)
        self._optimizer.step()
        self._optimizer.zero_grad()
        return adversarial, loss.item(), accuracy(real, predicted, self._section)

    def state(self) -> dict[str, Any]:
        """Modules and optimizer of the checkpoint."""
        return {"discriminator": self._network, "discriminator_optimizer": self._optimizer}

    def _ramp(self, number: int) -> float:
        """Share of the weights at a step."""
        rising = self._section.ramp_fraction * self._config.optim.num_steps
        return min(1.0, (number + 1) / rising) if rising else 1.0

    def _input(self, batch: Mapping[str, Tensor], volume: Tensor, number: int, stream: int) -> Tensor:
        """Sources and a volume in one tensor, 0 outside the mask, with the noise of the step."""
        pair = torch.cat([batch["source"], volume * batch["mask"]], dim=1)
        sd = self._section.instance_noise * max(0.0, 1 - number / self._config.optim.num_steps)
        if not sd:
            return pair
        key = [self._config.seed, number, self._fabric.global_rank, stream]
        seed = int(np.random.SeedSequence(key).generate_state(1)[0])
        noise = torch.randn(pair.shape, generator=torch.Generator().manual_seed(seed))
        return pair + sd * noise.to(pair)


def balance_columns(steps: Sequence[Balance]) -> dict[str, float]:
    """Means over steps, by column of `history.csv`; none without steps of an adversary."""
    names = ("adversarial_loss", "discriminator_loss", "discriminator_accuracy")
    return dict(zip(names, np.mean(steps, axis=0).tolist(), strict=True)) if steps else {}


def build_discriminator(section: AdversarialConfig, in_channels: int) -> nn.Module:
    """MONAI's PatchGAN, instance-normalized where it has no spectral norm; gives its features, the judgments last."""
    discriminator: nn.Module = PatchDiscriminator(
        spatial_dims=3,
        channels=section.channels,
        in_channels=in_channels,
        num_layers_d=section.num_layers,
        norm=None if section.spectral_norm else "INSTANCE",
        bias=section.spectral_norm,
    )
    if section.spectral_norm:
        for module in list(discriminator.modules()):
            if isinstance(module, nn.Conv3d):
                spectral_norm(module)
    return discriminator


def adversarial_criterion(section: AdversarialConfig) -> PatchAdversarialLoss:
    """MONAI's loss without its activation, which would keep judgments from their targets: tanh never passes 1."""
    criterion = PatchAdversarialLoss(criterion=section.criterion)
    criterion.activation = None
    return criterion


def feature_distance(expected: list[Tensor], features: list[Tensor]) -> Tensor:
    """Mean absolute difference of the discriminator's features, averaged over its layers (Wang et al. 2018)."""
    pairs = zip(expected, features, strict=True)
    return torch.stack([(a.float() - b.float()).abs().mean() for a, b in pairs]).mean()


def accuracy(real: Tensor, predicted: Tensor, section: AdversarialConfig) -> float:
    """Share of judgments on the right side of the middle between the two targets; 0.5 for guessing, 1 at best."""
    middle = 0.5 if section.criterion == "least_squares" else 0.0
    right = [real > middle, predicted < middle]
    return float(torch.stack(right).float().mean())
