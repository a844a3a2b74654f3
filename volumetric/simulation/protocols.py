"""Protocols drawn for simulated pairs: the sequence of each contrast, and its times."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from volumetric.simulation.signal import Protocol

FAT_T2_RATIO = 2.0
"""T2 of fat in a train of echoes / in single ones: J coupling is refocused (Henkelman et al. 1992)."""


@dataclass(frozen=True)
class DrawnProtocol:
    """A protocol, and what its pulses do besides the equation.

    Attributes:
        protocol: sequence and times.
        is_gradient_echo: the signal decays by T2*.
        saturation: 0 to 1, of the bound protons by the other slices' and the refocusing pulses.
        is_echo_train: fat is bright.
        flow: signal of flowing blood / of blood at rest.
        exponent: of the ratio of each tissue's signal to white matter's. Real T1w scans show less contrast than the
            equations: white over gray matter is 1.1 to 1.25 in eight routine scans, and 1.4 to 1.5 by a spin echo's.
            Saturation, transmit fields, filters and partial volume take part; this number stands for all of them.
        fluid_exponent: the same of what is not solid brain; fluid is less bright in T2w scans than by the equation.
    """

    protocol: Protocol
    is_gradient_echo: bool
    saturation: float
    is_echo_train: bool
    flow: float
    exponent: float
    fluid_exponent: float


def draw_t1w(rng: np.random.Generator) -> DrawnProtocol:
    """Draw an MPRAGE (two fifths), a spoiled gradient echo (a fifth) or a spin echo (two fifths).

    MPRAGE: TR 1.6 to 2.5 s, TI 0.8 to 1.15 s, TE 2 to 4.5 ms, 7 to 12 degrees, 128 to 176 pulses of 6 to 9 ms; the
    protocols of ADNI (Jack et al., J. Magn. Reson. Imaging 27(4), 2008) and the Human Connectome Project (Glasser et
    al., NeuroImage 80, 2013) lie inside. Gradient echo: TR 7 to 30 ms, TE 2 to 8 ms, 15 to 30 degrees. Spin echo: TR
    400 to 750 ms, TE 8 to 20 ms, as in clinical routine.
    """
    kind = rng.choice(["mprage", "spoiled_gradient_echo", "spin_echo"], p=[0.4, 0.2, 0.4])
    exponent, fluid_exponent = rng.uniform(0.05, 0.9), rng.uniform(0.6, 1.2)
    if kind == "mprage":
        spacing_ms, num_pulses = rng.uniform(6, 9), 2 * int(rng.integers(64, 89))
        ti_ms = max(rng.uniform(800, 1150), spacing_ms * num_pulses / 2 + 20)
        tr_ms = max(rng.uniform(1600, 2500), ti_ms + spacing_ms * num_pulses / 2 + 50)
        times = {"tr_ms": tr_ms, "ti_ms": ti_ms, "te_ms": rng.uniform(2, 4.5), "flip_deg": rng.uniform(7, 12)}
        settings = times | {"echo_spacing_ms": spacing_ms, "num_pulses": num_pulses}
        return DrawnProtocol(
            Protocol(str(kind), settings), True, 0.0, False, rng.uniform(0.5, 2), exponent, fluid_exponent
        )
    if kind == "spoiled_gradient_echo":
        settings = {"tr_ms": rng.uniform(7, 30), "te_ms": rng.uniform(2, 8), "flip_deg": rng.uniform(15, 30)}
        saturation, flow = rng.uniform(0, 0.2), rng.uniform(0.5, 2)
        return DrawnProtocol(Protocol(str(kind), settings), True, saturation, False, flow, exponent, fluid_exponent)
    settings = {"tr_ms": rng.uniform(400, 750), "te_ms": rng.uniform(8, 20)}
    return DrawnProtocol(
        Protocol(str(kind), settings), False, rng.uniform(0, 0.3), False, rng.uniform(0, 1), exponent, fluid_exponent
    )


def draw_t2w(rng: np.random.Generator) -> DrawnProtocol:
    """Draw a turbo spin echo, single (a tenth) or as a train.

    TR 2.5 to 9 s, effective TE 75 to 125 ms, train 50 to 250 ms; a 3D one (a quarter) has TR 2.5 to 3.5 s and a train
    of 300 to 700 ms that looks like a TE of 75 to 110 ms (Mugler, J. Magn. Reson. Imaging 39(4), 2014).
    """
    kind = rng.choice(["spin_echo", "2d", "3d"], p=[0.1, 0.65, 0.25])
    saturation, flow = rng.uniform(0, 0.35), rng.uniform(0, 0.4)
    exponent, fluid_exponent = rng.uniform(0.75, 1.15), rng.uniform(0.5, 1.05)
    if kind == "spin_echo":
        settings = {"tr_ms": rng.uniform(2500, 9000), "te_ms": rng.uniform(75, 110)}
        return DrawnProtocol(Protocol("spin_echo", settings), False, saturation, False, flow, exponent, fluid_exponent)
    if kind == "2d":
        settings = {"tr_ms": rng.uniform(2500, 9000), "te_ms": rng.uniform(75, 125), "train_ms": rng.uniform(50, 250)}
    else:
        settings = {"tr_ms": rng.uniform(2500, 3500), "te_ms": rng.uniform(75, 110), "train_ms": rng.uniform(300, 700)}
    train = Protocol("turbo_spin_echo", settings)
    return DrawnProtocol(train, False, saturation, True, flow, exponent, fluid_exponent)


PROTOCOL_OF = {"t1w": draw_t1w, "t2w": draw_t2w}
"""Contrast -> how its protocol is drawn."""


def log_uniform(rng: np.random.Generator, low: float, high: float) -> float:
    """A number whose logarithm is uniform."""
    return math.exp(rng.uniform(math.log(low), math.log(high)))
