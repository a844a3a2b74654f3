"""Intensity units: reference units of one image, and the pooled statistics of many."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from volumetric.errors import InputError

INTENSITY_SCALE = 1000.0
"""A prediction file holds this many times reference units."""


class IntensityError(InputError):
    """An image whose intensities have no usable scale."""


def reference_scale(array: NDArray[Any], mask: NDArray[np.bool_], *, name: str = "the image") -> float:
    """The number `s` that makes `array / s` reference units: the median inside the mask.

    Args:
        array: `(I, J, K)` in the scanner's arbitrary units.
        mask: `(I, J, K)`, derived from the source image.
        name: how to call the image in an error.

    Raises:
        IntensityError: the median is not positive, or all values are the same.
    """
    inside = array[mask]
    scale = float(np.median(inside))
    if inside.min() == inside.max() != 0:
        raise IntensityError(f"{name}: every voxel inside the brain mask is {scale:g}; this is no scan, name another")
    if not scale > 0:
        raise IntensityError(
            f"{name}: the median inside the brain mask is {scale:g}, expected a positive number; "
            "give a magnitude image, and a mask that lies on the brain"
        )
    return scale


def in_reference_units(array: NDArray[Any], mask: NDArray[np.bool_], scale: float) -> NDArray[np.float32]:
    """`array / scale` inside the mask and 0 outside, float32 `(I, J, K)`; scale only, so zero stays zero."""
    units: NDArray[np.float32] = np.where(mask, array / np.float32(scale), np.float32(0))
    return units


def standard_units(array: NDArray[np.float32], mask: NDArray[np.bool_]) -> tuple[float, float]:
    """Mean and SD inside the mask; the SD is at least a millionth of the mean, so that one can divide by it."""
    inside = array[mask].astype(np.float64)
    mean, sd = float(inside.mean()), float(inside.std())
    return mean, max(sd, 1e-6 * abs(mean))


def standardize(array: NDArray[np.float32], mask: NDArray[np.bool_], mean: float, sd: float) -> NDArray[np.float32]:
    """`(array - mean) / sd` inside the mask and 0 outside, float32 `(I, J, K)`: a source for the network."""
    standard: NDArray[np.float32] = np.where(mask, (array - np.float32(mean)) / np.float32(sd), np.float32(0))
    return standard


@dataclass
class PooledIntensities:
    """The distribution of reference-unit intensities over many images, in fixed memory.

    A histogram with bins of 1e-4 up to 20 times the median; values outside are counted in the outer
    bins. The order of the images does not matter.
    """

    bin_width: float = 1e-4
    upper: float = 20.0
    counts: NDArray[np.int64] = field(init=False, repr=False)
    total: float = field(default=0.0, init=False)
    total_squares: float = field(default=0.0, init=False)

    def __post_init__(self) -> None:
        self.counts = np.zeros(round(self.upper / self.bin_width), np.int64)

    def add(self, values: NDArray[np.floating]) -> None:
        """Count the in-mask values of one image, in reference units."""
        index = np.clip(values / self.bin_width, 0, self.counts.size - 1).astype(np.int64)
        self.counts += np.bincount(index, minlength=self.counts.size)
        exact = values.astype(np.float64)
        self.total += float(exact.sum())
        self.total_squares += float((exact**2).sum())

    def merge(self, counts: NDArray[np.int64], total: float, total_squares: float) -> None:
        """Add the histogram (its empty end may be missing) and the sums of another."""
        self.counts[: counts.size] += counts
        self.total += total
        self.total_squares += total_squares

    @property
    def mean(self) -> float:
        """Mean of all values."""
        return self.total / int(self.counts.sum())

    @property
    def sd(self) -> float:
        """Population standard deviation of all values."""
        return float(np.sqrt(max(0.0, self.total_squares / int(self.counts.sum()) - self.mean**2)))

    def quantile(self, q: NDArray[np.float64] | float) -> NDArray[np.float64]:
        """The values below which the fractions `q` lie, right to the width of a bin."""
        cumulative = np.cumsum(self.counts)
        index = np.searchsorted(cumulative, np.asarray(q) * cumulative[-1])
        values: NDArray[np.float64] = (np.minimum(index, self.counts.size - 1) + 0.5) * self.bin_width
        return values

    def data_range(self) -> float:
        """The upper end of the range that PSNR and SSIM use: the 99.5th percentile (the lower end is 0)."""
        return float(np.round(self.quantile(0.995), 3))
