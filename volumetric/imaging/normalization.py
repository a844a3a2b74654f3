"""Normalizations of a source, in one table: each measures an image, and maps it to network units and back."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from volumetric.imaging.intensity import IntensityError, PooledIntensities, standard_units, standardize
from volumetric.imaging.white_matter import white_matter_mean, white_matter_peak

Statistics = tuple[float, ...]
"""Of one image, or of the training subjects."""

LANDMARKS = (0.01, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.99)
"""Quantiles that Nyul's histogram matching aligns: the deciles, and the ends without the outliers."""

STRIPE = 0.05
"""Fraction of the brain's voxels on either side of the white-matter peak that make the white stripe."""


@dataclass(frozen=True)
class AffineUnits:
    """`(x - center) / scale`."""

    center: float
    scale: float

    def apply(self, array: NDArray[np.float32], mask: NDArray[np.bool_]) -> NDArray[np.float32]:
        """Normalize `(I, J, K)`; 0 outside the mask."""
        return standardize(array, mask, self.center, self.scale)

    def invert(self, array: NDArray[np.float32], mask: NDArray[np.bool_]) -> NDArray[np.float32]:
        """Denormalize `(I, J, K)`; 0 outside the mask."""
        back: NDArray[np.float32] = np.where(mask, array * np.float32(self.scale) + np.float32(self.center), 0)
        return back


@dataclass(frozen=True)
class LandmarkUnits:
    """Piecewise linear from an image's landmarks to standard ones; the outer pieces go on beyond the ends."""

    landmarks: Statistics
    standard: Statistics

    def apply(self, array: NDArray[np.float32], mask: NDArray[np.bool_]) -> NDArray[np.float32]:
        """Normalize `(I, J, K)`; 0 outside the mask."""
        return _along(array, mask, self.landmarks, self.standard)

    def invert(self, array: NDArray[np.float32], mask: NDArray[np.bool_]) -> NDArray[np.float32]:
        """Denormalize `(I, J, K)`; 0 outside the mask."""
        return _along(array, mask, self.standard, self.landmarks)


@dataclass(frozen=True)
class GrayUnits:
    """8 bits: whole levels 0 to 255, each `width` units wide. Values outside go to the nearest level."""

    width: float

    def apply(self, array: NDArray[np.float32], mask: NDArray[np.bool_]) -> NDArray[np.float32]:
        """The level of each voxel `(I, J, K)`; 0 outside the mask."""
        levels: NDArray[np.float32] = np.where(mask, np.clip(np.floor(array / np.float32(self.width)), 0, 255), 0)
        return levels

    def invert(self, array: NDArray[np.float32], mask: NDArray[np.bool_]) -> NDArray[np.float32]:
        """The middle of each voxel's level, so right to half a level; 0 outside the mask."""
        middle: NDArray[np.float32] = np.where(mask, (array + np.float32(0.5)) * np.float32(self.width), 0)
        return middle


Units = AffineUnits | LandmarkUnits | GrayUnits


@dataclass(frozen=True)
class Normalizer:
    """A normalization: the statistics that it takes, and the units that follow from them.

    Attributes:
        measure: image `(I, J, K)`, mask `(I, J, K)` and contrast -> statistics of the image.
        units: statistics of the image and of the training subjects -> its units.
        learn: intensities of each training subject -> their joint statistics; None where every image stands alone.
    """

    measure: Callable[[NDArray[np.float32], NDArray[np.bool_], str], Statistics]
    units: Callable[[Statistics, Statistics], Units]
    learn: Callable[[Iterable[PooledIntensities]], Statistics] | None = None

    def fit(
        self, array: NDArray[np.float32], mask: NDArray[np.bool_], contrast: str, learned: Statistics = ()
    ) -> Units:
        """The units of one image.

        Args:
            array: `(I, J, K)`; in reference units where the normalization learns, in any units otherwise.
            mask: `(I, J, K)`, derived from the source.
            contrast: such as `t1w`; tells which tissue is the brightest, and names the image in an error.
            learned: what `learn` returned.

        Raises:
            IntensityError: the image has no spread, or no peak, where one is needed.
        """
        return self.units(self.measure(array, mask, contrast), learned)


def _zscore(array: NDArray[np.float32], mask: NDArray[np.bool_], contrast: str) -> Statistics:
    return standard_units(array, mask)


def _nothing(array: NDArray[np.float32], mask: NDArray[np.bool_], contrast: str) -> Statistics:
    return ()


def _pooled(subjects: Iterable[PooledIntensities]) -> Statistics:
    """Mean and SD of all voxels of all subjects."""
    pooled = PooledIntensities()
    for subject in subjects:
        pooled.merge(subject.counts, subject.total, subject.total_squares)
    return pooled.mean, pooled.sd


def _robust(array: NDArray[np.float32], mask: NDArray[np.bool_], contrast: str) -> Statistics:
    """Median, and the median absolute deviation made equal to a normal distribution's SD (Rousseeuw and Croux 1993)."""
    inside = _inside(array, mask)
    median = float(np.median(inside))
    deviation = 1.4826 * float(np.median(np.abs(inside - median)))
    return median, _positive(deviation, contrast, "median absolute deviation")


def _percentile(array: NDArray[np.float32], mask: NDArray[np.bool_], contrast: str) -> Statistics:
    """The 1st percentile goes to 0 and the 99th to 1."""
    low, high = np.quantile(_inside(array, mask), [0.01, 0.99]).tolist()
    return low, _positive(high - low, contrast, "distance from the 1st to the 99th percentile")


