"""Owns the similarity metrics that ignore scale and offset: Pearson's correlation."""

import math

from volumetric.metrics.pair import Volume, Voxels, select


def pearson(truth: Volume, prediction: Volume, *, mask: Volume | None = None) -> float:
    """Pearson's correlation of the voxels' intensities, also called normalised cross-correlation.

    Args:
        truth: `(I, J, K)`.
        prediction: `(I, J, K)`, in any units.
        mask: `(I, J, K)`, boolean; only voxels inside count. None counts all.

    Returns:
        cov(truth, prediction) / (sd(truth) sd(prediction)), without unit, in [-1, 1], higher is better; NaN
        where either is constant.

    Raises:
        MetricError: The shapes differ, a value is not finite, or the mask is not boolean or is empty.
    """
    return pearson_of(select(truth, prediction, mask))


def pearson_of(voxels: Voxels) -> float:
    """cov / (sd sd), NaN where truth or prediction is constant."""
    centred = []
    for values in (voxels.truth, voxels.prediction):
        # Asked of the values themselves: the mean of equal numbers can be off by a rounding, and then the
        # variance is not zero.
        if float(values.max()) == float(values.min()):
            return math.nan
        deviation = values - values.mean()
        centred.append(deviation / deviation.norm())
    correlation = float((centred[0] * centred[1]).sum())
    return min(1.0, max(-1.0, correlation))
