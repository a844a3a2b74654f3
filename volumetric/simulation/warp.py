"""The shape of a head against the template: pose, size, a diffeomorphism, wider or narrower ventricles."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.interpolate import make_interp_spline
from scipy.spatial.transform import Rotation

from volumetric.imaging.geometry import Space
from volumetric.simulation.fields import axes_mm, smooth_field
from volumetric.simulation.template import SLOPE_STRIDE, Template

MEAN_SIZE = 0.90
"""Heads are smaller than the template, which holds 1.89 l; with the warp's share their mean is about 1.42 l."""

VELOCITY_MM = ((60.0, 3.0), (25.0, 1.6), (12.0, 0.9))
"""(distance between knots, root mean square of each component) of the velocity's parts, mm."""

COARSE_MM = 4.0
_COARSE = Space((57, 65, 57), np.array([[4.0, 0, 0, -112], [0, 4, 0, -148], [0, 0, 4, -112], [0, 0, 0, 1]]))
"""The grid on which velocities live, whatever the spacing of the scan: a subject's shape must not depend on it."""


@dataclass(frozen=True)
class HeadShape:
    """The drawn numbers of a head's shape.

    Attributes:
        size: head / template along x, y, z.
        turn_deg: rotation about x, y, z.
        ventricle_flow_mm: greatest speed at which the ventricles' walls move outward over unit time; below 0, inwards.
    """

    size: tuple[float, float, float]
    turn_deg: tuple[float, float, float]
    ventricle_flow_mm: float


def draw_shape(rng: np.random.Generator) -> HeadShape:
    """Draw a head's size (SD 4 % shared, 2 % an axis), its turn (SD 3 degrees) and its ventricles (-3 to 7 mm)."""
    size = MEAN_SIZE * np.exp(rng.normal(0, 0.04) + rng.normal(0, 0.02, 3))
    turn = rng.normal(0, 3, 3)
    return HeadShape(_triple(size), _triple(turn), float(rng.uniform(-3, 7)))


def head_to_template(shape: HeadShape) -> NDArray[np.float64]:
    """The affine part `(4, 4)` of the way from head mm to template mm."""
    to_head = Rotation.from_euler("xyz", shape.turn_deg, degrees=True).as_matrix() * np.asarray(shape.size)
    affine = np.eye(4)
    affine[:3, :3] = np.linalg.inv(to_head)
    return affine


def draw_displacement(rng: np.random.Generator, shape: HeadShape, template: Template) -> NDArray[np.float32]:
    """A displacement whose map is smooth, one-to-one and has a smooth inverse.

    The map is the exponential of a stationary velocity field, by scaling and squaring (Arsigny et al., MICCAI
    2006): x + u = exp(v)(x). The velocity is a sum of random fields and a flow out of the ventricles.

    Args:
        rng: source of the random fields.
        shape: says where the ventricles lie and how fast their walls move.
        template: says what the ventricles are.

    Returns:
        `(3, I, J, K)` mm on the coarse grid, which `template_points` refines.
    """
    velocity = shape.ventricle_flow_mm * _ventricle_flow(shape, template)
    for knots_mm, amplitude_mm in VELOCITY_MM:
        velocity += amplitude_mm * np.stack([smooth_field(rng, _COARSE, knots_mm) for _ in range(3)])
    return exponential(velocity, COARSE_MM)


def exponential(velocity: NDArray[np.float32], spacing_mm: float) -> NDArray[np.float32]:
    """The displacement after unit time of a flow that does not change, by scaling and squaring.

    Args:
        velocity: `(3, I, J, K)` mm per unit time.
        spacing_mm: of the grid, the same along all axes.

    Returns:
        `(3, I, J, K)` mm; beyond the grid its rim goes on.
    """
    fastest_vox = float(np.abs(velocity).max()) / spacing_mm
    # steps of a twentieth voxel make the first-order start exact enough: exp(v / 2^n) = 1 + v / 2^n
    num_squarings = max(0, math.ceil(math.log2(max(fastest_vox, 1e-9) / 0.05)))
    displacement = (velocity / np.float32(spacing_mm * 2**num_squarings)).astype(np.float32)
    grid = np.indices(velocity.shape[1:], dtype=np.float32)
    for _ in range(num_squarings):
        points = grid + displacement
        displacement = displacement + np.stack(
            [ndimage.map_coordinates(d, points, order=1, mode="nearest") for d in displacement]
        )
    return np.asarray(displacement * np.float32(spacing_mm), dtype=np.float32)


def template_points(shape: HeadShape, displacement: NDArray[np.float32], space: Space) -> NDArray[np.float32]:
    """The place in the template that each voxel of a head's grid comes from.

    Args:
        shape: the head's size and turn.
        displacement: of `draw_displacement`.
        space: the head's grid, of shape `(I, J, K)` and parallel to the world's axes.

    Returns:
        `(3, I, J, K)` template mm.
    """
    points = displacement
    for axis, (coarse, fine) in enumerate(zip(axes_mm(_COARSE), axes_mm(space), strict=True)):
        # cubic in each axis, so that the Jacobian has no steps at the coarse voxels' faces
        weights = make_interp_spline(coarse, np.eye(len(coarse)), k=3)(np.clip(fine, coarse[0], coarse[-1]))
        points = np.moveaxis(np.tensordot(weights.astype(np.float32), points, axes=(1, axis + 1)), 0, axis + 1)
    points = points + np.stack(np.meshgrid(*axes_mm(space), indexing="ij")).astype(np.float32)
    affine = head_to_template(shape).astype(np.float32)
    return np.asarray(np.tensordot(affine[:3, :3], points, axes=1) + affine[:3, 3].reshape(3, 1, 1, 1))


def jacobian_determinant(points: NDArray[np.float32], spacing_mm: float) -> NDArray[np.float64]:
    """Volume of template per volume of head, by central differences.

    Args:
        points: `(3, I, J, K)` mm.
        spacing_mm: of the grid, the same along all axes.

    Returns:
        `(I, J, K)`; above 0 everywhere if the map folds nowhere.
    """
    slopes = np.stack([np.stack(np.gradient(p.astype(np.float64), spacing_mm)) for p in points])
    return np.asarray(np.linalg.det(np.moveaxis(slopes, (0, 1), (-2, -1))))


def _ventricle_flow(shape: HeadShape, template: Template) -> NDArray[np.float32]:
    """Velocity `(3, I, J, K)` on the coarse grid that carries points toward the ventricles, greatest speed 1 mm.

    Toward and not away, because the map goes from head to template: what a head shows outside the template's
    ventricle must come from inside it for the ventricle to be wider.
    """
    to_template = head_to_template(shape)
    grid = np.stack(np.meshgrid(*axes_mm(_COARSE), indexing="ij"))
    points = np.tensordot(to_template[:3, :3], grid, axes=1) - template.space.affine[:3, 3].reshape(3, 1, 1, 1)
    points /= SLOPE_STRIDE * template.space.spacing_mm.reshape(3, 1, 1, 1)
    flow = np.stack([ndimage.map_coordinates(s, points, order=1, mode="constant") for s in template.ventricle_slope])
    turned = np.tensordot(np.linalg.inv(to_template[:3, :3]), flow, axes=1)
    return np.asarray(turned, dtype=np.float32)


def coarse_space() -> Space:
    """The grid on which displacements are given."""
    return _COARSE


def _triple(values: NDArray[np.float64]) -> tuple[float, float, float]:
    x, y, z = (float(v) for v in values)
    return x, y, z
