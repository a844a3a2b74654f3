"""A label map made ready for simulation: tissues on upright axes, and the distances that shape and mask need."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from volumetric.imaging.geometry import Slices, Space, bounding_box, crop, flips_to_ras, widened
from volumetric.imaging.nifti import Image
from volumetric.simulation.label_table import LabelTable, LabelTableError
from volumetric.simulation.tissues import IN_BRAIN, NUMBER, TISSUES

STEPS_PER_MM = 8
"""Distances are kept as int8 in eighths of a millimeter, so up to 15.9 mm either way."""

SLOPE_MM = 4.0
"""Spacing of `LabelMap.ventricle_slope`."""

_MARGIN_MM = 16.0
_FARTHEST = 127
_CLOSING_MM = 6.0
_SHELL_MM = 4.0
_SMOOTHING_MM = 0.6
_VENTRICLE_SMOOTHING_MM = 5.0
_LESION_DEPTH_MM = 10.0
_MAX_SITES = 20_000
_WITHIN_SKULL = ("air", "dura", "optic_nerve")
_IS_SCALP = np.array([tissue.region == "outside" and name not in _WITHIN_SKULL for name, tissue in TISSUES.items()])
_FLUID, _DURA, _AIR, _VENTRICLE = (NUMBER[name] for name in ("fluid", "dura", "air", "ventricle"))


@dataclass(frozen=True, eq=False)
class LabelMap:
    """The anatomy that a label map gives to simulated subjects.

    Attributes:
        space: grid of shape `(I, J, K)`, RAS axes, cropped to the head.
        tissues: uint8 `(I, J, K)`, places in `tissues.NAMES`.
        cortex_distance: int8 `(I, J, K)`, from the surface of the solid brain, negative inside, `STEPS_PER_MM`.
        hull_distance: int8 `(I, J, K)`, the same from the surface of the brain with its sulci closed.
        center_mm: world mm of the brain's center.
        ventricle_slope: float32 `(3, I', J', K')` gradient of the smoothed ventricles each 4 mm, longest 1.
        lesion_sites: int32 `(N, 3)` voxels of white matter, where lesions may begin.
        lesion_odds: float64 `(N,)` probabilities, larger near the ventricles.
    """

    space: Space
    tissues: NDArray[np.uint8]
    cortex_distance: NDArray[np.int8]
    hull_distance: NDArray[np.int8]
    center_mm: NDArray[np.float64]
    ventricle_slope: NDArray[np.float32]
    lesion_sites: NDArray[np.int32]
    lesion_odds: NDArray[np.float64]

    @property
    def has_head(self) -> bool:
        """True if there is anything outside the brain and its fluid."""
        return bool(_IS_SCALP[self.tissues].any())


def prepare_label_map(image: Image, table: LabelTable, *, name: str) -> LabelMap:
    """Make a label map ready.

    Sulci that a map of the brain alone leaves empty become fluid, and a thin shell around it dura.

    Args:
        image: whole numbers `(I, J, K)`, any orientation.
        table: label -> tissue.
        name: of the map, for messages.

    Raises:
        LabelTableError: labels that the table does not know, or no brain.
    """
    flips = flips_to_ras(image.affine)
    space, tissues = flips.apply_to_space(image.space), table.tissues(flips.apply(image.array), name=name)
    if not IN_BRAIN[tissues].any():
        raise LabelTableError(f"{name}: no voxel is brain by the table `{table.name}`; choose another --table")
    margin = np.ceil(_MARGIN_MM / space.spacing_mm).astype(int)
    tissues = np.pad(tissues, [(m, m) for m in margin])
    space = crop(space, tuple(slice(-m, n + m) for m, n in zip(margin, space.shape, strict=True)))  # type: ignore[arg-type]
    box = widened(bounding_box(tissues != _AIR), tissues.shape, margin)
    tissues, space = np.ascontiguousarray(tissues[box]), crop(space, box)
    solid = IN_BRAIN[tissues]
    brain = widened(bounding_box(solid), solid.shape, margin)
    hull = np.zeros(solid.shape, bool)
    hull[brain] = _closed((solid | (tissues == _VENTRICLE))[brain], space)
    hull_distance = _signed_distance(hull, brain, space)
    empty = tissues == _AIR
    tissues[empty & (hull_distance <= 0)] = _FLUID
    tissues[empty & (hull_distance > 0) & (hull_distance < _SHELL_MM * STEPS_PER_MM)] = _DURA
    sites, odds = lesion_sites(tissues, space)
    return LabelMap(
        space,
        tissues,
        _signed_distance(solid, brain, space, smoothing_mm=_SMOOTHING_MM),
        hull_distance,
        space.affine[:3, :3] @ np.argwhere(hull).mean(0) + space.affine[:3, 3],
        _ventricle_slope(tissues, space),
        sites,
        odds,
    )


def _closed(solid: NDArray[np.bool_], space: Space) -> NDArray[np.bool_]:
    """The brain with its sulci and holes filled: a closing by a ball, by distances."""
    reach = ndimage.distance_transform_edt(~solid, sampling=space.spacing_mm) <= _CLOSING_MM
    closed = ndimage.distance_transform_edt(reach, sampling=space.spacing_mm) > _CLOSING_MM
    return np.asarray(ndimage.binary_fill_holes(closed | solid), dtype=np.bool_)


def _signed_distance(
    inside: NDArray[np.bool_], brain: Slices, space: Space, *, smoothing_mm: float = 0.0
) -> NDArray[np.int8]:
    """Distance from the surface of a mask in `STEPS_PER_MM`, the largest outside the box of the brain.

    The surface lies half a voxel beyond the last voxel.
    """
    own, half = inside[brain], space.spacing_mm.mean() / 2
    outer = ndimage.distance_transform_edt(~own, sampling=space.spacing_mm).astype(np.float32)
    inner = ndimage.distance_transform_edt(own, sampling=space.spacing_mm).astype(np.float32)
    distance = np.where(own, half - inner, outer - half)
    if smoothing_mm:
        distance = ndimage.gaussian_filter(distance, smoothing_mm / space.spacing_mm)
    steps = np.full(inside.shape, _FARTHEST, np.int8)
    steps[brain] = np.clip(np.rint(distance * STEPS_PER_MM), -_FARTHEST, _FARTHEST)
    return steps


def _ventricle_slope(tissues: NDArray[np.uint8], space: Space) -> NDArray[np.float32]:
    smooth = ndimage.gaussian_filter(
        (tissues == _VENTRICLE).astype(np.float32), _VENTRICLE_SMOOTHING_MM / space.spacing_mm
    )
    stride = np.maximum(1, np.rint(SLOPE_MM / space.spacing_mm)).astype(int)
    slope = np.stack(np.gradient(smooth[:: stride[0], :: stride[1], :: stride[2]]))
    return np.asarray(slope / max(float(np.sqrt((slope**2).sum(0)).max()), 1e-6), dtype=np.float32)


def lesion_sites(tissues: NDArray[np.uint8], space: Space) -> tuple[NDArray[np.int32], NDArray[np.float64]]:
    """Voxels of white matter `(N, 3)`, of any brain where there is none, and their odds `(N,)`, of sum 1.

    Args:
        tissues: places in `tissues.NAMES`, `(I, J, K)`, brain among them.
        space: their grid.
    """
    white = tissues == NUMBER["white_matter"]
    if not white.any():
        white = IN_BRAIN[tissues]
    ventricle = tissues == _VENTRICLE
    sites = np.asarray(np.argwhere(white), np.int32)
    sites = sites[:: max(1, len(sites) // _MAX_SITES)]
    depth = np.full(len(sites), 3 * _LESION_DEPTH_MM)
    if ventricle.any():
        box = bounding_box(white | ventricle)
        distance = ndimage.distance_transform_edt(~ventricle[box], sampling=space.spacing_mm)
        depth = distance[tuple(sites.T - np.array([[s.start] for s in box]))]
    odds = 0.1 + np.exp(-depth / _LESION_DEPTH_MM)
    return sites, np.asarray(odds / odds.sum(), np.float64)
