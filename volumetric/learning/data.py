"""Training pairs: whole volumes read once into model space, and the random patches cut from them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from monai.data import MetaTensor, list_data_collate
from monai.transforms import Compose, RandCropByPosNegLabeld, RandFlipd, SpatialPadd
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from volumetric.batch.subjects import progress
from volumetric.config.run import RunConfig
from volumetric.errors import InputError
from volumetric.imaging.intensity import PooledIntensities, reference_scale, standardize
from volumetric.imaging.mask import brain_mask
from volumetric.imaging.nifti import Image, read_image, read_labels
from volumetric.manifest import ManifestError, Row
from volumetric.model.space import check_one_grid, view_in_model_space
from volumetric.model.spec import AffineMap, TrainingStatistics

_QUANTILES = np.array([0.01, 0.25, 0.5, 0.75, 0.99])
_MAX_CENTRES = 100_000  # remembered foreground voxels a volume: enough that patches fall anywhere


@dataclass(frozen=True)
class Pair:
    """One subject in model space.

    Attributes:
        name: the subject.
        sources: float32 `(C, I, J, K)`, reference units.
        target: float32 `(1, I, J, K)`, reference units.
        mask: boolean `(1, I, J, K)`.
        spacing_mm: of the scan, RAS axes, `(3,)`.
    """

    name: str
    sources: NDArray[np.float32]
    target: NDArray[np.float32]
    mask: NDArray[np.bool_]
    spacing_mm: NDArray[np.float64]

    @property
    def num_bytes(self) -> int:
        """Memory it takes."""
        return self.sources.nbytes + self.target.nbytes + self.mask.nbytes


@dataclass
class CohortStatistics:
    """The pooled in-mask intensities of people, in reference units, on their own grids."""

    sources: dict[str, PooledIntensities] = field(default_factory=dict)
    target: PooledIntensities = field(default_factory=PooledIntensities)

    def target_map(self) -> AffineMap:
        """To mean 0 and SD 1 over all training voxels."""
        return AffineMap(center=self.target.mean, scale=self.target.sd)

    def describe(self, pairs: Sequence[Pair]) -> TrainingStatistics:
        """What `model.yaml` keeps of them."""
        spacings = np.stack([pair.spacing_mm for pair in pairs]).round(4)
        low, high = spacings.min(axis=0).tolist(), spacings.max(axis=0).tolist()
        return TrainingStatistics(
            num_subjects=len(pairs),
            source_quantiles={
                contrast: tuple(pooled.quantile(_QUANTILES).round(4).tolist())
                for contrast, pooled in self.sources.items()
            },
            spacing_mm_low=tuple(low),
            spacing_mm_high=tuple(high),
        )


def read_pairs(
    rows: Sequence[Row], config: RunConfig, *, title: str, statistics: CohortStatistics | None = None
) -> list[Pair]:
    """Read subjects into model space.

    Args:
        rows: the subjects.
        config: which contrasts and which spacing.
        title: the word on the progress bar.
        statistics: where to add their intensities.

    Raises:
        ManifestError: listing every subject that cannot be used and why.
    """
    pairs: list[Pair] = []
    problems: list[str] = []
    with progress(title, len(rows), "subjects") as advance:
        for row in rows:
            try:
                pairs.append(_read_pair(row, config, statistics))
            except InputError as error:
                text = str(error)
                problems.append(text if text.startswith("subject ") else f"subject {row.name}: {text}")
            advance(row.name)
    if problems:
        raise ManifestError("training needs every pair to be usable; mend or leave out:\n  " + "\n  ".join(problems))
    return pairs


def _read_pair(row: Row, config: RunConfig, statistics: CohortStatistics | None) -> Pair:
    contrasts = (*config.task.sources, config.task.target)
    images: dict[str, Image] = {contrast: read_image(row.path(contrast)) for contrast in contrasts}
    given = read_labels(row.path("mask")) if "mask" in row.paths else None
    check_one_grid(images, name=row.name)
    scan = images[config.task.sources[0]]
    brain = brain_mask(scan, given, name=str(row.path(config.task.sources[0])))
    if statistics is not None:
        for contrast, image in images.items():
            scale = reference_scale(image.array, brain.array, name=str(row.path(contrast)))
            pooled = (
                statistics.target
                if contrast == config.task.target
                else statistics.sources.setdefault(contrast, PooledIntensities())
            )
            pooled.add(image.array[brain.array] / scale)
    view = view_in_model_space(scan.space, brain.array, config.space.spacing_mm)
    brought = view.bring(*images.values())
    upright = view.flips.apply_to_space(scan.space)
    return Pair(row.name, brought[:-1], brought[-1:], view.mask[None], upright.spacing_mm)


class PatchDraws(Dataset[list[dict[str, Tensor]]]):
    """Draw number n -> a few patches of one volume.

    Every draw seeds its own generator from (seed, n), and the order of the volumes from (seed, epoch). So
    a draw is the same in any process, in any order, and after any interruption.
    """

    def __init__(self, pairs: Sequence[Pair], config: RunConfig, target_map: AffineMap) -> None:
        """Take volumes, bring them to network units and pad them to the patch."""
        size = config.patch.size
        pad = SpatialPadd(("source", "target", "mask"), size)
        self._seed = config.seed
        self._volumes: list[dict[str, Any]] = []
        for pair in pairs:
            volume: dict[str, Any] = pad(
                {
                    "source": torch.from_numpy(np.stack([standardize(s, pair.mask[0]) for s in pair.sources])),
                    "target": torch.from_numpy((pair.target - target_map.center) / target_map.scale),
                    "mask": torch.from_numpy(pair.mask),
                }
            )
            volume = {key: _plain(value) for key, value in volume.items()}
            centres = np.flatnonzero(volume["mask"].numpy())
            volume["centres"] = centres[:: max(1, centres.size // _MAX_CENTRES)]
            volume["none"] = np.zeros(1, np.int64)
            self._volumes.append(volume)
        self._cut = Compose(
            [
                RandCropByPosNegLabeld(
                    ("source", "target", "mask"),
                    label_key="mask",
                    spatial_size=size,
                    pos=1,
                    neg=0,
                    num_samples=config.patch.num_per_volume,
                    fg_indices_key="centres",
                    bg_indices_key="none",
                ),
                RandFlipd(("source", "target", "mask"), prob=config.augmentation.flip_probability, spatial_axis=0),
            ]
        )

    def __getitem__(self, draw: int) -> list[dict[str, Tensor]]:
        """The patches of a draw: `source (C, *size)`, `target (1, *size)`, `mask (1, *size)`."""
        epoch, place = divmod(draw, len(self._volumes))
        order = np.random.default_rng([self._seed, epoch]).permutation(len(self._volumes))
        draw_seed = np.random.SeedSequence([self._seed, draw]).generate_state(1)[0]
        self._cut.set_random_state(seed=int(draw_seed))
        patches = self._cut(self._volumes[order[place]])
        return [{key: _plain(patch[key]) for key in ("source", "target", "mask")} for patch in patches]


def _plain(tensor: Tensor) -> Tensor:
    """The tensor without MONAI's metadata, which nothing here needs and every copy would drag along."""
    return tensor.as_tensor() if isinstance(tensor, MetaTensor) else tensor


def patch_batches(
    pairs: Sequence[Pair],
    config: RunConfig,
    target_map: AffineMap,
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
        PatchDraws(pairs, config, target_map),
        batch_sampler=list(batches()),
        num_workers=config.num_workers,
        collate_fn=list_data_collate,
        pin_memory=torch.cuda.is_available(),
        persistent_workers=config.num_workers > 0,
    )
