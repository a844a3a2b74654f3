"""Comparison of a scan with the scans that a model was trained on, in voxel size and intensity."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from volumetric.imaging.geometry import spacing_mm
from volumetric.imaging.nifti import Image
from volumetric.model.spec import ModelSpec

_ENOUGH_VOXELS = 100_000  # for quartiles that are compared roughly


class OutOfDistribution(NamedTuple):
    """Distances of a scan from the training scans, of three kinds; above 1 each is warned about.

    Attributes:
        spacing: the voxel's sides beyond those of the training scans, over a factor of 1.5.
        intensity: the farther quartile's distance from that of the training scans, over their interquartile range;
            None of a label map.
        features: distance in the network's own features, over that of the training scans; None of a model without.
    """

    spacing: float
    intensity: float | None = None
    features: float | None = None

    @property
    def score(self) -> float:
        """The largest of them."""
        return max(value for value in self if value is not None)


def out_of_distribution(
    spec: ModelSpec, scan: Image, sources: NDArray[np.float32], mask: NDArray[np.bool_]
) -> OutOfDistribution:
    """Spacing and intensity; arguments as in `training_range_warnings`."""
    spacing = round(_spacing_score(spec, scan), 3)
    if spec.label_classes is not None:
        return OutOfDistribution(spacing)
    quantiles = [spec.training.source_quantiles[contrast] for contrast in spec.sources]
    pairs = zip(quantiles, sources, strict=True)
    return OutOfDistribution(spacing, round(max(_intensity_score(own, *_quartiles(s, mask)) for own, s in pairs), 3))


def training_range_warnings(
    spec: ModelSpec, scan: Image, sources: NDArray[np.float32], mask: NDArray[np.bool_]
) -> tuple[str, ...]:
    """One sentence for each way in which a scan lies outside the range of the training scans; its kind before a colon.

    Args:
        spec: of the model, for its training statistics.
        scan: the first source.
        sources: `(C, I, J, K)` in model space, reference units.
        mask: `(I, J, K)` in model space.
    """
    warnings = []
    low, high = spec.training.spacing_mm_low, spec.training.spacing_mm_high
    if _spacing_score(spec, scan) > 1:
        size = " x ".join(f"{side:.2f}" for side in spacing_mm(scan.affine))
        warnings.append(f"voxels lie far outside those of the training scans: {size} mm, trained on {low} to {high} mm")
    for contrast, source in zip(spec.sources, sources, strict=True):
        quantiles = spec.training.source_quantiles[contrast]
        lower, upper = _quartiles(source, mask)
        if _intensity_score(quantiles, lower, upper) > 1:
            warnings.append(
                f"the {contrast} intensities are unlike those of the training scans: quartiles {lower:.2f}, "
                f"{upper:.2f} of the median, trained on {quantiles[1]:.2f}, {quantiles[3]:.2f}"
            )
    return tuple(warnings)


def _spacing_score(spec: ModelSpec, scan: Image) -> float:
    sides = np.sort(spacing_mm(scan.affine))
    low, high = np.sort(spec.training.spacing_mm_low), np.sort(spec.training.spacing_mm_high)
    return float(max((0.67 * low / sides).max(), (sides / (1.5 * high)).max()))


def _quartiles(source: NDArray[np.float32], mask: NDArray[np.bool_]) -> tuple[float, float]:
    inside = source[mask]
    lower, upper = np.quantile(inside[:: max(1, inside.size // _ENOUGH_VOXELS)], [0.25, 0.75]).tolist()
    return lower, upper


def _intensity_score(quantiles: Sequence[float], lower: float, upper: float) -> float:
    spread = max(quantiles[3] - quantiles[1], float(np.finfo(np.float32).tiny))
    return max(abs(lower - quantiles[1]), abs(upper - quantiles[3])) / spread
