"""Owns the table of metrics, which names every column of a metrics CSV, and scores a pair with it."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

import torch

from volumetric.metrics import error, similarity
from volumetric.metrics.pair import Volume, Voxels, check_data_range, check_mask, check_pair, voxels_in
from volumetric.metrics.ssim import ssim_map


@dataclass(frozen=True)
class Region:
    """What a metric is computed from: the scored voxels of one region.

    Attributes:
        voxels: Truth, prediction and error, each `(N,)`.
        ssim: `(N,)`, the SSIM map at those voxels.
        data_range: Width of the interval of intensities, in the volumes' units.
    """

    voxels: Voxels
    ssim: torch.Tensor
    data_range: float


@dataclass(frozen=True)
class Metric:
    """One column of the metrics table.

    Attributes:
        name: The column's name, with its unit where it has one.
        label: What a figure or page calls it.
        unit: `dB`, `1` for a pure number, `intensity` for the units of the volumes, `mm` or `count`.
        better: Which direction is good: `higher`, `lower`, or nearer to `zero`.
        value_range: Lowest and highest value it can take.
        formula: The formula in text, with t = truth, p = prediction, e = p - t, R = data_range.
        source: Where the formula comes from.
        compute: Computes it from a region; None for what the evaluation of files finds.
    """

    name: str
    label: str
    unit: str
    better: Literal["higher", "lower", "zero"]
    value_range: tuple[float, float]
    formula: str
    source: str
    compute: Callable[[Region], float] | None


_ROWS = (
    Metric(
        name="psnr_db",
        label="PSNR",
        unit="dB",
        better="higher",
        value_range=(-math.inf, math.inf),
        formula="20 log10(R) - 10 log10(mean e^2)",
        source="ITU-T J.340, with R fixed in advance",
        compute=lambda region: error.psnr_db_of(region.voxels, region.data_range),
    ),
    Metric(
        name="ssim",
        label="SSIM",
        unit="1",
        better="higher",
        value_range=(-1.0, 1.0),
        formula=(
            "mean over the region of ((2 mt mp + C1)(2 stp + C2)) / ((mt^2 + mp^2 + C1)(st^2 + sp^2 + C2)), "
            "3D Gaussian window of 11 voxels and sigma 1.5 voxels, C1 = (0.01 R)^2, C2 = (0.03 R)^2, "
            "population covariance, mirrored border"
        ),
        source="Wang et al., IEEE Trans. Image Process. 13(4):600-612, 2004",
        compute=lambda region: float(region.ssim.mean(dtype=torch.float64)),
    ),
    Metric(
        name="mae",
        label="MAE",
        unit="intensity",
        better="lower",
        value_range=(0.0, math.inf),
        formula="mean |e|",
        source="definition",
        compute=lambda region: error.mae_of(region.voxels),
    ),
    Metric(
        name="rmse",
        label="RMSE",
        unit="intensity",
        better="lower",
        value_range=(0.0, math.inf),
        formula="sqrt(mean e^2)",
        source="definition",
        compute=lambda region: error.rmse_of(region.voxels),
    ),
    Metric(
        name="rmae",
        label="Relative MAE",
        unit="1",
        better="lower",
        value_range=(0.0, math.inf),
        formula="sum |e| / sum |t|",
        source="definition",
        compute=lambda region: error.rmae_of(region.voxels),
    ),
    Metric(
        name="nrmse",
        label="NRMSE",
        unit="1",
        better="lower",
        value_range=(0.0, math.inf),
        formula="sqrt(mean e^2) / R",
        source="definition, normalised by the data range",
        compute=lambda region: error.nrmse_of(region.voxels, region.data_range),
    ),
    Metric(
        name="pearson",
        label="Pearson correlation",
        unit="1",
        better="higher",
        value_range=(-1.0, 1.0),
        formula="cov(t, p) / (sd(t) sd(p))",
        source="definition",
        compute=lambda region: similarity.pearson_of(region.voxels),
    ),
    Metric(
        name="bias",
        label="Bias",
        unit="intensity",
        better="zero",
        value_range=(-math.inf, math.inf),
        formula="mean e",
        source="definition",
        compute=lambda region: error.bias_of(region.voxels),
    ),
    Metric(
        name="psnr_truth_range_db",
        label="PSNR, range of the truth",
        unit="dB",
        better="higher",
        value_range=(-math.inf, math.inf),
        formula="20 log10(max t - min t) - 10 log10(mean e^2)",
        source="the range of many publications; it differs from subject to subject",
        compute=lambda region: error.psnr_truth_range_db_of(region.voxels),
    ),
    Metric(
        name="psnr_affine_fit_db",
        label="PSNR after affine fit (oracle)",
        unit="dB",
        better="higher",
        value_range=(-math.inf, math.inf),
        formula="20 log10(R) - 10 log10(min over a, b of mean (a p + b - t)^2)",
        source="oracle: fitted to the truth, so it is no score",
        compute=lambda region: error.psnr_affine_fit_db_of(region.voxels, region.data_range),
    ),
)

METRICS: Mapping[str, Metric] = MappingProxyType({metric.name: metric for metric in _ROWS})


def score(
    truth: Volume, prediction: Volume, regions: Mapping[str, Volume], *, data_range: float
) -> dict[str, dict[str, float]]:
    """Computes every metric of `METRICS` in every region.

    The SSIM map is computed once and shared among the regions; the error is computed once a region and shared
    among the metrics.

    Args:
        truth: `(I, J, K)`.
        prediction: `(I, J, K)`, in the truth's units.
        regions: From a region's name to its mask `(I, J, K)`, boolean.
        data_range: Width of the interval of intensities, in the volumes' units, above 0.

    Returns:
        From a region's name to a row: from a column's name, in the order of `METRICS` and then `num_voxels`,
        to its value.

    Raises:
        MetricError: The shapes differ, a value is not finite, a region's mask is not boolean or is empty, or
            the data range is not above 0.
    """
    pair = check_pair(truth, prediction)
    width = check_data_range(data_range)
    masks = {name: check_mask(mask, pair, f"region {name!r}") for name, mask in regions.items()}
    ssim_values = ssim_map(pair.truth, pair.prediction, data_range=width)
    rows: dict[str, dict[str, float]] = {}
    for name, mask in masks.items():
        region = Region(voxels_in(pair, mask), ssim_values[mask], width)
        rows[name] = {column: metric.compute(region) for column, metric in METRICS.items() if metric.compute}
        rows[name]["num_voxels"] = region.ssim.numel()
    return rows
