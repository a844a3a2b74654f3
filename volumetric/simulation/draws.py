"""Draws of the numbers of simulated pairs, from the ranges of the configuration."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from volumetric.config.simulation import SimulationConfig
from volumetric.simulation.parameters import (
    FaceCut,
    Lesion,
    Motion,
    PairParameters,
    PairShape,
    Pose,
    SimulatedContrast,
    Surfaces,
)
from volumetric.simulation.protocols import FAT_T2_RATIO, PROTOCOL_OF, DrawnProtocol, log_uniform
from volumetric.simulation.signal import IRON_RATE, R2_PRIME, Relaxation
from volumetric.simulation.tissues import FIELD_STRENGTHS, NAMES, NUMBER, TISSUES

SPREAD = Relaxation(0.06, 0.07, 0.03)
"""SD between subjects of the logarithm of T1, T2 and proton density, shared by the solid brain."""

CLEAN_WIDTH_MM = 1.5
"""Point spread of a clean target."""

MOST_MOVES = 3
"""Of a head during a scan."""

RINGING_WIDTH_MM = 1.8
"""Widest point spread that rings: a wider one comes of smoothing, which takes the ringing away."""

SPREAD_OF_TISSUE = Relaxation(0.04, 0.05, 0.02)
"""The same from tissue to tissue of one subject."""

_SURFACES_OF_MAP = {"cortex_mm": 0.0, "cortex_sd_mm": 0.0, "vessel_share": 0.0, "rim_mm": 0.0}
_SURFACES_OF_MAP |= {"mask_mm": math.inf, "mask_sd_mm": 0.0}  # the scan has a mask

_WIDE = {"white_matter_lesion": 0.22, "edema": 0.2, "tumor": 0.25, "necrosis": 0.4, "choroid_plexus": 0.2, "dura": 0.3}


def draw_pair(
    rng: np.random.Generator, config: SimulationConfig, *, source: str = "t1w", target: str = "t2w"
) -> PairParameters:
    """Draw one pair.

    Each part has a stream of its own: another probability of one leaves the others as they are.

    Args:
        rng: source of all numbers.
        config: ranges and probabilities.
        source: `t1w` or `t2w`.
        target: `t1w` or `t2w`.
    """
    shape, surfaces, lesions, tissues, first, second, seeds = rng.spawn(7)
    field_strength = float(tissues.choice(FIELD_STRENGTHS))
    constants = draw_constants(tissues, field_strength)
    iron_ratio = float(tissues.uniform(0.5, 1.6))

    def contrast(stream: np.random.Generator, drawn: DrawnProtocol, shift_mm: float) -> SimulatedContrast:
        signals = compressed(
            tissue_signals(drawn, constants, field_strength, iron_ratio), drawn.exponent, drawn.fluid_exponent
        )
        return _draw_contrast(stream, signals, drawn.protocol.sequence, config, shift_mm)

    drawn_source = contrast(first, PROTOCOL_OF[source](first), config.misalignment_mm)
    if first.random() < config.random_contrast_probability:
        drawn_source = replace(drawn_source, signals=random_signals(first), sequence="random")
    drawn_target = contrast(second, PROTOCOL_OF[target](second), 0.0)
    *moves, face = seeds.spawn(3)
    drawn_source, drawn_target = (
        _moved(stream, scan, config) for stream, scan in zip(moves, (drawn_source, drawn_target), strict=True)
    )
    return PairParameters(
        field_strength,
        _draw_shape(shape, config.deformation),
        _draw_surfaces(surfaces),
        _draw_lesions(lesions, config),
        drawn_source,
        _cleaned(drawn_target) if config.clean_target else drawn_target,
        int(seeds.integers(2**31)),
        int(seeds.integers(2**31)),
        _draw_face_cut(face) if face.random() < config.deface_probability else None,
    )


def on_scan(parameters: PairParameters, directions: NDArray[np.float64]) -> PairParameters:
    """The numbers of a source that lies on a scan of its label map's subject: nothing is moved, added or hidden.

    Args:
        parameters: as they are drawn.
        directions: `(3, 3)` unit vectors of the scan's axes in the label map's world, in columns.
    """
    return replace(
        parameters,
        shape=PairShape(False, directions, (0.0, 0.0, 0.0), 0.0),
        surfaces=replace(parameters.surfaces, **_SURFACES_OF_MAP),
        lesions=(),
        source=replace(parameters.source, shift_mm=(0.0, 0.0, 0.0)),
        face_cut=None,
    )


def draw_constants(rng: np.random.Generator, field_strength: float) -> dict[str, Relaxation]:
    """The constants of one subject by tissue, around the table's."""
    shared = rng.normal(0, 1, 3) * (SPREAD.t1_ms, SPREAD.t2_ms, SPREAD.pd)
    own = np.array([SPREAD_OF_TISSUE.t1_ms, SPREAD_OF_TISSUE.t2_ms, SPREAD_OF_TISSUE.pd])
    constants = {}
    for name, tissue in TISSUES.items():
        mean = tissue.at(field_strength)
        factor = np.exp((shared if tissue.region == "brain" else 0) + rng.normal(0, 1, 3) * own)
        if name in _WIDE:
            factor[:2] *= np.exp(rng.normal(0, _WIDE[name]))
        t1, t2, pd = (float(value) for value in (mean.t1_ms, mean.t2_ms, mean.pd) * factor)
        constants[name] = Relaxation(t1, t2, pd)
    return constants


