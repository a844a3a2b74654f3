"""Training the plain way, as MONAI's tutorials do it: cached volumes, random crops, an eager network, no averaging."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
from monai.data import CacheDataset, DataLoader, list_data_collate
from monai.losses import SSIMLoss
from monai.transforms import (
    Compose,
    EnsureChannelFirstd,
    LoadImaged,
    NormalizeIntensityd,
    RandFlipd,
    RandSpatialCropSamplesd,
)
from torch import Tensor, nn

from volumetric.config.run import RunConfig
from volumetric.model.networks import build_network

PAIR = ["source", "target"]


def train_steps(pairs: Sequence[tuple[Path, Path]], config: RunConfig, num_steps: int) -> Iterator[float]:
    """Yields the loss of each step; sources and targets are brain-extracted and at the model's spacing."""
    torch.manual_seed(config.seed)
    transform = Compose(
        [
            LoadImaged(PAIR),
            EnsureChannelFirstd(PAIR),
            NormalizeIntensityd(PAIR, nonzero=True),
            RandSpatialCropSamplesd(PAIR, config.patch.size, config.patch.num_per_volume, random_size=False),
            *(RandFlipd(PAIR, 0.5, axis) for axis in range(3)),
        ]
    )
    files = [{"source": str(source), "target": str(target)} for source, target in pairs]
    dataset = CacheDataset(files, transform, progress=False)
    volumes_a_step = config.patch.batch_size // config.patch.num_per_volume
    network = build_network(config.network, 1)
    optimizer = torch.optim.AdamW(network.parameters(), lr=config.optim.lr, weight_decay=config.optim.weight_decay)
    step = 0
    while True:
        for batch in DataLoader(dataset, volumes_a_step, shuffle=True, collate_fn=list_data_collate):
            if step == num_steps:
                return
            optimizer.zero_grad()
            loss = plain_loss(batch["target"].as_tensor(), network(batch["source"].as_tensor()))
            loss.backward()
            nn.utils.clip_grad_norm_(network.parameters(), config.optim.clip_norm)
            optimizer.step()
            step += 1
            yield loss.item()


def plain_loss(target: Tensor, prediction: Tensor, data_range: float = 4.0) -> Tensor:
    """L1 and 1 - SSIM in a uniform window of 7 voxels, in equal parts."""
    ssim = SSIMLoss(spatial_dims=3, data_range=data_range, kernel_type="uniform", win_size=7)
    return nn.functional.l1_loss(prediction, target) + ssim(prediction, target)
