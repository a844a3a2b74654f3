"""Comparison of a scan with the scans that a model was trained on, in voxel size and intensity."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from volumetric.imaging.geometry import spacing_mm
from volumetric.imaging.nifti import Image
from volumetric.model.spec import ModelSpec

_ENOUGH_VOXELS = 100_000  # for quartiles that are compared roughly


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
    sides = np.sort(spacing_mm(scan.affine))
    if (sides < 0.67 * np.sort(low)).any() or (sides > 1.5 * np.sort(high)).any():
        size = " x ".join(f"{side:.2f}" for side in spacing_mm(scan.affine))
        warnings.append(f"voxels lie far outside those of the training scans: {size} mm, trained on {low} to {high} mm")
    for contrast, source in zip(spec.sources, sources, strict=True):
        quantiles = spec.training.source_quantiles[contrast]
        inside = source[mask]
        lower, upper = np.quantile(inside[:: max(1, inside.size // _ENOUGH_VOXELS)], [0.25, 0.75])
        spread = quantiles[3] - quantiles[1]
        if abs(lower - quantiles[1]) > spread or abs(upper - quantiles[3]) > spread:
            warnings.append(
                f"the {contrast} intensities are unlike those of the training scans: quartiles {lower:.2f}, "
                f"{upper:.2f} of the median, trained on {quantiles[1]:.2f}, {quantiles[3]:.2f}"
            )
    return tuple(warnings)
