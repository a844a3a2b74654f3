"""Smooth random fields: numbers that vary slowly over world space, the same on every grid."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import BSpline

from volumetric.imaging.geometry import Space

_REACH_MM = 192.0
"""Fields are defined for world coordinates within this distance of 0 along each axis."""

_RMS_OF_BASIS = math.sqrt(151 / 315)
"""Root of the integral of the squared cubic B-spline over all shifts, along one axis."""


def smooth_field(rng: np.random.Generator, space: Space, knots_mm: float) -> NDArray[np.float32]:
    """A random field of mean 0 and variance 1: a cubic B-spline with independent normal coefficients.

    The coefficients sit on knots in world space, not on voxels, so one generator state gives one field whatever
    the spacing or extent of the grid that it is sampled on. Sum of squares of the cubic B-spline's values is
    151/315 on average along an axis, which the division undoes (Unser, IEEE Signal Process. Mag. 16(6), 1999,
    gives the spline). The slope along one axis has root mean square 1.18 / `knots_mm`.

    Args:
        rng: source of the coefficients; always the same number is drawn.
        space: grid of shape `(I, J, K)` whose axes are parallel to the world's.
        knots_mm: distance between knots in mm; the field is correlated over about this distance.

    Returns:
        `(I, J, K)`, without unit.
    """
    num_knots = 2 * math.ceil(_REACH_MM / knots_mm) + 4
    field = rng.standard_normal((num_knots,) * 3, dtype=np.float32)
    for axis, coordinates in enumerate(axes_mm(space)):
        basis = _basis(coordinates, knots_mm, num_knots) / np.float32(_RMS_OF_BASIS)
        field = np.moveaxis(np.tensordot(basis, field, axes=(1, axis)), 0, axis)
    return np.ascontiguousarray(field)


def axes_mm(space: Space) -> tuple[NDArray[np.float64], ...]:
    """World coordinates in mm along each axis of a grid that is parallel to the world's axes.

    Returns:
        Three vectors `(I,)`, `(J,)`, `(K,)`.
    """
    return tuple(space.affine[a, 3] + space.affine[a, a] * np.arange(space.shape[a]) for a in range(3))


def _basis(coordinates_mm: NDArray[np.float64], knots_mm: float, num_knots: int) -> NDArray[np.float32]:
    """Value of each basis function at each coordinate, `(N, num_knots)`."""
    # A cubic needs four functions everywhere:  knots  0 1 2 3 | 4 ... n-1 | n n+1 n+2 n+3, in use from knot 3 to n.
    knots = (np.arange(num_knots + 4) - (num_knots + 3) / 2) * knots_mm
    matrix = BSpline.design_matrix(coordinates_mm, knots, 3).toarray()
    return np.asarray(matrix, dtype=np.float32)
