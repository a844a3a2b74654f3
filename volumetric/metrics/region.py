"""Owns the definition of a metric, and its input: one region of a pair, with maps that all regions share."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import torch

from volumetric.metrics import relative, similarity, texture
from volumetric.metrics.pair import VolumePair, Voxels, average, gather, places, voxels_in
from volumetric.metrics.ssim import ssim_and_structure_maps, uniform_ssim_map


@dataclass(frozen=True)
class Metric:
    """One column of the metrics table.

    Attributes:
        name: The column's name, with its unit where it has one.
        label: What a figure or page calls it.
        unit: `dB`, `1` for a pure number, `intensity` for the units of the volumes, `intensity^2`, `nat`, `mm` or
            `count`.
        better: Which direction is good: `higher`, `lower` or nearer to `zero`.
        value_range: Lowest and highest value it can take.
        formula: The formula in text, with t = truth, p = prediction, e = p - t, R = data_range.
        source: Where the formula comes from.
        compute: Computes it from a region; None for what an evaluation of files finds by other means.
    """

    name: str
    label: str
    unit: str
    better: Literal["higher", "lower", "zero"]
    value_range: tuple[float, float]
    formula: str
    source: str
    compute: "Callable[[Region], float] | None"


class Maps:
    """Maps of a whole pair, each `(I, J, K)` and made when a region first asks for it."""

    def __init__(self, pair: VolumePair, data_range: float, borders: torch.Tensor | None) -> None:
        """`borders` `(I, J, K)` is true where windows end."""
        self.pair, self.data_range, self.borders = pair, data_range, borders

    @cached_property
    def ssim(self) -> torch.Tensor:
        return self._ssim_and_structure[0]

    @cached_property
    def ssim_uniform(self) -> torch.Tensor:
        return uniform_ssim_map(*self.pair, data_range=self.data_range)

    @cached_property
    def scales(self) -> list[torch.Tensor]:
        return texture.scales(self.pair, self.data_range, self._ssim_and_structure[1])

    @cached_property
    def laplacian_truth(self) -> torch.Tensor:
        return texture.laplacian(self.pair.truth)

    @cached_property
    def laplacian_error(self) -> torch.Tensor:
        return texture.laplacian(self.pair.prediction - self.pair.truth)

    @cached_property
    def gradient_error(self) -> torch.Tensor:
        return texture.gradient_error(self.pair)

    @cached_property
    def detail(self) -> tuple[torch.Tensor, torch.Tensor]:
        return texture.high_pass(self.pair.truth), texture.high_pass(self.pair.prediction)

    @cached_property
    def _ssim_and_structure(self) -> tuple[torch.Tensor, torch.Tensor]:
        return ssim_and_structure_maps(*self.pair, data_range=self.data_range)


class Region:
    """Input of a metric: the scored voxels of one region."""

    def __init__(self, maps: Maps, mask: torch.Tensor) -> None:
        """A checked mask `(I, J, K)` of a pair's maps."""
        self.maps, self.mask, self._places = maps, mask, places(mask)
        self.data_range = maps.data_range

    @cached_property
    def voxels(self) -> Voxels:
        """Truth, prediction and error, each `(N,)`."""
        return voxels_in(self.maps.pair, self._places)

    @cached_property
    def error_quantiles(self) -> list[float]:
        """Median and 95th percentile of the absolute error."""
        return relative.quantiles_of(self.voxels, 0.5, 0.95)

    @cached_property
    def entropies(self) -> tuple[float, float, float]:
        """Entropies of truth, prediction and both, in nats."""
        return similarity.entropies_of(self.voxels)

    @property
    def mutual_information(self) -> float:
        """Mutual information of truth and prediction, in nats."""
        return self.entropies[0] + self.entropies[1] - self.entropies[2]

    @property
    def normalized_mutual_information(self) -> float:
        """Normalized mutual information, in [1, 2]."""
        return (self.entropies[0] + self.entropies[1]) / self.entropies[2]

    @property
    def hfen(self) -> float:
        """Norm of the error's Laplacian over that of the truth's."""
        return texture.ratio_of_norms(self._in(self.maps.laplacian_error), self._in(self.maps.laplacian_truth))

    @property
    def power_ratio_db(self) -> float:
        """Fine power of the prediction over that of the truth."""
        truth, prediction = (self._in(detail) for detail in self.maps.detail)
        return texture.decibels(texture.ratio_of_norms(prediction, truth))

    @property
    def seam_index(self) -> float:
        """Error where windows end over that elsewhere; NaN without borders."""
        if self.maps.borders is None:
            return math.nan
        return texture.seam_ratio(self.voxels.error.abs(), self._in(self.maps.borders))

    def mean(self, values: torch.Tensor) -> float:
        """Mean of a map `(I, J, K)` over the region."""
        return average(self._in(values))

    def _in(self, values: torch.Tensor) -> torch.Tensor:
        return gather(values, self._places)
