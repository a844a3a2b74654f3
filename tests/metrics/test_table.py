"""The table of metrics and scoring by region."""

from __future__ import annotations

import dataclasses
import math
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch

from volumetric.metrics import region
from volumetric.metrics.error import (
    bias,
    mae,
    mse,
    nrmse,
    psnr_affine_fit_db_of,
    psnr_db,
    psnr_truth_range_db_of,
    rmae,
    rmse,
)
from volumetric.metrics.pair import MetricError, select
from volumetric.metrics.relative import median_ae, nrmse_mean, p95_ae, relative_mse, relative_rmse
from volumetric.metrics.similarity import mutual_information, normalized_mutual_information, pearson
from volumetric.metrics.ssim import ssim, uniform_ssim_map
from volumetric.metrics.table import METRICS, score
from volumetric.metrics.texture import gradient_mae, hfen, ms_ssim, power_ratio_db

if TYPE_CHECKING:
    from tests.metrics.conftest import Case

COLUMNS = [
    "psnr_db",
    "ssim",
    "mae",
    "rmse",
    "rmae",
    "nrmse",
    "pearson",
    "bias",
    "psnr_truth_range_db",
    "psnr_affine_fit_db",
    "mse",
    "median_ae",
    "p95_ae",
    "relative_mse",
    "relative_rmse",
    "nrmse_mean",
    "ssim_uniform",
    "ms_ssim",
    "mutual_information",
    "nmi",
    "hfen",
    "gradient_mae",
    "power_ratio_db",
    "seam_index",
]


def test_columns_and_their_order() -> None:
    assert list(METRICS) == COLUMNS
    assert [metric.name for metric in METRICS.values()] == COLUMNS


def test_table_and_metrics_cannot_be_changed() -> None:
    with pytest.raises(TypeError):
        METRICS["mae"] = METRICS["rmse"]  # type: ignore[index]
    with pytest.raises(dataclasses.FrozenInstanceError):
        METRICS["mae"].label = "other"  # type: ignore[misc]


@pytest.mark.parametrize("name", COLUMNS)
def test_metric_describes_itself(name: str) -> None:
    metric = METRICS[name]
    assert (metric.unit == "dB") == name.endswith("_db")
    assert metric.better in ("higher", "lower", "zero")
    assert metric.value_range[0] < metric.value_range[1]
    assert metric.label and metric.formula and metric.source


def test_every_cell_is_what_the_single_metric_says(case: Case) -> None:
    regions = {"brain": case.mask, "whole": np.ones_like(case.mask)}
    rows = score(case.truth, case.prediction, regions, data_range=case.data_range)
    assert list(rows) == ["brain", "whole"]
    pair, ranged = (case.truth, case.prediction), {"data_range": case.data_range}
    for name, mask in regions.items():
        expected = {
            "psnr_db": psnr_db(*pair, mask=mask, **ranged),
            "ssim": ssim(*pair, mask=mask, **ranged),
            "mae": mae(*pair, mask=mask),
            "rmse": rmse(*pair, mask=mask),
            "rmae": rmae(*pair, mask=mask),
            "nrmse": nrmse(*pair, mask=mask, **ranged),
            "pearson": pearson(*pair, mask=mask),
            "bias": bias(*pair, mask=mask),
            "psnr_truth_range_db": psnr_truth_range_db_of(select(*pair, mask)),
            "psnr_affine_fit_db": psnr_affine_fit_db_of(select(*pair, mask), case.data_range),
            "mse": mse(*pair, mask=mask),
            "median_ae": median_ae(*pair, mask=mask),
            "p95_ae": p95_ae(*pair, mask=mask),
            "relative_mse": relative_mse(*pair, mask=mask),
            "relative_rmse": relative_rmse(*pair, mask=mask),
            "nrmse_mean": nrmse_mean(*pair, mask=mask),
            "ssim_uniform": float(uniform_ssim_map(*pair, **ranged).numpy()[mask].mean(dtype=float)),
            "ms_ssim": ms_ssim(*pair, mask=mask, **ranged),
            "mutual_information": mutual_information(*pair, mask=mask),
            "nmi": normalized_mutual_information(*pair, mask=mask),
            "hfen": hfen(*pair, mask=mask),
            "gradient_mae": gradient_mae(*pair, mask=mask),
            "power_ratio_db": power_ratio_db(*pair, mask=mask),
            "seam_index": math.nan,
            "num_voxels": mask.sum(),
        }
        assert list(rows[name]) == list(expected) == [*COLUMNS, "num_voxels"]
        assert rows[name] == pytest.approx(expected, rel=1e-12, nan_ok=True)
        assert len(set(rows[name].values())) >= len(expected) - 1  # two are NaN
    assert rows["brain"] != rows["whole"]


