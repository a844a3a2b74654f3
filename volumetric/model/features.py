"""Features of a scan as the network itself sees it, and their distance from those of the training scans."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from volumetric.config.section import Section

if TYPE_CHECKING:
    import torch  # whoever lists models needs none

MIN_SUBJECTS = 4
"""With fewer there is no spread to compare a distance with."""
_MOST_CHANNELS = 128
_SHARE_BELOW = 0.95


class FeatureStatistics(Section):
    """The training scans in the network's deepest features, pooled over the middle of each brain.

    Attributes:
        mean: of each feature.
        sd: of each feature; variances are shrunk toward their mean.
    """

    num_subjects: int = Field(ge=MIN_SUBJECTS, description="scanned training subjects")
    limit: float = Field(
        gt=0, description="distance that 95 % of them keep within, each from the others; all of fewer than 19"
    )
    mean: tuple[float, ...] = Field(min_length=1)
    sd: tuple[float, ...] = Field(min_length=1)

    @classmethod
    def of(cls, features: NDArray[np.float64]) -> Self:
        """Those of subjects, `(N, F)`."""
        mean, sd = _moments(features)
        others = [np.delete(features, n, axis=0) for n in range(len(features))]
        distances = sorted(_distance(own, *_moments(rest)) for own, rest in zip(features, others, strict=True))
        return cls(
            num_subjects=len(features),
            limit=_short(distances[min(len(features), _place(len(features))) - 1]),
            mean=tuple(map(_short, mean.tolist())),
            sd=tuple(map(_short, sd.tolist())),
        )

    def score(self, features: NDArray[np.float64]) -> float:
        """Distance of a scan's features `(F,)` from the mean, over the limit: above 1 it is unlike the training scans.

        Mahalanobis distance with a covariance that is shrunk to its diagonal, divided by the root of the number of
        features.
        """
        return _distance(features, np.array(self.mean), np.array(self.sd)) / self.limit

    def warning(self, score: float) -> str:
        """The sentence for a score above 1; the kind stands before the colon."""
        compared = "95 %" if _place(self.num_subjects) <= self.num_subjects else "all"
        return (
            f"the network's features of the scan are unlike those of the training scans: {score:.1f} times the "
            f"distance that {compared} of {self.num_subjects} training scans keep from the others"
        )


def pooled_features(
    network: torch.nn.Module, volume: NDArray[np.float32], size: Sequence[int], device: torch.device
) -> NDArray[np.float64]:
    """Mean and SD of each channel of the deepest features, in one window in the middle of a scan.

    Deepest is the output of a layer with the fewest voxels, and among those with the most channels the last; of many
    channels every n-th is taken.

    Args:
        network: in evaluation mode, on the device.
        volume: `(C, I, J, K)` in network units, cropped to the region.
        size: voxels of the window, which is filled up with 0 at its far end.
        device: where to compute.

    Returns:
        `(2 * num_channels,)`.
    """
    import torch

    starts = [max(0, (n - side) // 2) for n, side in zip(volume.shape[1:], size, strict=True)]
    middle = volume[(slice(None), *(slice(s, s + side) for s, side in zip(starts, size, strict=True)))]
    window = np.zeros((1, len(volume), *size), np.float32)
    i, j, k = middle.shape[1:]
    window[0, :, :i, :j, :k] = middle
    deepest: list[torch.Tensor] = []

    def keep(module: torch.nn.Module, inputs: object, output: object) -> None:
        if not isinstance(output, torch.Tensor) or output.ndim != window.ndim:
            return
        if not deepest or _depth(output) >= _depth(deepest[0]):
            deepest[:] = [output]

    handles = [module.register_forward_hook(keep) for module in network.modules()]
    try:
        with torch.inference_mode():
            network(torch.from_numpy(window).to(device))
    finally:
        for handle in handles:
            handle.remove()
    features = deepest[0][0].flatten(1).double()
    features = features[:: -(-len(features) // _MOST_CHANNELS)]
    pooled: NDArray[np.float64] = torch.cat([features.mean(1), features.std(1, correction=0)]).cpu().numpy()
    return pooled


def _place(num_subjects: int) -> int:
    """Of the limit among sorted distances, counted from 1: 95 % of them and one to come lie below or at it."""
    return math.ceil(_SHARE_BELOW * (num_subjects + 1))


def _depth(output: torch.Tensor) -> tuple[int, int]:
    return -math.prod(output.shape[2:]), output.shape[1]


def _moments(features: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mean and SD of each feature; the fewer the subjects, the nearer the variances are to their mean."""
    variances = features.var(axis=0, ddof=1)
    share = max(0.01, 1 / (len(features) - 1))
    shrunk = (1 - share) * variances + share * variances.mean()
    return features.mean(axis=0), np.sqrt(shrunk + np.finfo(np.float32).tiny)


def _distance(features: NDArray[np.float64], mean: NDArray[np.float64], sd: NDArray[np.float64]) -> float:
    return float(np.sqrt(np.mean(np.square((features - mean) / sd))))


def _short(value: float) -> float:
    return float(f"{value:.5g}")
