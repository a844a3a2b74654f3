"""Grids of voxels in world space, as pure functions of shapes and affines."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

Shape = tuple[int, int, int]
Slices = tuple[slice, slice, slice]


@dataclass(frozen=True, eq=False)
class Space:
    """A grid of voxels in the world.

    Attributes:
        shape: number of voxels `(I, J, K)`.
        affine: `(4, 4)` voxel index -> world mm (RAS+).
    """

    shape: Shape
    affine: NDArray[np.float64]

    @property
    def spacing_mm(self) -> NDArray[np.float64]:
        """Millimeters per voxel along each axis, `(3,)`: the column norms of the affine."""
        return spacing_mm(self.affine)


@dataclass(frozen=True)
class Flips:
    """Permutation and reversals of a scan's axes to those nearest RAS; exact, no interpolation.

    Attributes:
        order: axis of the scan that becomes axis 0, 1, 2.
        reversed: whether that axis is reversed.
    """

    order: tuple[int, int, int]
    reversed: tuple[bool, bool, bool]

    def apply(self, array: NDArray[Any]) -> NDArray[Any]:
        """The array `(I, J, K)` with its axes in RAS order (a view)."""
        return array.transpose(self.order)[tuple(slice(None, None, -1 if r else 1) for r in self.reversed)]

    def invert(self, array: NDArray[Any]) -> NDArray[Any]:
        """Undo `apply` (a view)."""
        back = array[tuple(slice(None, None, -1 if r else 1) for r in self.reversed)]
        return back.transpose(tuple(int(axis) for axis in np.argsort(self.order)))

    def apply_to_space(self, space: Space) -> Space:
        """The grid of `apply`'s result: every voxel keeps its place in the world."""
        columns = space.affine[:3, list(self.order)]
        shape = tuple(space.shape[axis] for axis in self.order)
        last = np.array([n - 1 if r else 0 for n, r in zip(shape, self.reversed, strict=True)])
        affine = np.eye(4)
        affine[:3, :3] = columns * np.where(self.reversed, -1.0, 1.0)
        affine[:3, 3] = space.affine[:3, 3] + columns @ last
        return Space((shape[0], shape[1], shape[2]), affine)


def spacing_mm(affine: NDArray[np.float64]) -> NDArray[np.float64]:
    """Millimeters per voxel along each axis, `(3,)`."""
    norms: NDArray[np.float64] = np.linalg.norm(affine[:3, :3], axis=0)
    return norms


def flips_to_ras(affine: NDArray[np.float64]) -> Flips:
    """The flips that turn the axes of `affine` to those nearest right, anterior, superior.

    An oblique scan stays oblique: only whole axes are exchanged or reversed.
    """
    codes = nib.orientations.io_orientation(affine)  # row a: which RAS axis scan axis a is, and its sign
    order = np.argsort(codes[:, 0])
    reverse = codes[order, 1] < 0
    return Flips((int(order[0]), int(order[1]), int(order[2])), (bool(reverse[0]), bool(reverse[1]), bool(reverse[2])))


def same_space(a: Space, b: Space, *, tolerance_mm: float = 1e-2) -> bool:
    """True for grids of equal shape whose corners lie within `tolerance_mm` of one another."""
    if a.shape != b.shape:
        return False
    corners = np.array(np.meshgrid(*[[0, n - 1] for n in a.shape])).reshape(3, -1)
    apart = (a.affine - b.affine)[:3, :3] @ corners + (a.affine - b.affine)[:3, 3:]
    return bool(np.linalg.norm(apart, axis=0).max() <= tolerance_mm)


