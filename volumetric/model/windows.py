"""Covering a volume with overlapping windows and stitching a function's result of each."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from volumetric.imaging.geometry import Shape, Slices
from volumetric.machine import memory_bytes

_SIGMA = 0.125  # of the importance map, as a fraction of the window; the value of nnU-Net and MONAI
_FLOOR = 1e-3  # least weight, so that the corner of a lone window still counts
_SHARED_STRIDES = 2
_MOST_PER_AXIS = 8


@dataclass(frozen=True)
class WindowPlan:
    """Windows of one size that together cover a volume.

    One axis of length 10, windows of 6, overlap 0.5 (a step of 3):

        0 1 2 3 4 5 . . . .
        . . . 3 4 5 6 7 8 .
        . . . . 4 5 6 7 8 9      the last one is moved in, so that nothing sticks out

    Attributes:
        size: voxels of a window.
        padded: shape of the volume after padding at the far ends up to at least one window.
        starts: first voxel of each window.
    """

    size: Shape
    padded: Shape
    starts: tuple[Shape, ...]

    def windows(self) -> Iterator[Slices]:
        """The windows as slices of the padded volume."""
        for start in self.starts:
            box = [slice(first, first + length) for first, length in zip(start, self.size, strict=True)]
            yield box[0], box[1], box[2]


def plan_windows(mask: NDArray[np.bool_], size: Shape, overlap: float) -> WindowPlan:
    """Windows that cover every true voxel of a mask; windows without one are left out.

    Args:
        mask: `(I, J, K)`.
        size: voxels of a window.
        overlap: fraction of a window shared with the next, `0 <= overlap < 1`.

    Raises:
        ValueError: an overlap outside of that.
    """
    if not 0 <= overlap < 1:
        raise ValueError(f"expected 0 <= overlap < 1, got {overlap}")
    return _covering(mask, size, [side - max(1, round(side * (1 - overlap))) for side in size])


def plan_whole(shape: Shape, stride: int) -> WindowPlan:
    """One window over a volume of a shape, its sides rounded up to multiples of a network's stride."""
    i, j, k = (-(-side // stride) * stride for side in shape)
    return WindowPlan((i, j, k), (i, j, k), ((0, 0, 0),))


def most_voxels(width: int, device: torch.device) -> int:
    """Largest window, in voxels, for a network of `width` channels at full resolution.

    It may take a quarter of the machine's memory, or half of the GPU's, at 20 bytes a voxel and channel: eager torch
    took 20 of the residual U-Net's activations at 128 voxels a side in float32, OpenVINO 11.
    """
    on_gpu = device.type == "cuda"
    room = torch.cuda.get_device_properties(device).total_memory / 2 if on_gpu else memory_bytes() / 4
    return int(room / (20 * width))


def plan_large(mask: NDArray[np.bool_], stride: int, limit: int) -> WindowPlan | None:
    """The windows of one size, multiples of the stride, that cover a mask with the least work.

    Neighbors share two strides. From there on a border cannot be seen: for a network of stride 16, the seam index
    is 0.28 above that of one pass without any overlap, 0.02 with one stride and 0.007 with two.

    Args:
        mask: `(I, J, K)`.
        stride: of the network; sides are multiples of it.
        limit: voxels of the largest window.

    Returns:
        The plan, or None where the limit leaves no window that is larger than what it shares.
    """
    shared = _SHARED_STRIDES * stride
    best: tuple[int, Shape] | None = None
    for counts in product(range(1, _MOST_PER_AXIS + 1), repeat=3):
        sides = [
            -(-(side + (count - 1) * shared) // (count * stride)) * stride
            for side, count in zip(mask.shape, counts, strict=True)
        ]
        sound = all(count == 1 or side > shared for side, count in zip(sides, counts, strict=True))
        work = math.prod(sides) * math.prod(counts)
        if sound and math.prod(sides) <= limit and (best is None or work < best[0]):
            best = work, (sides[0], sides[1], sides[2])
    return best and _covering(mask, best[1], (shared, shared, shared))


def stitch(volume: Tensor, plan: WindowPlan, predict: Callable[[Tensor], Tensor]) -> Tensor:
    """Apply `predict` to every window and blend the results with Gaussian weights.

    Args:
        volume: `(C, I, J, K)`, on the device that `predict` wants.
        plan: the windows.
        predict: `(1, C, *size)` -> `(1, D, *size)`.

    Returns:
        float32 `(D, I, J, K)`; 0 where no window lies.
    """
    shape = volume.shape[1:]
    pad = [n for side, length in zip(reversed(plan.padded), reversed(shape), strict=True) for n in (0, side - length)]
    padded = functional.pad(volume, pad)
    if len(plan.starts) == 1 and plan.size == plan.padded:
        return predict(padded[None])[0].float()[:, : shape[0], : shape[1], : shape[2]]
    weight = importance_map(plan.size).to(volume.device)
    weights = torch.zeros(plan.padded, device=volume.device)
    total: Tensor | None = None
    for box in plan.windows():
        result = predict(padded[(slice(None), *box)][None])[0].float()
        if total is None:
            total = torch.zeros((len(result), *plan.padded), device=volume.device)
        total[(slice(None), *box)] += result * weight
        weights[box] += weight
    if total is None:
        raise ValueError("the plan has no window")
    blended = total / weights.clamp_min(torch.finfo(torch.float32).tiny)
    return blended[:, : shape[0], : shape[1], : shape[2]]


def importance_map(size: Sequence[int]) -> Tensor:
    """Gaussian blending weights of a window, `size`, in (0, 1], symmetric about its center."""
    axes = []
    for side in size:
        offset = torch.arange(side, dtype=torch.float64) - (side - 1) / 2
        axes.append(torch.exp(-0.5 * (offset / (_SIGMA * side)) ** 2))
    return torch.einsum("i,j,k->ijk", *axes).float().clamp_min(_FLOOR)


def _covering(mask: NDArray[np.bool_], size: Shape, shared: Sequence[int]) -> WindowPlan:
    """Windows whose neighbors share `shared` voxels along each axis; the last may share more."""
    padded = tuple(max(n, side) for n, side in zip(mask.shape, size, strict=True))
    per_axis = [
        [*range(0, n - side, max(1, side - both)), n - side] for n, side, both in zip(padded, size, shared, strict=True)
    ]
    starts = []
    for i, j, k in product(*per_axis):
        if mask[i : i + size[0], j : j + size[1], k : k + size[2]].any():
            starts.append((i, j, k))
    return WindowPlan(size, (padded[0], padded[1], padded[2]), tuple(starts))
