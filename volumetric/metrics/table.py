"""Owns the table of metrics, which names every column of a metrics CSV, and scores a pair with it."""

from collections.abc import Mapping
from types import MappingProxyType

from volumetric.metrics.columns import ROWS
from volumetric.metrics.pair import Volume, check_data_range, check_mask, check_pair
from volumetric.metrics.region import Maps, Metric, Region

__all__ = ["METRICS", "Metric", "score"]

METRICS: Mapping[str, Metric] = MappingProxyType({metric.name: metric for metric in ROWS})
"""Metrics by column name, in the order of the columns."""


def score(
    truth: Volume,
    prediction: Volume,
    regions: Mapping[str, Volume],
    *,
    data_range: float,
    borders: Volume | None = None,
) -> dict[str, dict[str, float]]:
    """Computes every metric of `METRICS` in every region.

    Maps such as that of SSIM are computed once and shared among the regions; the error is computed once a region and
    shared among the metrics.

    Args:
        truth: `(I, J, K)`.
        prediction: `(I, J, K)`, in the truth's units.
        regions: From a region's name to its mask `(I, J, K)`, boolean.
        data_range: Width of the interval of intensities, in the volumes' units, above 0.
        borders: `(I, J, K)`, boolean, true where windows of the prediction end; without it `seam_index` is NaN.

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
    maps = Maps(pair, width, None if borders is None else check_mask(borders, pair, "borders"))
    rows: dict[str, dict[str, float]] = {}
    for name, mask in masks.items():
        region = Region(maps, mask)
        rows[name] = {column: metric.compute(region) for column, metric in METRICS.items() if metric.compute}
        rows[name]["num_voxels"] = region.voxels.error.numel()
    return rows
