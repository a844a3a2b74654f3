"""The scanner along each axis of a grid, as a matrix: point spread, thick slices, ringing, shift."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import erf

from volumetric.simulation.parameters import SimulatedContrast, Triple

_FWHM = 2.3548
_SOFT = 0.15
_SINC_REACH = 5.0


@dataclass(frozen=True)
class PairGrid:
    """An upright grid in the subject's own space, 0 at the brain's center, RAS.

    Attributes:
        origin_mm: center of the first voxel.
        spacing_mm: along each axis.
        shape: number of voxels.
    """

    origin_mm: Triple
    spacing_mm: Triple
    shape: tuple[int, int, int]

    def axes(self) -> list[NDArray[np.float64]]:
        """Positions of the voxels along each axis, mm."""
        return [
            np.asarray(o + s * np.arange(n), np.float64)
            for o, s, n in zip(self.origin_mm, self.spacing_mm, self.shape, strict=True)
        ]


def axis_matrix(
    fine_mm: NDArray[np.float64],
    voxels_mm: NDArray[np.float64],
    *,
    width_mm: float,
    slice_mm: float = 0.0,
    slice_offset: float = 0.0,
    ringing: float = 0.0,
) -> NDArray[np.float32]:
    """Weights from fine samples to voxels along one axis.

    Args:
        fine_mm: positions of the samples, evenly spaced, `(M,)`.
        voxels_mm: positions of the voxels, `(N,)`.
        width_mm: full width at half maximum of the Gaussian point spread.
        slice_mm: thickness and distance of thick slices, between which voxels are interpolated; 0 for none.
        slice_offset: 0 to 1, place of a slice's center between multiples of `slice_mm`.
        ringing: 0 to 1, share of the point spread that is the sinc of k-space cut off at `width_mm`.

    Returns:
        `(N, M)`, each row summing to 1.
    """
    if not slice_mm:
        return _normalized(_spread(fine_mm - voxels_mm[:, None], width_mm, ringing))
    first, last = np.floor(voxels_mm[0] / slice_mm) - 1, np.ceil(voxels_mm[-1] / slice_mm) + 1
    slices_mm = (np.arange(first, last + 1) + slice_offset) * slice_mm
    distance = fine_mm - slices_mm[:, None]
    edge = _SOFT * slice_mm
    acquired = _normalized(erf((distance + slice_mm / 2) / edge) - erf((distance - slice_mm / 2) / edge))
    between = np.maximum(0, 1 - np.abs(voxels_mm[:, None] - slices_mm) / slice_mm)
    return _normalized(between @ acquired)


def _spread(distance_mm: NDArray[np.float64], width_mm: float, ringing: float) -> NDArray[np.float64]:
    gaussian = np.exp(-0.5 * (distance_mm * _FWHM / width_mm) ** 2)
    if not ringing:
        return gaussian
    place = distance_mm / width_mm
    cut = np.sinc(place) * (np.abs(place) < _SINC_REACH)
    return _normalized(gaussian) * (1 - ringing) + _normalized(cut) * ringing


def _normalized(weights: NDArray[np.float64]) -> NDArray[np.float32]:
    """Rows that sum to 1; a row beyond all samples takes the nearest."""
    total = weights.sum(1, keepdims=True)
    return np.asarray(weights / np.where(np.abs(total) < 1e-12, 1, total), dtype=np.float32)


def refined(axis: NDArray[np.float64], spacing_mm: float, times: int, margin_mm: float) -> NDArray[np.float64]:
    """Positions of `times` samples a voxel, symmetric about each voxel's center, over the axis and a margin."""
    step = spacing_mm / times
    margin = int(np.ceil(margin_mm / step))
    first = axis[0] - (spacing_mm - step) / 2
    return np.asarray(first + step * np.arange(-margin, times * len(axis) + margin))


def scan_matrices(
    contrast: SimulatedContrast, fine_axes: Sequence[NDArray[np.float64]], grid: PairGrid
) -> list[NDArray[np.float32]]:
    """The matrix of one scan along each axis of a grid, from fine samples to its voxels."""
    matrices = []
    for a, (fine, axis, spacing) in enumerate(zip(fine_axes, grid.axes(), grid.spacing_mm, strict=True)):
        thick = contrast.slice_mm if a == contrast.thick_axis and contrast.slice_mm > spacing else 0.0
        matrices.append(
            axis_matrix(
                fine,
                axis + contrast.shift_mm[a],
                width_mm=float(np.hypot(contrast.width_mm, spacing)),
                slice_mm=thick,
                slice_offset=contrast.slice_offset,
                ringing=contrast.ringing,
            )
        )
    return matrices


def smoothing_matrix(num: int, sigma_vox: float) -> NDArray[np.float32]:
    """A Gaussian along an axis that keeps the variance of white noise."""
    weights = np.exp(-0.5 * ((np.arange(num)[:, None] - np.arange(num)) / sigma_vox) ** 2)
    return np.asarray(weights / np.sqrt((weights**2).sum(1, keepdims=True)), dtype=np.float32)
