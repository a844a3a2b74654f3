"""The anatomy of a simulated subject: fractions of the tissues, iron, and the grid they lie on."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from volumetric.imaging.geometry import Space
from volumetric.simulation.fields import smooth_field
from volumetric.simulation.template import Template
from volumetric.simulation.warp import HeadShape, coarse_space, draw_displacement, template_points

TISSUES = ("csf", "gm", "wm")
"""The tissues in the order of their labels 1, 2, 3."""

MARGIN_MM = 10.0
"""Air kept around the brain on every side."""

SHARPNESS = 2.5
"""Power to which the template's probabilities are raised; 1 keeps the blur of an average of 152 subjects."""

FOLDING = ((30.0, 0.5), (8.0, 0.7))
"""(distance between knots in mm, SD) of the log odds that make each subject's sulci wider here and narrower there."""

THICKNESS = (15.0, 0.4)
"""The same for gray against white matter."""

ODDS = (1.3, -0.3, 0.0)
"""Log odds of CSF, GM, WM in every subject: sharpening alone would close the sulci, which are never a majority."""

_POINT_SPREAD_VOX = 0.45
_LEAST_PROBABILITY = np.float32(1e-3)


@dataclass(frozen=True, eq=False)
class Anatomy:
    """The tissues of a subject before any scan.

    Attributes:
        space: grid of shape `(I, J, K)`, RAS, axes parallel to the world's.
        mask: `(I, J, K)` bool, the brain with its fluid.
        fractions: `(3, N)` CSF, GM, WM in each of the mask's voxels, summing to 1.
        iron: `(N,)` mg per 100 g above that of cortex.
        points: `(3, N)` template mm that each voxel comes from.
    """

    space: Space
    mask: NDArray[np.bool_]
    fractions: NDArray[np.float32]
    iron: NDArray[np.float32]
    points: NDArray[np.float32]

    def volume(self, values: NDArray[np.generic]) -> NDArray[np.generic]:
        """Values `(N,)` of the mask's voxels as a volume `(I, J, K)`, 0 outside."""
        volume = np.zeros(self.space.shape, dtype=values.dtype)
        volume[self.mask] = values
        return volume

    def tissues(self) -> NDArray[np.uint8]:
        """Label map `(I, J, K)`: 1 CSF, 2 GM, 3 WM by the largest fraction, 0 outside the mask."""
        return np.asarray(self.volume((self.fractions.argmax(0) + 1).astype(np.uint8)), dtype=np.uint8)


def make_anatomy(rng: np.random.Generator, shape: HeadShape, template: Template, spacing_mm: float) -> Anatomy:
    """Bend the template into the shape of one subject and make its tissues crisp.

    Args:
        rng: source of the warp and of the folding; the anatomy is the same at every spacing.
        shape: drawn size, turn and ventricles.
        template: the average brain.
        spacing_mm: of the isotropic grid, which holds the brain and a margin of 10 mm.

    Returns:
        The anatomy.
    """
    displacement = draw_displacement(rng, shape, template)
    space = head_space(shape, displacement, template, spacing_mm)
    points = template_points(shape, displacement, space)
    raw = np.stack([_sample(fraction, points, template.space) for fraction in template.fractions])
    mask = _largest(raw.sum(0) > 0.5)
    iron = _sample(template.iron, points, template.space)
    fractions = _individual(rng, raw, iron, space)
    blurred = np.stack([ndimage.gaussian_filter(f * mask, _POINT_SPREAD_VOX)[mask] for f in fractions])
    return Anatomy(space, mask, blurred / blurred.sum(0), iron[mask], points[:, mask])


def head_space(shape: HeadShape, displacement: NDArray[np.float32], template: Template, spacing_mm: float) -> Space:
    """The smallest grid that holds the bent brain with a margin, centered on it.

    Args:
        shape: the head's size and turn.
        displacement: of `draw_displacement`.
        template: the average brain.
        spacing_mm: of the isotropic grid.

    Returns:
        RAS, axes parallel to the world's, world 0 near the anterior commissure.
    """
    coarse = coarse_space()
    brain = _sample(template.fractions.sum(0), template_points(shape, displacement, coarse), template.space) > 0.5
    voxels = np.argwhere(brain)
    low = coarse.affine[:3, :3] @ voxels.min(0) + coarse.affine[:3, 3] - MARGIN_MM
    high = coarse.affine[:3, :3] @ voxels.max(0) + coarse.affine[:3, 3] + MARGIN_MM
    i, j, k = (int(n) for n in np.ceil((high - low) / spacing_mm) + 1)
    affine = np.diag([spacing_mm, spacing_mm, spacing_mm, 1.0])
    affine[:3, 3] = np.round((low + high) / 2 - spacing_mm * (np.array([i, j, k]) - 1) / 2, 3)
    return Space((i, j, k), affine)


def _individual(
    rng: np.random.Generator, raw: NDArray[np.float32], iron: NDArray[np.float32], space: Space
) -> NDArray[np.float32]:
    """Fractions of one subject from the average's: probabilities to a power, with odds that vary between subjects.

    In the nuclei the average's mixture of gray and white is kept, for that is what they are: with it the
    putamen's T1 comes out as measured (1084 ms at 1.5 T and 1332 ms at 3 T, Wright et al. 2008).
    """
    nuclei = np.clip(iron / 1.5, 0, 1)
    power = SHARPNESS - (SHARPNESS - 1) * nuclei
    fluid = ODDS[0] + sum(sd * smooth_field(rng, space, knots_mm) for knots_mm, sd in FOLDING)
    gray = ODDS[1] + THICKNESS[1] * smooth_field(rng, space, THICKNESS[0])
    odds = np.log(np.maximum(raw, _LEAST_PROBABILITY)) * power
    odds[0] += fluid
    odds[1] += gray * (1 - nuclei)
    fractions = np.exp(odds - odds.max(0))
    return np.asarray(fractions / fractions.sum(0), dtype=np.float32)


def _sample(volume: NDArray[np.float32], points: NDArray[np.float32], space: Space) -> NDArray[np.float32]:
    """Values at points `(3, ...)` in mm by linear interpolation, 0 beyond the volume."""
    origin = space.affine[:3, 3].astype(np.float32).reshape(3, *[1] * (points.ndim - 1))
    spacing = space.spacing_mm.astype(np.float32).reshape(origin.shape)
    sampled = ndimage.map_coordinates(volume, (points - origin) / spacing, order=1, mode="grid-constant")
    return np.asarray(sampled, dtype=np.float32)


def _largest(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    labels, num = ndimage.label(mask)
    return np.asarray(labels == 1 + np.bincount(labels.ravel())[1:].argmax() if num > 1 else mask, dtype=np.bool_)
