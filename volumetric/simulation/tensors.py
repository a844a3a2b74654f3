"""Smooth fields, warps and noise as torch tensors: the same on a CPU and on a GPU."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import grid_sample

REACH_MM = 160.0
"""Fields are defined within this distance of 0 along each axis; beyond, their rim goes on."""

_RMS_OF_BASIS = math.sqrt(151 / 315)  # of the cubic B-spline along one axis; `fields` says more
Axes = Sequence[NDArray[np.float64]]


@dataclass(frozen=True, eq=False)
class SmoothField:
    """Random fields of mean 0 and variance 1, cubic B-splines with normal coefficients on knots in space.

    Attributes:
        coefficients: `(C, N, N, N)`.
        knots_mm: distance between knots; the field is correlated over about this distance.
    """

    coefficients: Tensor
    knots_mm: float

    @classmethod
    def draw(cls, rng: np.random.Generator, channels: int, knots_mm: float, device: torch.device) -> SmoothField:
        """Draw the coefficients with numpy, so that they are the same on every device."""
        num = 2 * math.ceil(REACH_MM / knots_mm) + 4
        drawn = rng.standard_normal((channels, num, num, num), dtype=np.float32)
        return cls(torch.from_numpy(drawn).to(device), knots_mm)

    def channel(self, place: int) -> SmoothField:
        """One of the fields."""
        return SmoothField(self.coefficients[place : place + 1], self.knots_mm)

    def on(self, axes: Axes) -> Tensor:
        """Values `(C, I, J, K)` on the grid of three axes in mm."""
        num = self.coefficients.shape[1]
        return along_axes(self.coefficients, [_spline_basis(axis, self.knots_mm, num) for axis in axes])


def along_axes(volume: Tensor, matrices: Sequence[NDArray[np.float32]]) -> Tensor:
    """A matrix `(N, M)` applied along each of the last three axes of `(C, M0, M1, M2)`."""
    used = [_columns(matrix) for matrix in matrices]
    volume = volume[(slice(None), *used)].contiguous()
    first, second, third = (
        torch.from_numpy(np.ascontiguousarray(matrix[:, columns])).to(volume.device)
        for matrix, columns in zip(matrices, used, strict=True)
    )
    volume = volume @ third.T
    volume = second @ volume
    channels, _, *rest = volume.shape
    return (first @ volume.flatten(2)).reshape(channels, len(first), *rest)


def _columns(matrix: NDArray[np.float32]) -> slice:
    """The range of columns that are not all 0."""
    used = np.flatnonzero(matrix.any(0))
    return slice(int(used[0]), int(used[-1]) + 1)


def hat_matrix(axis_mm: NDArray[np.float64], first_mm: float, spacing_mm: float, num: int) -> NDArray[np.float32]:
    """Linear interpolation from `num` evenly spaced samples to positions, `(N, num)`; beyond them the rim goes on."""
    place = np.clip((axis_mm - first_mm) / spacing_mm, 0, num - 1)
    return np.asarray(np.maximum(0, 1 - np.abs(place[:, None] - np.arange(num))), dtype=np.float32)


def integrate(velocity: Tensor, spacing_mm: float) -> Tensor:
    """The displacement after unit time of a steady flow, by scaling and squaring (Arsigny et al., MICCAI 2006).

    Args:
        velocity: `(3, I, J, K)` mm per unit time, on a grid of that spacing.
        spacing_mm: of the grid.

    Returns:
        `(3, I, J, K)` mm.
    """
    fastest_vox = float(velocity.abs().max()) / spacing_mm
    num_squarings = max(0, math.ceil(math.log2(max(fastest_vox, 1e-9) / 0.1)))
    shape = velocity.shape[1:]
    axes = [torch.linspace(-1, 1, n, device=velocity.device) for n in shape]
    grid = torch.stack(torch.meshgrid(*axes, indexing="ij"))
    # grid_sample counts a whole axis as 2, and takes the last axis first
    half = torch.tensor([(n - 1) / 2 for n in shape], device=velocity.device).reshape(3, 1, 1, 1)
    displacement: Tensor = velocity / (spacing_mm * 2**num_squarings) / half
    for _ in range(num_squarings):
        places = (grid + displacement).flip(0).movedim(0, -1)[None]
        moved = grid_sample(displacement[None], places, padding_mode="border", align_corners=True)
        displacement = displacement + moved[0]
    return displacement * half * spacing_mm


def noise(seed: int, shape: Sequence[int], device: torch.device) -> Tensor:
    """White noise of mean 0 and variance 1, the same bits on every device: a hash of the voxel's number.

    The sum of the hash's four bytes: nearly normal (excess kurtosis -0.3), within 3.5 SD. The hash is `lowbias32` of
    Chris Wellons' search for functions with little bias.
    """
    x = torch.arange(math.prod(shape), dtype=torch.int32, device=device) ^ _signed(seed * 2654435761)
    for shift, factor in ((16, 0x7FEB352D), (15, 0x846CA68B)):
        x = (x ^ _shifted(x, shift)) * _signed(factor)
    x = x ^ _shifted(x, 16)
    total = sum(_shifted(x, shift) & 255 for shift in (0, 8, 16, 24))
    assert isinstance(total, Tensor)
    return ((total.to(torch.float32) - 510) / math.sqrt(4 * (256**2 - 1) / 12)).reshape(tuple(shape))


def _signed(number: int) -> int:
    """A 32-bit number as int32 holds it."""
    return (number + 2**31) % 2**32 - 2**31


def _shifted(x: Tensor, bits: int) -> Tensor:
    """Logical right shift of int32, whose own shift keeps the sign."""
    return (x >> bits) & ((1 << (32 - bits)) - 1) if bits else x


def _spline_basis(axis_mm: NDArray[np.float64], knots_mm: float, num: int) -> NDArray[np.float32]:
    """Value of each cubic B-spline at each position, `(N, num)`, scaled so that fields have variance 1."""
    place = np.clip(axis_mm / knots_mm + (num - 1) / 2, 1, num - 2)
    distance = np.abs(place[:, None] - np.arange(num))
    near, far = 2 / 3 - distance**2 + distance**3 / 2, np.maximum(2 - distance, 0) ** 3 / 6
    return (np.where(distance < 1, near, far) / _RMS_OF_BASIS).astype(np.float32)
