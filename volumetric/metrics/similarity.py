"""Owns the similarity metrics that ignore scale and offset: Pearson's correlation and mutual information."""

import math

import torch

from volumetric.metrics.pair import Volume, Voxels, average, ranked, select, total

BINS = 64
"""Bins of each axis of the joint histogram."""


def pearson(truth: Volume, prediction: Volume, *, mask: Volume | None = None) -> float:
    """Pearson's correlation of the voxels' intensities, also called normalized cross-correlation.

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
    deviations = []
    for values in (voxels.truth, voxels.prediction):
        # Asked of the values themselves: the mean of equal numbers can be off by a rounding, and then the
        # variance is not zero.
        low, high = values.aminmax()
        if low == high:
            return math.nan
        deviations.append(values - average(values))
    one, other = deviations
    correlation = total(one * other) / math.sqrt(total(one.square()) * total(other.square()))
    return min(1.0, max(-1.0, correlation))


def mutual_information(truth: Volume, prediction: Volume, *, mask: Volume | None = None, bins: int = BINS) -> float:
    """H(t) + H(p) - H(t, p) in nats, from the joint histogram of `normalized_mutual_information`.

    Args:
        truth: `(I, J, K)`.
        prediction: `(I, J, K)`, in any units, of any contrast.
        mask: `(I, J, K)`, boolean; only voxels inside count. None counts all.
        bins: of each axis of the histogram.

    Returns:
        Nats, 0 or more, higher is better; NaN where either is constant.

    Raises:
        MetricError: The shapes differ, a value is not finite, or the mask is not boolean or is empty.
    """
    one, other, both = entropies_of(select(truth, prediction, mask), bins)
    return one + other - both


def normalized_mutual_information(
    truth: Volume, prediction: Volume, *, mask: Volume | None = None, bins: int = BINS
) -> float:
    """(H(t) + H(p)) / H(t, p) of Studholme et al. (Pattern Recognit. 32(1), 1999), from a joint histogram.

    The bins have equal width between the 0.5th and 99.5th percentile of each volume, and the outer ones take what
    lies beyond, so that a few bright voxels do not use up the bins.

    Args:
        truth: `(I, J, K)`.
        prediction: `(I, J, K)`, in any units, of any contrast.
        mask: `(I, J, K)`, boolean; only voxels inside count. None counts all.
        bins: of each axis of the histogram.

    Returns:
        A pure number in [1, 2], higher is better: 1 where the two say nothing of each other, 2 where each follows
        from the other; NaN where either is constant.

    Raises:
        MetricError: The shapes differ, a value is not finite, or the mask is not boolean or is empty.
    """
    one, other, both = entropies_of(select(truth, prediction, mask), bins)
    return (one + other) / both


def entropies_of(voxels: Voxels, bins: int = BINS) -> tuple[float, float, float]:
    """H(t), H(p) and H(t, p) in nats; NaN where either is constant."""
    codes = []
    for values in (voxels.truth, voxels.prediction):
        low, high = ranked(values, [round(q * (values.numel() - 1)) for q in (0.005, 0.995)])
        if high == low:
            return math.nan, math.nan, math.nan
        codes.append((values - low).div_(high - low).mul_(bins).clamp_(0, bins - 1).to(torch.int32))
    joint = torch.bincount(codes[0] * bins + codes[1], minlength=bins * bins).double().reshape(bins, bins)
    joint /= joint.sum()
    return _entropy(joint.sum(1)), _entropy(joint.sum(0)), _entropy(joint)


def _entropy(probabilities: torch.Tensor) -> float:
    return float(torch.special.entr(probabilities).sum())