def test_map_is_computed_once_for_all_regions(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []
    original = region.ssim_and_structure_maps
    monkeypatch.setattr(region, "ssim_and_structure_maps", lambda *a, **k: calls.append(1) or original(*a, **k))
    score(case.truth, case.prediction, {"a": case.mask, "b": ~case.mask, "c": case.mask}, data_range=1.0)
    assert calls == [1]


def test_tensors_score_as_arrays_do(case: Case) -> None:
    expected = score(case.truth, case.prediction, {"brain": case.mask}, data_range=1.0)
    truth, prediction, mask = (torch.tensor(array) for array in case[:3])
    assert score(truth, prediction, {"brain": mask}, data_range=1.0) == expected


def test_direction_and_range_hold_for_a_good_and_a_bad_prediction(case: Case) -> None:
    noise = np.random.default_rng(0).normal(size=case.truth.shape)
    good, bad = (
        score(case.truth, case.truth + 0.02 + sd * noise + sd, {"brain": case.mask}, data_range=1.0)["brain"]
        for sd in (0.01, 0.3)
    )
    for name, metric in METRICS.items():
        if name in ("ms_ssim", "seam_index"):  # not defined for a side of 17 voxels, or without borders
            continue
        low, high = metric.value_range
        assert low <= bad[name] <= high and low <= good[name] <= high, name
        distance = {"higher": -1, "lower": 1, "zero": 1}[metric.better]
        sizes = [abs(row[name]) if metric.better == "zero" else distance * row[name] for row in (good, bad)]
        assert sizes[0] < sizes[1], name


def test_equal_volumes(case: Case) -> None:
    row = score(case.truth, case.truth, {"brain": case.mask}, data_range=1.0)["brain"]
    assert row["psnr_db"] == row["psnr_truth_range_db"] == math.inf
    assert row["ssim"] == 1.0
    assert row["pearson"] == pytest.approx(1.0, abs=1e-12)
    assert row["mae"] == row["rmse"] == row["rmae"] == row["nrmse"] == row["bias"] == 0


def test_a_constant_zero_volume_gives_nan_where_a_metric_is_undefined() -> None:
    zero = np.zeros((3, 4, 5), np.float32)
    row = score(zero, zero + 1, {"whole": zero == 0}, data_range=2.0)["whole"]
    undefined = {"rmae", "pearson", "psnr_truth_range_db", "relative_mse", "relative_rmse", "nrmse_mean", "ms_ssim",
                 "mutual_information", "nmi", "hfen", "power_ratio_db", "seam_index"}  # fmt: skip
    assert {name for name, value in row.items() if math.isnan(value)} == undefined
    assert row["psnr_db"] == pytest.approx(20 * math.log10(2))
    assert row["num_voxels"] == 60


def test_errors_name_the_region(case: Case) -> None:
    empty = np.zeros_like(case.mask)
    with pytest.raises(MetricError, match="region 'csf': expected at least one voxel, got none"):
        score(case.truth, case.prediction, {"brain": case.mask, "csf": empty}, data_range=1.0)
    with pytest.raises(MetricError, match="region 'gm': expected a boolean mask"):
        score(case.truth, case.prediction, {"gm": case.mask.astype(np.int16)}, data_range=1.0)
    with pytest.raises(MetricError, match="data_range: expected a finite number above 0, got 0"):
        score(case.truth, case.prediction, {"brain": case.mask}, data_range=0)


def test_nan_in_a_volume_is_refused_even_outside_the_regions(case: Case) -> None:
    broken = case.prediction.copy()
    broken[0, 0, 0] = np.nan
    with pytest.raises(MetricError, match=r"prediction: .* the first at \(0, 0, 0\)"):
        score(case.truth, broken, {"brain": case.mask}, data_range=1.0)
