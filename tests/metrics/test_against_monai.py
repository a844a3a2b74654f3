"""PSNR and SSIM against MONAI; the one metric test that pays for importing it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from monai.metrics.regression import MAEMetric, PSNRMetric, RMSEMetric, SSIMMetric, compute_ssim_and_cs

from volumetric.metrics.error import mae, psnr_db, rmse
from volumetric.metrics.ssim import WINDOW_RADIUS_VOX, ssim, ssim_map

if TYPE_CHECKING:
    from tests.metrics.conftest import Case

INTERIOR = (slice(WINDOW_RADIUS_VOX, -WINDOW_RADIUS_VOX),) * 3


def batched(case: Case) -> tuple[torch.Tensor, torch.Tensor]:
    """Prediction and truth `(1, 1, I, J, K)`, in MONAI's order."""
    return torch.tensor(case.prediction)[None, None], torch.tensor(case.truth)[None, None]


def test_psnr_mae_and_rmse(case: Case) -> None:
    pair = case.truth, case.prediction
    expected_psnr = float(PSNRMetric(max_val=case.data_range)(*batched(case)))
    assert psnr_db(*pair, data_range=case.data_range) == pytest.approx(expected_psnr, rel=1e-5)
    assert mae(*pair) == pytest.approx(float(MAEMetric()(*batched(case))), rel=1e-5)
    assert rmse(*pair) == pytest.approx(float(RMSEMetric()(*batched(case))), rel=1e-5)


def test_ssim_map_in_the_valid_interior(case: Case) -> None:
    # MONAI computes in float32, where E[x^2] - E[x]^2 is wrong by up to 7e-5 of the map for these volumes as they
    # are; around zero it is not.
    mean = case.truth.mean()
    centered = case._replace(truth=case.truth - mean, prediction=case.prediction - mean)
    expected, _ = compute_ssim_and_cs(
        *batched(centered),
        spatial_dims=3,
        kernel_size=(11, 11, 11),
        kernel_sigma=(1.5, 1.5, 1.5),
        data_range=case.data_range,
    )
    values = ssim_map(centered.truth, centered.prediction, data_range=case.data_range)
    torch.testing.assert_close(values[INTERIOR], expected[0, 0], atol=1e-5, rtol=0)


def test_mean_ssim_of_the_valid_interior(case: Case) -> None:
    interior = np.zeros(case.truth.shape, bool)
    interior[INTERIOR] = True
    metric = SSIMMetric(spatial_dims=3, data_range=case.data_range, win_size=11, kernel_sigma=1.5)
    value = ssim(case.truth, case.prediction, data_range=case.data_range, mask=interior)
    assert value == pytest.approx(float(metric(*batched(case))), rel=1e-5)
