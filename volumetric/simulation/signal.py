"""The signal equations of MR and the tissue constants that go into them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import astuple, dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

FloatOrArray = TypeVar("FloatOrArray", float, NDArray[np.float32], NDArray[np.float64])


@dataclass(frozen=True)
class Relaxation:
    """A tissue's constants: T1 and T2 in ms, proton density relative to fluid."""

    t1_ms: float
    t2_ms: float
    pd: float


LITERATURE = {
    1.5: {"csf": Relaxation(4300, 2000, 1.0), "gm": Relaxation(1197, 95, 0.86), "wm": Relaxation(646, 72, 0.77)},
    3.0: {"csf": Relaxation(4300, 2000, 1.0), "gm": Relaxation(1607, 99, 0.86), "wm": Relaxation(838, 69, 0.77)},
}
"""Constants by field strength in tesla and tissue.

T1 of gray and white matter: Wright et al., MAGMA 21, 2008. T2 of both: Stanisz et al., Magn. Reson. Med. 54(3), 2005.
T1 of fluid, the same at all fields: Rooney et al., Magn. Reson. Med. 57(2), 2007. T2 of fluid: about 2 s, where its
exact value changes no echo of 0.1 s. Proton density: BrainWeb (Kwan et al., IEEE Trans. Med. Imaging 18(11), 1999).
"""

SPREAD = Relaxation(0.03, 0.03, 0.02)
"""SD between subjects of the logarithm of each constant; `scan.REGION_SD` is that between regions."""

IRON_RATE = 0.12
"""R2 per field and iron, 1/s per T per mg/100 g: linear in both (Vymazal et al., Magn. Reson. Med. 35(1), 1996).

The value is set so that the pallidum's T2 is about 47 ms at 3 T.
"""

R2_PRIME = 3.0
"""R2* - R2 in 1/s per T, from Wansapura et al., J. Magn. Reson. Imaging 9(4), 1999: 2.7 in white matter at 3 T."""


def draw_tissues(rng: np.random.Generator, field_strength: float) -> dict[str, Relaxation]:
    """The constants of one subject, around the literature's."""
    return {
        tissue: Relaxation(
            *(float(m * np.exp(rng.normal(0, sd))) for m, sd in zip(astuple(mean), astuple(SPREAD), strict=True))
        )
        for tissue, mean in LITERATURE[field_strength].items()
    }


def spoiled_gradient_echo(
    t1_ms: FloatOrArray,
    t2_star_ms: FloatOrArray,
    pd: FloatOrArray | float,
    *,
    tr_ms: float,
    te_ms: float,
    flip_deg: float,
) -> FloatOrArray:
    """Steady-state signal: PD sin a (1 - E1) / (1 - cos a E1) exp(-TE / T2*), E1 = exp(-TR / T1).

    Ernst and Anderson, Rev. Sci. Instrum. 37, 1966.

    Args:
        t1_ms: any shape, as are `t2_star_ms` and `pd`.
        t2_star_ms: effective T2.
        pd: proton density.
        tr_ms: repetition time.
        te_ms: echo time.
        flip_deg: flip angle.

    Returns:
        The same shape, in units of `pd`, at least 0.
    """
    flip = np.deg2rad(flip_deg)
    e1 = np.exp(-tr_ms / t1_ms)
    return pd * np.sin(flip) * (1 - e1) / (1 - np.cos(flip) * e1) * np.exp(-te_ms / t2_star_ms)  # type: ignore[no-any-return]


