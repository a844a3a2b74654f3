"""The scanner's part of an image: shading, noise, an arbitrary scale."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from volumetric.imaging.geometry import Space
from volumetric.simulation.fields import smooth_field

BIAS_KNOTS_MM = 90.0
"""Distance over which receive coils shade a head."""


def bias_field(rng: np.random.Generator, space: Space, amplitude: float) -> NDArray[np.float32]:
    """A smooth multiplicative shading around 1, always above 0.

    Its logarithm is a smooth random field, the usual model of receive inhomogeneity (Sled et al., IEEE Trans. Med.
    Imaging 17(1), 1998).

    Args:
        rng: source of the field.
        space: grid of shape `(I, J, K)`.
        amplitude: SD of the logarithm; BrainWeb's "20 %" (0.9 to 1.1) is about 0.05.

    Returns:
        `(I, J, K)`, without unit.
    """
    return np.asarray(np.exp(amplitude * smooth_field(rng, space, BIAS_KNOTS_MM)), dtype=np.float32)


def rician(rng: np.random.Generator, signal: NDArray[np.float32], sigma: float) -> NDArray[np.float32]:
    """The magnitude of a signal with normal noise in both channels.

    M = sqrt((S + n1)^2 + n2^2), so that E[M^2] = S^2 + 2 sigma^2, and where there is no signal E[M] =
    sigma sqrt(pi / 2) (Gudbjartsson and Patz, Magn. Reson. Med. 34(6), 1995).

    Args:
        rng: source of the noise.
        signal: any shape; its sign is lost.
        sigma: SD of either channel, in the signal's units.

    Returns:
        The same shape, at least 0.
    """
    real, imaginary = rng.standard_normal((2, *signal.shape), dtype=np.float32) * np.float32(sigma)
    return np.asarray(np.hypot(signal + real, imaginary), dtype=np.float32)


def draw_scale(rng: np.random.Generator) -> float:
    """An arbitrary factor between 200 and 2000, its logarithm uniform: MR units mean nothing."""
    return float(np.exp(rng.uniform(np.log(200.0), np.log(2000.0))))
