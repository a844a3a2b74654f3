"""Training loss: terms in one table, each computed in the mask, 0 for a perfect prediction but for the likelihood."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping

import torch
from torch import Tensor
from torch.nn import functional

from volumetric.config.run import LossConfig
from volumetric.model.spec import AffineMap
from volumetric.model.uncertainty import LOG_WIDTH_LIMITS

SSIM_WINDOW_VOX = 7


class MaskedLoss:
    """The weighted sum of terms, in network units; SSIM in reference units, since its constants need a range."""

    def __init__(self, config: LossConfig, target_map: AffineMap, data_range: float, *, laplace: float = 0) -> None:
        """Take the weights, the units, the `data_range` of SSIM (reference units), and the weight of `laplace`."""
        weights = {**config.model_dump(), "laplace": laplace}
        self._weights = {name: weight for name, weight in weights.items() if weight}
        self._map, self._data_range = target_map, data_range

    def __call__(self, target: Tensor, output: Tensor, mask: Tensor, shares: Tensor | None = None) -> Tensor:
        """The scalar to minimize.

        Args:
            target: `(N, 1, I, J, K)`, network units.
            output: of the network: the prediction `(N, 1, I, J, K)`, network units, or `(N, 2, I, J, K)` with the
                logarithm of its width after it.
            mask: boolean `(N, 1, I, J, K)`.
            shares: `(num_terms,)` of a part of a batch: the part of the batch's `counts` that is its own, so that the
                sum over the parts is the loss of the batch; None for a whole batch.
        """
        target, prediction = target.float(), output[:, :1].float()
        total = prediction.new_zeros(())
        for number, (name, weight) in enumerate(self._weights.items()):
            weight = weight if shares is None else weight * shares[number]
            if name == "ssim":
                x, y = (volume * self._map.scale + self._map.center for volume in (target, prediction))
                total = total + weight * masked_ssim(x, y, mask, data_range=self._data_range)
            elif name == "laplace":
                total = total + weight * masked_laplace(target, prediction, output[:, 1:].float(), mask)
            else:
                total = total + weight * VOXELWISE[name](target, prediction, mask)
        return total

    def counts(self, mask: Tensor) -> Tensor:
        """Number of values that each term is the mean of, float `(num_terms,)`."""
        return torch.stack([COUNTS.get(name, _num_inside)(mask).float() for name in self._weights])


def masked_l1(target: Tensor, prediction: Tensor, mask: Tensor) -> Tensor:
    """Mean absolute error over the true voxels of the mask."""
    return _mean((prediction - target).abs(), mask)


def masked_smooth_l1(target: Tensor, prediction: Tensor, mask: Tensor) -> Tensor:
    """Half the squared error below 1, the absolute error less a half above (Girshick 2015)."""
    return _mean(functional.smooth_l1_loss(prediction, target, reduction="none"), mask)


def masked_l2(target: Tensor, prediction: Tensor, mask: Tensor) -> Tensor:
    """Mean squared error over the true voxels of the mask."""
    return _mean((prediction - target).square(), mask)


def masked_gradient(target: Tensor, prediction: Tensor, mask: Tensor) -> Tensor:
    """Mean absolute difference of the finite differences along the three axes (Mathieu et al. 2016, exponent 1).

    Counts the neighbors that both lie in the mask.
    """
    error = prediction - target
    total, count = error.new_zeros(()), error.new_zeros(())
    for axis, both in _neighbors(mask):
        total = total + (error.diff(dim=axis).abs() * both).sum()
        count = count + both.sum()
    return total / count.clamp_min(1)


def masked_laplace(target: Tensor, prediction: Tensor, log_width: Tensor, mask: Tensor) -> Tensor:
    """Negative log likelihood of a Laplace distribution in each voxel: mean of log(2 b) + |prediction - target| / b.

    With b = 1 everywhere it is the absolute error and a constant; it is least where b is the expected absolute error
    (Kendall and Gal 2017, "What Uncertainties Do We Need in Bayesian Deep Learning for Computer Vision?").

    Args:
        target: `(N, 1, I, J, K)`.
        prediction: `(N, 1, I, J, K)`, in the same units.
        log_width: `(N, 1, I, J, K)`, log b; beyond `LOG_WIDTH_LIMITS` it counts as the nearer of them.
        mask: boolean `(N, 1, I, J, K)`.
    """
    log_width = log_width.clamp(*LOG_WIDTH_LIMITS)
    return _mean((prediction - target).abs() * (-log_width).exp() + log_width + math.log(2), mask)


def masked_ssim(target: Tensor, prediction: Tensor, mask: Tensor, *, data_range: float) -> Tensor:
    """1 - SSIM (Wang et al. 2004) with a uniform window of 7 voxels, over the mask's voxels whose window fits.

    Outside the mask both volumes are taken as 0, as in a prediction file.
    """
    x, y = (volume * mask for volume in (target, prediction))
    moments = torch.cat([x, y, x * x + y * y, x * y], dim=1)
    for axis in range(3):  # the uniform window is separable: 21 sums a voxel instead of 343
        window = [SSIM_WINDOW_VOX if axis == other else 1 for other in range(3)]
        moments = functional.avg_pool3d(moments, window, stride=1)
    mean_x, mean_y, squares, product = torch.split(moments, 1, dim=1)
    c1, c2 = (0.01 * data_range) ** 2, (0.03 * data_range) ** 2
    luminance, both = mean_x * mean_y, mean_x**2 + mean_y**2
    similarity = (2 * luminance + c1) * (2 * (product - luminance) + c2) / ((both + c1) * (squares - both + c2))
    margin = SSIM_WINDOW_VOX // 2
    inner = slice(margin, -margin)
    return _mean(1 - similarity, mask[..., inner, inner, inner])


def _neighbors(mask: Tensor) -> Iterator[tuple[int, Tensor]]:
    """Along each axis, where a voxel and the next both lie in the mask."""
    for axis in (2, 3, 4):
        num = mask.shape[axis] - 1
        yield axis, mask.narrow(axis, 1, num) & mask.narrow(axis, 0, num)


def _num_inside(mask: Tensor) -> Tensor:
    return mask.sum()


def _num_windows(mask: Tensor) -> Tensor:
    inner = slice(SSIM_WINDOW_VOX // 2, -(SSIM_WINDOW_VOX // 2))
    return mask[..., inner, inner, inner].sum()


def _num_neighbors(mask: Tensor) -> Tensor:
    return torch.stack([both.sum() for _, both in _neighbors(mask)]).sum()


def _mean(values: Tensor, mask: Tensor) -> Tensor:
    inside = mask.float()
    return (values * inside).sum() / inside.sum().clamp_min(1)


VOXELWISE: Mapping[str, Callable[[Tensor, Tensor, Tensor], Tensor]] = {
    "l1": masked_l1,
    "smooth_l1": masked_smooth_l1,
    "l2": masked_l2,
    "gradient": masked_gradient,
}
"""Terms in network units: (target, prediction, mask) -> scalar."""

COUNTS: Mapping[str, Callable[[Tensor], Tensor]] = {"ssim": _num_windows, "gradient": _num_neighbors}
"""How many values the mean of a term is over, by mask; of the others, its voxels."""