def _white_stripe(array: NDArray[np.float32], mask: NDArray[np.bool_], contrast: str) -> Statistics:
    """Mean and SD of the tenth of the voxels about the white-matter peak (Shinohara et al. 2014)."""
    inside = _inside(array, mask)
    middle = float(np.mean(inside < white_matter_peak(inside, contrast)))
    low, high = np.quantile(inside, [max(0.0, middle - STRIPE), min(1.0, middle + STRIPE)])
    stripe = inside[(inside >= low) & (inside <= high)]
    return float(stripe.mean()), _positive(float(stripe.std()), contrast, "SD of the white stripe")


def _fcm(array: NDArray[np.float32], mask: NDArray[np.bool_], contrast: str) -> Statistics:
    """The mean of white matter by fuzzy C-means goes to 1 (Reinhold et al. 2019)."""
    mean = white_matter_mean(_inside(array, mask), contrast)
    return 0.0, _positive(mean, contrast, "mean of white matter")


def _kde(array: NDArray[np.float32], mask: NDArray[np.bool_], contrast: str) -> Statistics:
    """The mode of white matter by kernel density goes to 1 (Reinhold et al. 2019)."""
    mode = white_matter_peak(_inside(array, mask), contrast)
    return 0.0, _positive(mode, contrast, "mode of white matter")


def _landmarks(array: NDArray[np.float32], mask: NDArray[np.bool_], contrast: str) -> Statistics:
    return _rising(np.quantile(_inside(array, mask), LANDMARKS), contrast)


def _standard_landmarks(subjects: Iterable[PooledIntensities]) -> Statistics:
    """Mean landmarks of the subjects, each subject's ends at 0 and 1 first (Nyul, Udupa and Zhang 2000).

    Then the deciles' mean goes to 0 and their SD to 1, where a network without normalization learns fastest.
    """
    scaled = []
    for subject in subjects:
        landmarks = subject.quantile(np.array(LANDMARKS))
        scaled.append((landmarks - landmarks[0]) / (landmarks[-1] - landmarks[0]))
    standard = np.mean(scaled, axis=0)
    deciles = standard[1:-1]
    return _rising((standard - deciles.mean()) / (deciles.std() or 1.0), "the training subjects")


def _gray_simple(array: NDArray[np.float32], mask: NDArray[np.bool_], contrast: str) -> Statistics:
    """The 65,536 levels of 16 bits in 256 equal parts (Kawahara and Nagata 2021); for scanner units."""
    return (256.0,)


def _gray_adaptive(array: NDArray[np.float32], mask: NDArray[np.bool_], contrast: str) -> Statistics:
    """The levels up to the largest value in 256 equal parts (Kawahara and Nagata 2021)."""
    return (_positive(float(array[mask].max()) / 256, contrast, "largest value"),)


NORMALIZERS: dict[str, Normalizer] = {
    "zscore": Normalizer(_zscore, lambda own, _: AffineUnits(*own)),
    "pooled": Normalizer(_nothing, lambda _, learned: AffineUnits(*learned), _pooled),
    "robust": Normalizer(_robust, lambda own, _: AffineUnits(*own)),
    "percentile": Normalizer(_percentile, lambda own, _: AffineUnits(*own)),
    "white_stripe": Normalizer(_white_stripe, lambda own, _: AffineUnits(*own)),
    "nyul": Normalizer(_landmarks, LandmarkUnits, _standard_landmarks),
    "fcm": Normalizer(_fcm, lambda own, _: AffineUnits(*own)),
    "kde": Normalizer(_kde, lambda own, _: AffineUnits(*own)),
    "gray_simple": Normalizer(_gray_simple, lambda own, _: GrayUnits(*own)),
    "gray_adaptive": Normalizer(_gray_adaptive, lambda own, _: GrayUnits(*own)),
}
"""Every normalization by name. The last two are lossy, to half a gray level, and exist for comparison alone."""


def _inside(array: NDArray[np.float32], mask: NDArray[np.bool_]) -> NDArray[np.float64]:
    return array[mask].astype(np.float64)


def _positive(scale: float, contrast: str, what: str) -> float:
    if not scale > 0:
        raise IntensityError(
            f"{contrast}: the {what} inside the brain mask is {scale:g}, expected a positive number; does the mask lie "
            "on the brain? A model with `intensity.source_normalization: zscore` takes such an image too"
        )
    return scale


def _rising(landmarks: NDArray[np.float64], whose: str) -> Statistics:
    if not (np.diff(landmarks) > 0).all():
        raise IntensityError(
            f"{whose}: the deciles inside the brain mask are {', '.join(f'{x:.4g}' for x in landmarks)}, expected each "
            "to be larger than the one before; does the mask hold background, or the image too few gray levels? "
            "A model with `intensity.source_normalization: robust` takes such an image too"
        )
    rising: list[float] = landmarks.tolist()
    return tuple(rising)


def _along(array: NDArray[Any], mask: NDArray[np.bool_], start: Statistics, end: Statistics) -> NDArray[np.float32]:
    """From the knots `start` to the knots `end` by straight pieces, inside the mask."""
    x, y, values = np.array(start), np.array(end), array[mask].astype(np.float64)
    piece = np.clip(np.searchsorted(x, values, side="right") - 1, 0, x.size - 2)
    moved = np.zeros(array.shape, np.float32)
    moved[mask] = y[piece] + (np.diff(y) / np.diff(x))[piece] * (values - x[piece])
    return moved
