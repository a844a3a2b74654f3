"""One simulated subject from drawn numbers to a pair of scans: anatomy, signal, shading, noise, scale."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from volumetric.imaging.geometry import Space
from volumetric.simulation.anatomy import TISSUES, Anatomy, make_anatomy
from volumetric.simulation.artifacts import bias_field, draw_scale, rician
from volumetric.simulation.fields import smooth_field
from volumetric.simulation.lesions import Lesions, draw_lesions, lesion_fraction
from volumetric.simulation.signal import (
    IRON_RATE,
    PROTOCOLS,
    R2_PRIME,
    Protocol,
    Relaxation,
    draw_tissues,
    mixed_magnitude,
)
from volumetric.simulation.template import Template
from volumetric.simulation.warp import HeadShape, draw_shape

FIELD_STRENGTHS = (1.5, 3.0)

REGION_MM = 20.0
"""Relaxation differs between regions of one tissue; the regions are about this large."""

REGION_SD = (0.05, 0.04)
"""SD of the logarithm of T1 and of T2 between regions of one tissue, drawn apart.

With `SPREAD` it makes the 6 to 7 % of T1 that Wright 2008 finds over subjects and regions together; cortical T2 differs
by region too (Georgiades et al. 2001). How the spread splits is a choice of this simulation.
"""


@dataclass(frozen=True)
class ScanParameters:
    """The drawn numbers of one contrast's scan.

    Attributes:
        protocol: the sequence and its times.
        bias: SD of the logarithm of the shading.
        noise: SD of either channel's noise / median of the brain's signal.
        scale: arbitrary factor on the whole image.
    """

    protocol: Protocol
    bias: float
    noise: float
    scale: float


@dataclass(frozen=True)
class SubjectParameters:
    """Every number drawn for one subject; the images follow from these and the random fields.

    Attributes:
        shape: of the head.
        field_strength: tesla.
        tissues: the constants of CSF, GM, WM.
        iron_ratio: iron in the nuclei / the literature's means.
        lesions: places, sizes and tissue.
        t1w: parameters of the T1w scan.
        t2w: parameters of the T2w scan.
    """

    shape: HeadShape
    field_strength: float
    tissues: dict[str, Relaxation]
    iron_ratio: float
    lesions: Lesions
    t1w: ScanParameters
    t2w: ScanParameters


@dataclass(frozen=True, eq=False)
class SimulatedScan:
    """The images of a simulated subject, all `(I, J, K)` on one grid.

    Attributes:
        space: the grid.
        t1w: float32, arbitrary units, 0 outside the mask.
        t2w: the same.
        mask: bool, the brain with its fluid.
        tissues: uint8, 1 CSF, 2 GM, 3 WM by the largest fraction, 0 outside the mask; lesions count as WM.
        lesions: bool, more than half lesion.
    """

    space: Space
    t1w: NDArray[np.float32]
    t2w: NDArray[np.float32]
    mask: NDArray[np.bool_]
    tissues: NDArray[np.uint8]
    lesions: NDArray[np.bool_]


def draw_subject(rng: np.random.Generator, template: Template) -> SubjectParameters:
    """Draw all numbers of one subject. `docs/explanation/simulation.md` lists and explains the fixed ranges."""
    shape = draw_shape(rng)
    field_strength = float(rng.choice(FIELD_STRENGTHS))
    return SubjectParameters(
        shape=shape,
        field_strength=field_strength,
        tissues=draw_tissues(rng, field_strength),
        iron_ratio=float(rng.uniform(0.6, 1.4)),
        lesions=draw_lesions(rng, template),
        t1w=_draw_scan(rng, PROTOCOLS[field_strength][0]),
        t2w=_draw_scan(rng, PROTOCOLS[field_strength][1]),
    )


def simulate(
    rng: np.random.Generator, subject: SubjectParameters, template: Template, spacing_mm: float
) -> SimulatedScan:
    """Simulate the pair of scans of one subject, in the order of nature: tissue, signal, shading, noise, scale.

    Args:
        rng: source of all random fields and noise; each has a stream of its own.
        subject: the drawn numbers.
        template: the average brain.
        spacing_mm: of the isotropic grid.

    Returns:
        The scans; noise apart, the same head at every spacing.
    """
    anatomy_rng, lesion_rng, region_rng, t1w_rng, t2w_rng = rng.spawn(5)
    anatomy = make_anatomy(anatomy_rng, subject.shape, template, spacing_mm)
    lesion = lesion_fraction(lesion_rng, subject.lesions, anatomy)
    fractions = np.concatenate([anatomy.fractions[:2], [anatomy.fractions[2] - lesion], [lesion]])
    ratios = [np.exp(sd * smooth_field(region_rng, anatomy.space, REGION_MM)[anatomy.mask]) for sd in REGION_SD]
    iron_r2 = np.float32(IRON_RATE * subject.field_strength * subject.iron_ratio) * anatomy.iron
    constants = _constants(subject)

    def acquire(
        stream: np.random.Generator, scan: ScanParameters, extra_r2: NDArray[np.float32]
    ) -> NDArray[np.float32]:
        clean = mixed_magnitude(
            scan.protocol, constants, fractions, t1_ratio=ratios[0], t2_ratio=ratios[1], extra_r2=extra_r2
        )
        return _acquire(stream, clean, anatomy, scan)

    dephasing = np.float32(R2_PRIME * subject.field_strength)
    return SimulatedScan(
        anatomy.space,
        t1w=acquire(t1w_rng, subject.t1w, iron_r2 + dephasing),
        t2w=acquire(t2w_rng, subject.t2w, iron_r2),
        mask=anatomy.mask,
        tissues=anatomy.tissues(),
        lesions=np.asarray(anatomy.volume(lesion > 0.5), dtype=np.bool_),
    )


def _acquire(
    rng: np.random.Generator, clean: NDArray[np.float32], anatomy: Anatomy, scan: ScanParameters
) -> NDArray[np.float32]:
    sigma = scan.noise * float(np.median(clean))
    shaded = clean * bias_field(rng, anatomy.space, scan.bias)[anatomy.mask]
    return np.asarray(anatomy.volume(np.float32(scan.scale) * rician(rng, shaded, sigma)), dtype=np.float32)


def _constants(subject: SubjectParameters) -> list[Relaxation]:
    white, lesions = subject.tissues["wm"], subject.lesions
    lesion = Relaxation(white.t1_ms * lesions.t1_ratio, white.t2_ms * lesions.t2_ratio, white.pd * lesions.pd_ratio)
    return [subject.tissues[tissue] for tissue in TISSUES] + [lesion]


def _draw_scan(rng: np.random.Generator, protocol: Protocol) -> ScanParameters:
    return ScanParameters(protocol, float(rng.uniform(0.03, 0.10)), float(rng.uniform(0.015, 0.04)), draw_scale(rng))