def mprage(
    t1_ms: FloatOrArray,
    t2_star_ms: FloatOrArray,
    pd: FloatOrArray | float,
    *,
    tr_ms: float,
    ti_ms: float,
    te_ms: float,
    flip_deg: float,
    echo_spacing_ms: float,
    num_pulses: int,
) -> FloatOrArray:
    """Steady-state signal of an inversion followed by a train of small pulses, at the train's middle.

    The sequence is Mugler and Brookeman's (Magn. Reson. Med. 15(1), 1990), its steady state Deichmann et al.'s
    (NeuroImage 12(1), 2000). Mz of unit equilibrium, from the inversion on, one line a step:

        -m                                                              perfect inversion
        a = 1 - (1 + m) exp(-TA / T1)                                   TA = TI - n ES / 2
        b(k) = a (cos f E)^k + (1 - E) (1 - (cos f E)^k) / (1 - cos f E)    k pulses, E = exp(-ES / T1)
        m = 1 - (1 - b(n)) exp(-TD / T1)                                TD = TR - TA - n ES

    The last gives m, linearly, and the signal is PD sin f b(n / 2) exp(-TE / T2*).

    Args:
        t1_ms: any shape, as are `t2_star_ms` and `pd`.
        t2_star_ms: effective T2.
        pd: proton density.
        tr_ms: from one inversion to the next.
        ti_ms: from the inversion to the middle of the train.
        te_ms: echo time.
        flip_deg: of each pulse in the train.
        echo_spacing_ms: from pulse to pulse.
        num_pulses: in the train, even.

    Returns:
        The same shape, in units of `pd`, below 0 where the inverted magnetization has not recovered.
    """
    flip = np.deg2rad(flip_deg)
    before_ms = ti_ms - num_pulses * echo_spacing_ms / 2
    after_ms = tr_ms - before_ms - num_pulses * echo_spacing_ms
    e = np.exp(-echo_spacing_ms / t1_ms)
    e_before, e_after = np.exp(-before_ms / t1_ms), np.exp(-after_ms / t1_ms)
    pulse = np.cos(flip) * e
    steady = (1 - e) / (1 - pulse)
    kept, kept_half = pulse**num_pulses, pulse ** (num_pulses // 2)
    # m = 1 - e_after + e_after (steady + (a - steady) kept), a = 1 - e_before - m e_before
    m = (1 - e_after + e_after * (steady + (1 - e_before - steady) * kept)) / (1 + e_after * e_before * kept)
    middle = steady + (1 - (1 + m) * e_before - steady) * kept_half
    return pd * np.sin(flip) * middle * np.exp(-te_ms / t2_star_ms)  # type: ignore[no-any-return]


def spin_echo(
    t1_ms: FloatOrArray, t2_ms: FloatOrArray, pd: FloatOrArray | float, *, tr_ms: float, te_ms: float
) -> FloatOrArray:
    """Signal: PD (1 - 2 exp(-(TR - TE / 2) / T1) + exp(-TR / T1)) exp(-TE / T2).

    Bernstein, King and Zhou, Handbook of MRI Pulse Sequences, 2004, section 14.3.

    Args:
        t1_ms: any shape, as are `t2_ms` and `pd`.
        t2_ms: transverse relaxation time.
        pd: proton density.
        tr_ms: repetition time.
        te_ms: echo time.

    Returns:
        The same shape, in units of `pd`.
    """
    recovered = 1 - 2 * np.exp(-(tr_ms - te_ms / 2) / t1_ms) + np.exp(-tr_ms / t1_ms)
    return pd * recovered * np.exp(-te_ms / t2_ms)  # type: ignore[no-any-return]


def turbo_spin_echo(
    t1_ms: FloatOrArray,
    t2_ms: FloatOrArray,
    pd: FloatOrArray | float,
    *,
    tr_ms: float,
    te_ms: float,
    train_ms: float,
) -> FloatOrArray:
    """Signal: PD (1 - exp(-(TR - train) / T1)) exp(-TE / T2), TE being the echo of the center of k-space.

    The train leaves no longitudinal magnetization, so only the time after it recovers (Bernstein, King and Zhou 2004,
    section 16.4, perfect refocusing).

    Args:
        t1_ms: any shape, as are `t2_ms` and `pd`.
        t2_ms: transverse relaxation time.
        pd: proton density.
        tr_ms: repetition time.
        te_ms: effective echo time.
        train_ms: from the excitation to the last echo.

    Returns:
        The same shape, in units of `pd`, at least 0.
    """
    return pd * (1 - np.exp(-(tr_ms - train_ms) / t1_ms)) * np.exp(-te_ms / t2_ms)  # type: ignore[no-any-return]


T1W_SEQUENCES: dict[str, Callable[..., NDArray[np.float32]]] = {
    "spoiled_gradient_echo": spoiled_gradient_echo,
    "mprage": mprage,
}
T2W_SEQUENCES: dict[str, Callable[..., NDArray[np.float32]]] = {
    "spin_echo": spin_echo,
    "turbo_spin_echo": turbo_spin_echo,
}


@dataclass(frozen=True)
class Protocol:
    """The acquisition of one contrast: a name in the tables above, and its keyword arguments."""

    sequence: str
    settings: Mapping[str, float]

    def signal(self, t1_ms: NDArray[np.float32], t2_ms: NDArray[np.float32], pd: float) -> NDArray[np.float32]:
        """The sequence's equation with these settings; `t2_ms` is T2* for gradient echoes."""
        return (T1W_SEQUENCES | T2W_SEQUENCES)[self.sequence](t1_ms, t2_ms, pd, **self.settings)


PROTOCOLS: dict[float, tuple[Protocol, Protocol]] = {
    1.5: (
        Protocol("spoiled_gradient_echo", {"tr_ms": 20.0, "te_ms": 5.0, "flip_deg": 25.0}),
        Protocol("spin_echo", {"tr_ms": 8178.0, "te_ms": 100.0}),
    ),
    3.0: (
        Protocol(
            "mprage",
            {"tr_ms": 2250.0, "ti_ms": 925.0, "te_ms": 3.0, "flip_deg": 9.0, "echo_spacing_ms": 7.0, "num_pulses": 176},
        ),
        Protocol("spin_echo", {"tr_ms": 5726.0, "te_ms": 100.0}),
    ),
}
"""Field strength in tesla -> T1w and T2w protocol: a study has one protocol a scanner, not one a subject.

The spin echoes have the times of IXI's 1.5 T (Guy's) and 3 T (Hammersmith) scanners; the T1w protocols are
common 3D ones.
"""


def mixed_magnitude(
    protocol: Protocol,
    tissues: Sequence[Relaxation],
    fractions: NDArray[np.float32],
    *,
    t1_ratio: NDArray[np.float32],
    t2_ratio: NDArray[np.float32],
    extra_r2: NDArray[np.float32],
) -> NDArray[np.float32]:
    """Magnitude of the sum over tissues of fraction times signed signal.

    The sum comes first: an inverted tissue cancels an upright one beside it within a voxel.

    Args:
        protocol: of the scan.
        tissues: the constants of `C` tissues.
        fractions: `(C, N)`.
        t1_ratio: `(N,)` local T1 / the tissue's.
        t2_ratio: the same for T2.
        extra_r2: `(N,)` 1/s on top of the tissues' R2, from iron and, for gradient echoes, from dephasing.

    Returns:
        `(N,)` in units of proton density, at least 0.
    """
    total = np.zeros(fractions.shape[1], dtype=np.float32)
    for tissue, fraction in zip(tissues, fractions, strict=True):
        rate = 1 / (np.float32(tissue.t2_ms) * t2_ratio) + extra_r2 / np.float32(1000)
        t2_ms = np.asarray(1 / rate, dtype=np.float32)
        total += fraction * protocol.signal(np.float32(tissue.t1_ms) * t1_ratio, t2_ms, tissue.pd)
    return np.abs(total)
