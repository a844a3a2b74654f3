"""White matter in the intensities of one image: the peak of its histogram, and the mean of its class."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d

from volumetric.imaging.intensity import IntensityError

PEAK = {"t1w": "last", "t1wce": "last", "t2w": "largest", "flair": "largest", "pdw": "first"}
"""Which peak of a brain's histogram is white matter (Reinhold et al. 2019, doi 10.1117/12.2513089)."""

CLASS = {"t1w": 2, "t1wce": 2, "t2w": 0, "flair": 1, "pdw": 0}
"""The place of white matter among white matter, gray matter and fluid, from dark to bright."""

_TISSUE = (0.01, 0.98)  # quantiles between which all tissue peaks lie
_ALL = (0.001, 0.999)  # taken where outliers do not carry them far away
_NUM_BINS = 1000
_BANDWIDTH = 1 / 80  # of the range: Reinhold's
_PROMINENCE = 0.02  # of the highest peak: less is noise
_NUM_ITERATIONS = 300


class Histogram(NamedTuple):
    """Counts of the trimmed intensities.

    Attributes:
        centers: `(B,)`, evenly spaced.
        counts: `(B,)`.
    """

    centers: NDArray[np.float64]
    counts: NDArray[np.int64]


def trimmed_histogram(values: NDArray[np.float64], contrast: str) -> Histogram:
    """The histogram without outliers, which would stretch it until all tissues fell into one bin.

    It goes from the 0.1th to the 99.9th percentile, but no farther beyond the 1st and the 98th than a fourth of what
    lies between these two.

    Args:
        values: `(N,)`, inside the brain mask, any units.
        contrast: how to call the image in an error.

    Raises:
        IntensityError: nearly all voxels have one value.
    """
    low, first, last, high = np.quantile(values, sorted((*_ALL, *_TISSUE)))
    if not last > first:
        raise IntensityError(
            f"{contrast}: nearly all {values.size} voxels inside the brain mask have the value {first:g}, expected a "
            "brain of several tissues; does the mask lie on the brain?"
        )
    margin = (last - first) / 4
    counts, edges = np.histogram(values, _NUM_BINS, (max(low, first - margin), min(high, last + margin)))
    return Histogram((edges[:-1] + edges[1:]) / 2, counts)


def white_matter_peak(values: NDArray[np.float64], contrast: str) -> float:
    """The mode of white matter, from a kernel density estimate.

    The kernel is Gaussian; its SD is an 80th of the histogram's range, or Scott's rule where that is wider.

    Args:
        values: `(N,)`, inside the brain mask, any units.
        contrast: a key of `PEAK`.

    Raises:
        IntensityError: the density has no peak, so white matter cannot be located.
    """
    histogram = trimmed_histogram(values, contrast)
    mean = np.average(histogram.centers, weights=histogram.counts)
    sd = np.sqrt(np.average((histogram.centers - mean) ** 2, weights=histogram.counts))
    scott = sd * values.size**-0.2 / (histogram.centers[1] - histogram.centers[0])
    density = gaussian_filter1d(histogram.counts.astype(np.float64), max(_BANDWIDTH * _NUM_BINS, scott))
    tops = peaks(density)
    if tops.size == 0:
        raise IntensityError(
            f"{contrast}: the histogram of the {values.size} voxels inside the brain mask has no peak, expected one "
            "of white matter; does the mask lie on the brain? A model with `intensity.source_normalization: robust` "
            "needs no peak"
        )
    place = {"first": tops[0], "last": tops[-1], "largest": tops[np.argmax(density[tops])]}[PEAK[contrast]]
    return float(histogram.centers[place])


def peaks(density: NDArray[np.float64]) -> NDArray[np.intp]:
    """Places of the local maxima that rise from their surroundings by 2 % of the highest value; never an end.

    How far a maximum rises is its prominence: its height over the higher of the two lowest points that lie between it
    and higher ground to either side.
    """
    rises = np.diff(density) > 0
    tops = np.flatnonzero(rises[:-1] & ~rises[1:]) + 1
    return np.array([top for top in tops if _prominence(density, top) >= _PROMINENCE * density.max()], np.intp)


def _prominence(density: NDArray[np.float64], top: np.intp) -> float:
    higher = np.flatnonzero(density > density[top])
    left = max(higher[higher < top], default=0)
    right = min(higher[higher > top], default=density.size - 1)
    return float(density[top] - max(density[left : top + 1].min(), density[top : right + 1].min()))


def white_matter_mean(values: NDArray[np.float64], contrast: str) -> float:
    """The mean of white matter, each voxel weighted by its membership.

    The memberships are those of fuzzy C-means with three classes and an exponent of 2 (Bezdek 1981) on the trimmed
    histogram. The classes start at fixed quantiles, so that equal images give equal means.

    Args:
        values: `(N,)`, inside the brain mask, any units.
        contrast: a key of `CLASS`.

    Raises:
        IntensityError: nearly all voxels have one value.
    """
    centers, counts = trimmed_histogram(values, contrast)
    means = np.interp([1 / 6, 1 / 2, 5 / 6], np.cumsum(counts) / counts.sum(), centers)
    for _ in range(_NUM_ITERATIONS):
        weights = counts * _memberships(centers, means) ** 2
        before, means = means, weights @ centers / weights.sum(axis=1)
        if np.abs(means - before).max() < 1e-6 * (centers[-1] - centers[0]):
            break
    share = _memberships(centers, np.sort(means))[CLASS[contrast]]
    return float(np.average(centers, weights=counts * share))


def _memberships(centers: NDArray[np.float64], means: NDArray[np.float64]) -> NDArray[np.float64]:
    """Membership of each bin in each class `(3, B)`, adding up to 1."""
    nearness = 1 / np.maximum((centers - means[:, None]) ** 2, np.finfo(np.float64).tiny)
    memberships: NDArray[np.float64] = nearness / nearness.sum(axis=0)
    return memberships
