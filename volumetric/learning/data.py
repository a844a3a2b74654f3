"""Random patches of training pairs, and the loader of their batches."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from monai.data import MetaTensor, list_data_collate
from monai.transforms import Compose, RandCropByPosNegLabeld, SpatialPadd
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from volumetric.config.run import RunConfig
from volumetric.learning.augmentation import PAIR, augment, size_with_margin
from volumetric.learning.pairs import Pair
from volumetric.model.spec import ModelSpec
from volumetric.model.units import in_network_units


class PatchDraws(Dataset[list[dict[str, Tensor]]]):
    """Draw number n -> a few patches of one volume.

    Every draw seeds its own generator from (seed, n), and the order of the volumes from (seed, epoch). So
    a draw is the same in any process, in any order, and after any interruption.
    """

    def __init__(self, pairs: Sequence[Pair], config: RunConfig, spec: ModelSpec) -> None:
        """Take the pairs and plan the transforms; nothing is read yet."""
        self._pairs, self._seed, self._spec = list(pairs), config.seed, spec
        size = size_with_margin(config.augmentation, config.patch.size)
        cut = RandCropByPosNegLabeld(
            PAIR,
            label_key="mask",
            spatial_size=size,
            pos=1,
            neg=0,
            num_samples=config.patch.num_per_volume,
            fg_indices_key="centers",
            bg_indices_key="none",
            allow_smaller=True,
        )
        self._transform = Compose([cut, SpatialPadd(PAIR, size), augment(config.augmentation, config.patch.size)])

    def __getitem__(self, draw: int) -> list[dict[str, Tensor]]:
        """The patches of a draw in network units: `source (C, *size)`, `target (1, *size)`, `mask (1, *size)`."""
        epoch, place = divmod(draw, len(self._pairs))
        order = np.random.default_rng([self._seed, epoch]).permutation(len(self._pairs))
        draw_seed = np.random.SeedSequence([self._seed, draw]).generate_state(1)[0]
        self._transform.set_random_state(seed=int(draw_seed))
        pair = self._pairs[order[place]]
        volume = {
            "source": torch.from_numpy(pair.sources),
            "target": torch.from_numpy(pair.target),
            "mask": torch.from_numpy(pair.mask),
            "centers": pair.centers,
            "none": np.zeros(1, np.int64),
        }
        return [self._in_network_units(patch, pair.measured) for patch in self._transform(volume)]

    def _in_network_units(self, patch: dict[str, Tensor], measured: NDArray[np.float64]) -> dict[str, Tensor]:
        source, target, mask = (_plain(patch[key]) for key in PAIR)
        mask = mask > 0.5
        return {
            "source": torch.from_numpy(in_network_units(self._spec, source.numpy(), mask[0].numpy(), measured)),
            "target": (target - self._spec.target_map.center) / self._spec.target_map.scale,
            "mask": mask,
        }


def _plain(tensor: Tensor) -> Tensor:
    """The tensor without MONAI's metadata, which nothing here needs and every copy would drag along."""
    return tensor.as_tensor() if isinstance(tensor, MetaTensor) else tensor


def patch_batches(
    pairs: Sequence[Pair],
    config: RunConfig,
    spec: ModelSpec,
    *,
    first_step: int,
    rank: int = 0,
    world_size: int = 1,
) -> DataLoader[list[dict[str, Tensor]]]:
    """One batch for each step from `first_step` to the last.

    Returns:
        A loader of dictionaries with `source (N, C, *size)`, `target` and `mask (N, 1, *size)`.
    """
    draws_a_step = config.patch.batch_size // config.patch.num_per_volume

    def batches() -> Iterator[list[int]]:
        for step in range(first_step, config.optim.num_steps):
            first = (step * world_size + rank) * draws_a_step
            yield list(range(first, first + draws_a_step))

    return DataLoader(
        PatchDraws(pairs, config, spec),
        batch_sampler=list(batches()),
        num_workers=config.num_workers,
        collate_fn=list_data_collate,
        pin_memory=torch.cuda.is_available(),
        persistent_workers=config.num_workers > 0,
    )
