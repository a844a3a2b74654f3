"""White-matter lesions: their places, sizes and tissue."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from volumetric.simulation.anatomy import Anatomy
from volumetric.simulation.fields import smooth_field
from volumetric.simulation.template import Template

MEAN_DEPTH_MM = 10.0
"""Lesions crowd around the ventricles: their density falls by e over this distance from them."""

EVERYWHERE = 0.1
"""Density far from the ventricles / density beside them."""

_ROUGHNESS = 0.25
_ROUGHNESS_MM = 4.0
_RIM = 0.12


@dataclass(frozen=True)
class Lesions:
    """The drawn numbers of a subject's lesions.

    Attributes:
        centers_mm: of each, in template mm.
        radii_mm: of each, along x, y, z.
        t2_ratio: T2 of the lesions / T2 of white matter.
        t1_ratio: the same for T1.
        pd_ratio: the same for proton density.
    """

    centers_mm: tuple[tuple[float, float, float], ...]
    radii_mm: tuple[tuple[float, float, float], ...]
    t2_ratio: float
    t1_ratio: float
    pd_ratio: float


def draw_lesions(rng: np.random.Generator, template: Template) -> Lesions:
    """Draw 2 to 9 lesions of 2 to 5 mm radius in the template's white matter.

    Their T2 is 1.7 to 2.5 times that of white matter. T1 is longer by 6 % and water denser by 4 %, which cancel in
    the T1w image to about the noise: the lesion class that is bright in T2w and isointense in T1w.
    """
    density = EVERYWHERE + np.exp(-template.white_depth / MEAN_DEPTH_MM)
    num = int(rng.integers(2, 10))
    chosen = rng.choice(len(density), size=num, replace=False, p=density / density.sum())
    radii = rng.uniform(2.0, 5.0, (num, 1)) * rng.uniform(0.7, 1.3, (num, 3))
    return Lesions(
        tuple((float(x), float(y), float(z)) for x, y, z in template.white[chosen]),
        tuple((float(x), float(y), float(z)) for x, y, z in radii),
        t2_ratio=float(rng.uniform(1.7, 2.5)),
        t1_ratio=1.06,
        pd_ratio=1.04,
    )


def lesion_fraction(rng: np.random.Generator, lesions: Lesions, anatomy: Anatomy) -> NDArray[np.float32]:
    """Share of each voxel that is lesion.

    Each lesion is an ellipsoid with a rough surface and a soft rim, and replaces white matter only.

    Args:
        rng: source of the roughness.
        lesions: their places and sizes.
        anatomy: of the subject.

    Returns:
        `(N,)` in the mask's voxels, at most the white-matter fraction.
    """
    # log of the relative distance from the nearest center: below 0 inside
    distance = np.full(anatomy.iron.shape, np.inf, dtype=np.float32)
    for center, radii in zip(lesions.centers_mm, lesions.radii_mm, strict=True):
        offset = (anatomy.points - np.array(center, np.float32)[:, None]) / np.array(radii, np.float32)[:, None]
        distance = np.minimum(distance, np.sqrt((offset**2).sum(0)))
    rough = _ROUGHNESS * smooth_field(rng, anatomy.space, _ROUGHNESS_MM)[anatomy.mask]
    outside = np.log(np.maximum(distance, 1e-3)) + rough
    share = 1 / (1 + np.exp(np.clip(outside / _RIM, -30, 30)))
    return np.asarray(share * anatomy.fractions[2], dtype=np.float32)
