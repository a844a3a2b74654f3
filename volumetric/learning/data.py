"""From scans to batches of training patches, as two MONAI `Compose`s with the cache between them.

files --volume_transforms--> whole volumes in model space --cache--> --patch_transforms--> patches in network units
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import partial

import numpy as np
import torch
from monai.data import MetaTensor, list_data_collate
from monai.transforms import (
    CastToTyped,
    Compose,
    EnsureTyped,
    RandCropByPosNegLabeld,
    SelectItemsd,
    SpatialPadd,
)
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from volumetric.config.run import RunConfig
from volumetric.imaging.geometry import flips_to_ras
from volumetric.imaging.intensity import PooledIntensities, reference_scale
from volumetric.learning.anatomies import TrainingAnatomy
from volumetric.learning.augmentation import PAIR, augment, size_with_margin
from volumetric.learning.mixture import (
    SimulatedDraws,
    draws_a_step,
    has_simulated_source,
    is_simulated,
    normalization_steps,
    pair_of,
)
from volumetric.learning.pairs import TrainingPair
from volumetric.learning.sources import SimulatedSource
from volumetric.model.spec import ModelSpec
from volumetric.transforms.load import LoadSubjectd
from volumetric.transforms.mask import RegionMaskd
from volumetric.transforms.missing import RandMissingd
from volumetric.transforms.space import ToModelSpaced
from volumetric.transforms.tensors import to_image, to_mask

_MAX_CENTERS = 100_000  # remembered foreground voxels of a volume: enough that patches fall anywhere

Batch = dict[str, Tensor]


def volume_transforms(config: RunConfig, contrasts: Sequence[str]) -> Compose:
    """Whole volumes: paths of a subject's images -> volumes in model space, with their statistics.

    Runs once a subject; `read_pairs` keeps the arrays in the cache. `contrasts` are those of the task that it has.
    """
    return Compose(
        [
            LoadSubjectd(contrasts),
            partial(_count_intensities, contrasts=[name for name in config.task.images if name in contrasts]),
            RegionMaskd(contrasts, config.mask.kind, target_key=config.task.target),
            ToModelSpaced(contrasts, config.space.spacing_mm, region_key="region"),
            _find_centers,
        ]
    )


def patch_transforms(config: RunConfig, spec: ModelSpec, source: SimulatedSource | None = None) -> Compose:
    """Patches: a pair in the cache -> `patch.num_per_volume` dictionaries of `source`, `target` and `mask`.

    Another `source` takes the place of the scanned one before augmentation.
    """
    size = size_with_margin(config.augmentation, config.patch.size)
    missing = [RandMissingd("source", config.augmentation.missing_probability)] if config.any_subset else []
    return Compose(
        [
            partial(_map_volumes, sources=config.task.sources),
            RandCropByPosNegLabeld(
                PAIR,
                label_key="mask",
                spatial_size=size,
                pos=1,
                neg=0,
                num_samples=config.patch.num_per_volume,
                fg_indices_key="centers",
                bg_indices_key="none",
                allow_smaller=True,
            ),
            SpatialPadd(PAIR, size),
            *([source] if source else []),
            augment(config.augmentation, config.patch.size, labels=spec.label_classes is not None),
            EnsureTyped(PAIR, track_meta=False),  # each copy would drag the metadata along
            CastToTyped("mask", torch.bool),
            *normalization_steps(spec),
            *missing,
            SelectItemsd(PAIR),
        ]
    )


class PatchDraws(Dataset[list[Batch]]):
    """Draw number n -> a few patches of one volume.

    Every draw seeds its own generator from (seed, n), and the order of the volumes from (seed, epoch). So
    a draw is the same in any process, in any order, and after any interruption.
    """

    def __init__(
        self,
        pairs: Sequence[TrainingPair],
        config: RunConfig,
        spec: ModelSpec,
        anatomies: Sequence[TrainingAnatomy] = (),
    ) -> None:
        """Take the pairs, label maps to simulate others from, and the transforms; nothing is read yet."""
        self._pairs, self._config, self._spec = list(pairs), config, spec
        self._transform = patch_transforms(config, spec)
        self._simulated = SimulatedDraws(anatomies, config, spec) if anatomies else None

    def __getitem__(self, draw: int) -> list[Batch]:
        """The patches of a draw in network units: `source (C, *size)`, `target (1, *size)`, `mask (1, *size)`."""
        if self._simulated and is_simulated(draw, self._config):
            return self._simulated[draw]
        pair, transform = pair_of(draw, self._pairs, self._config), self._transform
        if has_simulated_source(draw, pair, self._config):
            transform = patch_transforms(
                self._config, self._spec, SimulatedSource(pair, draw, self._config, self._spec)
            )
        draw_seed = np.random.SeedSequence([self._config.seed, draw]).generate_state(1)[0]
        transform.set_random_state(seed=int(draw_seed))
        patches: list[Batch] = transform(pair)
        return patches


def patch_batches(
    pairs: Sequence[TrainingPair],
    config: RunConfig,
    spec: ModelSpec,
    *,
    first_step: int,
    anatomies: Sequence[TrainingAnatomy] = (),
    rank: int = 0,
    world_size: int = 1,
) -> DataLoader[list[Batch]]:
    """One batch for each step from `first_step` to the last: of several ranks, each one's even share of it.

    Returns:
        A loader of dictionaries with `source (N, C, *size)`, `target` and `mask (N, 1, *size)`.
    """
    num_draws = draws_a_step(config) // world_size

    def batches() -> Iterator[list[int]]:
        for step in range(first_step, config.optim.num_steps):
            first = (step * world_size + rank) * num_draws
            yield list(range(first, first + num_draws))

    return DataLoader(
        PatchDraws(pairs, config, spec, anatomies),
        batch_sampler=list(batches()),
        num_workers=config.num_workers,
        collate_fn=list_data_collate,
        pin_memory=torch.cuda.is_available(),
        persistent_workers=config.num_workers > 0,
    )


def _count_intensities(
    volume: Mapping[str, MetaTensor], contrasts: Sequence[str]
) -> dict[str, MetaTensor | NDArray[np.generic]]:
    """Add each contrast's in-mask histogram in reference units on the scan's own grid, and the scan's spacing."""
    counted: dict[str, MetaTensor | NDArray[np.generic]] = dict(volume)
    mask = to_mask(volume["mask"])
    for contrast in contrasts:
        array = to_image(volume[contrast]).array
        scale = reference_scale(array, mask, name=str(volume[contrast].meta["filename_or_obj"]))
        pooled = PooledIntensities()
        pooled.add(array[mask] / scale)
        counted[f"histogram_{contrast}"] = np.trim_zeros(pooled.counts, "b")
        counted[f"sums_{contrast}"] = np.array([pooled.total, pooled.total_squares])
    space = to_image(volume[contrasts[0]]).space
    counted["spacing_mm"] = np.asarray(flips_to_ras(space.affine).apply_to_space(space).spacing_mm)
    return counted


def _find_centers(volume: Mapping[str, MetaTensor]) -> dict[str, MetaTensor | NDArray[np.generic]]:
    """Add the flat indices of voxels of the region, evenly thinned: where patches may be centered."""
    centers = np.flatnonzero(volume["region"].numpy())
    return {**volume, "centers": centers[:: max(1, centers.size // _MAX_CENTERS)]}


def _map_volumes(pair: TrainingPair, sources: Sequence[str]) -> dict[str, Tensor | NDArray[np.generic]]:
    """The whole volumes of a pair, memory-mapped from the cache."""
    return {
        "source": torch.from_numpy(pair.sources),
        "target": torch.from_numpy(pair.target),
        "mask": torch.from_numpy(pair.mask),
        "centers": pair.centers,
        "none": np.zeros(1, np.int64),
        "measured": pair.measured,
        "given": np.array([source not in pair.missing for source in sources]),
    }