def tissue_signals(
    drawn: DrawnProtocol, constants: dict[str, Relaxation], field_strength: float, iron_ratio: float
) -> NDArray[np.float32]:
    """Signed signal of each pure tissue, `(T,)`, in the order of `tissues.NAMES`."""
    signals = np.zeros(len(NAMES), np.float32)
    for name, tissue in TISSUES.items():
        own = constants[name]
        t2_ms = own.t2_ms * (FAT_T2_RATIO if tissue.is_fat and drawn.is_echo_train else 1)
        extra_r2 = IRON_RATE * field_strength * iron_ratio * tissue.iron
        extra_r2 += R2_PRIME * field_strength if drawn.is_gradient_echo else 0
        relaxed = np.array([1 / (1 / t2_ms + extra_r2 / 1000)], np.float32)
        signal = drawn.protocol.signal(np.array([own.t1_ms], np.float32), relaxed, own.pd)[0]
        signals[NUMBER[name]] = signal * (1 - drawn.saturation * tissue.bound) * (drawn.flow if tissue.flows else 1)
    return signals


def compressed(signals: NDArray[np.float32], exponent: float, fluid_exponent: float) -> NDArray[np.float32]:
    """Signals whose ratio to white matter's is raised to a power: one in solid brain, another in all else."""
    white = abs(float(signals[NUMBER["white_matter"]]))
    powers = np.where([tissue.region == "brain" for tissue in TISSUES.values()], exponent, fluid_exponent)
    return np.asarray(np.sign(signals) * white * (np.abs(signals) / white) ** powers, dtype=np.float32)


def random_signals(rng: np.random.Generator) -> NDArray[np.float32]:
    """A contrast that no scanner has: uniform intensities of each tissue (SynthSeg: Billot et al., Med. Image Anal. 86,
    2023), air included in one of ten.
    """
    signals = rng.uniform(0.05, 1, len(NAMES)).astype(np.float32)
    for follower, leader in (("fluid", "ventricle"), ("cerebellar_cortex", "cortex"), ("hippocampus", "cortex")):
        signals[NUMBER[follower]] = signals[NUMBER[leader]] * rng.uniform(0.9, 1.1)
    if rng.random() < 0.9:
        signals[NUMBER["air"]] = 0
    return signals


def draw_motion(rng: np.random.Generator, shift_mm: float, turn_deg: float) -> Motion:
    """Draw one to three sudden moves at any time of the scan, between which the head rests.

    The pose in which the center of k-space is taken is the scan's own: contrast and place stay.

    Args:
        rng: source of all numbers.
        shift_mm: largest along each axis.
        turn_deg: largest about each axis.
    """
    ends = np.sort(rng.random(rng.integers(1, MOST_MOVES + 1)))
    poses = [
        Pose(_triple(rng.uniform(-turn_deg, turn_deg, 3)), _triple(rng.uniform(-shift_mm, shift_mm, 3)))
        for _ in range(len(ends) + 1)
    ]
    poses[int(np.searchsorted(ends, 0.5))] = Pose()
    return Motion(int(rng.integers(3)), tuple(float(end) for end in ends), tuple(poses))


def _draw_face_cut(rng: np.random.Generator) -> FaceCut:
    return FaceCut(tilt_deg=float(rng.uniform(20, 60)), margin_mm=float(rng.uniform(5, 15)))


def _moved(rng: np.random.Generator, contrast: SimulatedContrast, config: SimulationConfig) -> SimulatedContrast:
    if rng.random() >= config.motion_probability:
        return contrast
    return replace(contrast, motion=draw_motion(rng, config.motion_mm, config.motion_deg))


def _cleaned(contrast: SimulatedContrast) -> SimulatedContrast:
    """A scan without what the scanner adds to the tissues."""
    clean = replace(contrast, thick_axis=-1, ringing=0.0, bias=0.0, noise=0.0, levels=0, width_mm=CLEAN_WIDTH_MM)
    return replace(clean, motion=None)