def with_spacing(space: Space, target_mm: tuple[float, float, float]) -> Space:
    """The grid of another spacing that covers the same box: same axes, same center.

    The number of voxels is rounded up, so the new grid may reach over the old one by less than a voxel:

        old  |--0--|--1--|--2--|--3--|--4--|      5 x 1 mm
        new |----0----|----1----|----2----|       3 x 2 mm, centered on the same point
    """
    old_mm, new_mm = space.spacing_mm, np.asarray(target_mm, dtype=np.float64)
    # A header's float32 leaves 4 mm as 4.0000002: a thousandth of a voxel is no voxel more.
    shape = np.ceil(np.array(space.shape) * old_mm / new_mm - 1e-3).astype(int)
    affine = np.eye(4)
    affine[:3, :3] = space.affine[:3, :3] / old_mm * new_mm
    center = space.affine[:3, :3] @ ((np.array(space.shape) - 1) / 2) + space.affine[:3, 3]
    affine[:3, 3] = center - affine[:3, :3] @ ((shape - 1) / 2)
    return Space((int(shape[0]), int(shape[1]), int(shape[2])), affine)


def transform_points(matrix: NDArray[np.float64], points: NDArray[Any]) -> NDArray[np.float64]:
    """Points `(N, 3)` through a matrix `(4, 4)`."""
    return np.asarray(points @ matrix[:3, :3].T + matrix[:3, 3], dtype=np.float64)


def inverse(matrix: NDArray[np.float64]) -> NDArray[np.float64]:
    """The inverse of a matrix `(4, 4)`."""
    return np.asarray(np.linalg.inv(matrix), dtype=np.float64)


def moved(space: Space, matrix: NDArray[np.float64]) -> Space:
    """The grid carried along by a world-to-world matrix `(4, 4)`.

    An image registered by `fixed_to_moving` lies on `moved(image, inverse(fixed_to_moving))` in the fixed world.
    """
    return Space(space.shape, matrix @ space.affine)


def mask_points(space: Space, mask: NDArray[np.bool_], *, most: int = 20_000) -> NDArray[np.float64]:
    """World coordinates of voxels of a mask, evenly thinned to at most about `most`: `(N, 3)` mm."""
    voxels = np.argwhere(mask)
    voxels = voxels[:: max(1, len(voxels) // most)]
    return transform_points(space.affine, voxels)


def displacement_mm(matrix: NDArray[np.float64], points: NDArray[np.float64]) -> float:
    """Mean displacement in mm of points `(N, 3)` by a world-to-world matrix."""
    return float(np.linalg.norm(transform_points(matrix, points) - points, axis=1).mean())


def rotation_deg(matrix: NDArray[np.float64]) -> float:
    """The angle of a world-to-world matrix's rotation, 0 to 180; of an affine one, that of the nearest rotation."""
    u, _, v = np.linalg.svd(matrix[:3, :3])
    return float(np.rad2deg(np.arccos(np.clip((np.trace(u @ v) - 1) / 2, -1, 1))))


def overlap(space: Space, points: NDArray[np.float64]) -> float:
    """The share of points `(N, 3)` mm that lie inside a grid, 0 to 1."""
    voxels = transform_points(inverse(space.affine), points)
    return float(((voxels >= -0.5) & (voxels <= np.array(space.shape) - 0.5)).all(axis=1).mean())


def bounding_box(mask: NDArray[np.bool_]) -> Slices:
    """The smallest box that holds every true voxel of `mask` `(I, J, K)`.

    Raises:
        ValueError: the mask is empty.
    """
    if not mask.any():
        raise ValueError("an empty mask has no bounding box")
    slices = []
    for axis in range(3):
        hits = np.flatnonzero(mask.any(axis=tuple(other for other in range(3) if other != axis)))
        slices.append(slice(int(hits[0]), int(hits[-1]) + 1))
    return slices[0], slices[1], slices[2]


def widened(box: Slices, shape: Shape, margin_vox: NDArray[np.int64]) -> Slices:
    """A box with `margin_vox` more voxels on both sides of each axis, as far as the grid reaches."""
    i, j, k = (
        slice(max(0, s.start - int(m)), min(n, s.stop + int(m))) for s, n, m in zip(box, shape, margin_vox, strict=True)
    )
    return i, j, k


def crop(space: Space, box: Slices) -> Space:
    """The grid of `array[box]`."""
    start = np.array([s.start for s in box])
    affine = space.affine.copy()
    affine[:3, 3] += affine[:3, :3] @ start
    return Space((box[0].stop - box[0].start, box[1].stop - box[1].start, box[2].stop - box[2].start), affine)