def _draw_shape(rng: np.random.Generator, amount: float) -> PairShape:
    size = np.exp(amount * (rng.normal(0, 0.05) + rng.normal(0, 0.03, 3)))
    turn = Rotation.from_euler("xyz", amount * rng.normal(0, 6, 3), degrees=True).as_matrix()
    shear = np.eye(3) + amount * np.triu(rng.normal(0, 0.02, (3, 3)), 1)
    x, y, z = (amount * float(v) for v in rng.uniform((1.0, 0.5, 0.2), (4.0, 2.0, 0.9)))
    mirrored = bool(rng.random() < 0.5)
    to_map = np.linalg.inv(turn @ shear * size)
    return PairShape(mirrored, to_map * ([-1, 1, 1] if mirrored else 1), (x, y, z), amount * float(rng.uniform(-4, 10)))


def _draw_surfaces(rng: np.random.Generator) -> Surfaces:
    return Surfaces(
        cortex_mm=float(rng.normal(-0.3, 0.4)),
        cortex_sd_mm=float(rng.uniform(0.1, 0.5)),
        vessel_share=float(rng.uniform(0, 0.4)),
        mask_mm=float(rng.uniform(-2.0, 1.5)),
        mask_sd_mm=float(rng.uniform(0.2, 1.0)),
        rim_mm=float(rng.uniform(0.5, 2.5)) if rng.random() < 0.75 else 0.0,
        fat_share=float(rng.uniform(0.2, 0.8)),
    )


def _draw_lesions(rng: np.random.Generator, config: SimulationConfig) -> tuple[Lesion, ...]:
    lesions = []
    if rng.random() < config.tumor_probability:
        lesions.append(_draw_tumor(rng))
    if rng.random() < config.lesion_probability:
        for _ in range(round(log_uniform(rng, 2, 40))):
            radius = log_uniform(rng, 1.2, 5)
            lesions.append(_lesion(rng, radius, ((1.0, "white_matter_lesion"),)))
    return tuple(lesions)


def _draw_tumor(rng: np.random.Generator) -> Lesion:
    """A tumor (necrosis in solid tissue in edema), edema alone, or a cavity full of fluid."""
    kind, radius = rng.choice(["tumor", "edema", "cavity"], p=[0.7, 0.1, 0.2]), log_uniform(rng, 6, 24)
    if kind == "cavity":
        return _lesion(rng, radius, ((1.0, "fluid"),))
    edema = (rng.uniform(1.2, 2.2), "edema")
    if kind == "edema":
        return _lesion(rng, radius, (edema,))
    return _lesion(rng, radius, (edema, (1.0, "tumor"), (rng.uniform(0, 0.8), "necrosis")))


def _lesion(rng: np.random.Generator, radius_mm: float, shells: tuple[tuple[float, str], ...]) -> Lesion:
    x, y, z = (float(r) for r in radius_mm * np.exp(rng.normal(0, 0.25, 3)))
    return Lesion(float(rng.random()), (x, y, z), shells)


def _draw_contrast(
    rng: np.random.Generator, signals: NDArray[np.float32], sequence: str, config: SimulationConfig, shift_mm: float
) -> SimulatedContrast:
    thick = rng.random() < config.thick_slice_probability
    textures = np.array([tissue.texture for tissue in TISSUES.values()], np.float32) * np.float32(rng.uniform(0.5, 2))
    x, y, z = (float(v) for v in rng.uniform(-shift_mm, shift_mm, 3))
    ringing = float(rng.uniform(0.2, 1)) * (rng.random() < config.ringing_probability)
    width_mm = log_uniform(rng, 1.0, 4.5)
    axis, slice_mm, offset = int(rng.choice(3, p=[0.15, 0.15, 0.7])), log_uniform(rng, 2, 7), float(rng.random())
    return SimulatedContrast(
        signals,
        textures,
        region_sd=float(rng.uniform(0.01, 0.06)),
        width_mm=width_mm,
        thick_axis=axis if thick else -1,
        slice_mm=slice_mm,
        slice_offset=offset,
        ringing=ringing if width_mm < RINGING_WIDTH_MM else 0.0,
        shift_mm=(x, y, z),
        bias=float(rng.uniform(0, config.bias)),
        noise=float(rng.uniform(0.1, 1)) * config.noise,
        noise_width_vox=float(rng.uniform(0, 0.8)),
        levels=int(rng.choice([0, 255, 1023], p=[0.7, 0.15, 0.15])),
        sequence=sequence,
    )


def _triple(values: NDArray[np.float64]) -> tuple[float, float, float]:
    x, y, z = (float(value) for value in values)
    return x, y, z
