"""Metrics of single voxels, fractions, edges, detail, seams and scales against NumPy, SciPy, scikit-image, MONAI."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import nibabel as nib
import numpy as np
import pytest
import torch
from monai.metrics.regression import MultiScaleSSIMMetric
from scipy import ndimage, stats
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from volumetric.metrics.downstream import DOWNSTREAM, definitions
from volumetric.metrics.relative import median_ae, nrmse_mean, p95_ae, relative_mse, relative_rmse
from volumetric.metrics.similarity import mutual_information, normalized_mutual_information
from volumetric.metrics.ssim import ssim_and_structure_maps, uniform_ssim_map
from volumetric.metrics.table import METRICS, score
from volumetric.metrics.texture import gradient_mae, hfen, high_pass, laplacian, ms_ssim, power_ratio_db, seam_index

if TYPE_CHECKING:
    from tests.metrics.conftest import Case


def large_pair(shape=(47, 53, 45)):
    rng = np.random.default_rng(3)
    truth = ndimage.gaussian_filter(rng.normal(size=shape), 2) * 6 + 1
    return truth.astype(np.float32), (truth + 0.1 * rng.normal(size=shape)).astype(np.float32)


def test_single_voxels_and_fractions_are_numpys(case: Case) -> None:
    t, p = (v[case.mask].astype(np.float64) for v in (case.truth, case.prediction))
    e = np.abs(p - t)
    args = {"mask": case.mask}
    assert median_ae(case.truth, case.prediction, **args) == pytest.approx(np.median(e), rel=1e-9)
    assert p95_ae(case.truth, case.prediction, **args) == pytest.approx(np.quantile(e, 0.95), rel=1e-9)
    assert relative_mse(case.truth, case.prediction, **args) == pytest.approx((e**2).sum() / (t**2).sum(), rel=1e-9)
    assert relative_rmse(case.truth, case.prediction, **args) == pytest.approx(
        np.linalg.norm(e) / np.linalg.norm(t), rel=1e-9
    )
    expected = np.sqrt((e**2).mean()) / t.mean()
    assert nrmse_mean(case.truth, case.prediction, **args) == pytest.approx(expected, rel=1e-9)
    assert math.isnan(nrmse_mean(-np.abs(case.truth), case.prediction))
    assert median_ae(case.truth[:1, :1, :1], case.truth[:1, :1, :1] + 2) == pytest.approx(2)


def test_the_uniform_window_is_scikit_images_default(case: Case) -> None:
    _, expected = structural_similarity(
        case.truth.astype(np.float64), case.prediction.astype(np.float64), data_range=case.data_range, full=True
    )
    values = uniform_ssim_map(case.truth, case.prediction, data_range=case.data_range)
    np.testing.assert_allclose(values.numpy(), expected, atol=1e-6)


def test_structure_is_ssim_where_the_means_agree(case: Case) -> None:
    assert ssim_and_structure_maps(case.truth, case.truth + 5, data_range=1.0)[1].numpy() == pytest.approx(1, abs=1e-4)


def test_three_scales_are_monais_without_a_mask() -> None:
    truth, prediction = large_pair((48, 56, 64))
    truth, prediction = truth[:48, :52, :44], prediction[:48, :52, :44]
    # MONAI leaves out the border of every map, so the same is done to ours by hand.
    weights = np.array([0.0448, 0.2856, 0.3001])
    weights /= weights.sum()
    monai = MultiScaleSSIMMetric(3, data_range=2.0, kernel_size=11, kernel_sigma=1.5, weights=tuple(weights))
    expected = float(monai(torch.tensor(prediction)[None, None], torch.tensor(truth)[None, None]))
    found = 1.0
    t, p = (torch.tensor(v)[None, None] for v in (truth, prediction))
    for scale, weight in enumerate(weights):
        whole, structure = ssim_and_structure_maps(t[0, 0], p[0, 0], data_range=2.0)
        values = (structure if scale < 2 else whole)[5:-5, 5:-5, 5:-5]
        found *= float(values.mean()) ** weight
        t, p = (torch.nn.functional.avg_pool3d(v, 2) for v in (t, p))
    assert found == pytest.approx(expected, rel=1e-4)
    full = torch.ones(truth.shape, dtype=torch.bool)
    assert ms_ssim(truth, prediction, data_range=2.0) == ms_ssim(truth, prediction, data_range=2.0, mask=full)
    assert 0.9 * expected < ms_ssim(truth, prediction, data_range=2.0) < 1


def test_scales_of_a_mask_and_their_limits() -> None:
    truth, prediction = large_pair()
    assert ms_ssim(truth, truth, data_range=2.0) == pytest.approx(1, abs=1e-9)
    mask = np.zeros(truth.shape, bool)
    mask[:23] = True
    mixed = truth.copy()
    mixed[29:] = prediction[29:]  # five voxels beyond the mask, out of the finest windows' reach
    near = ms_ssim(truth, mixed, data_range=2.0, mask=mask)
    assert ms_ssim(truth, prediction, data_range=2.0, mask=mask) < near <= 1
    one = np.zeros(truth.shape, bool)
    one[20, 20, 20] = True
    assert math.isnan(ms_ssim(truth, prediction, data_range=2.0, mask=one))
    assert math.isnan(ms_ssim(truth[:43], prediction[:43], data_range=2.0))
    assert ms_ssim(truth, 2 - truth, data_range=2.0) == 0  # negative structure


def test_mutual_information_is_scipys_on_the_same_bins(case: Case) -> None:
    t, p = (v[case.mask].astype(np.float64) for v in (case.truth, case.prediction))
    codes = []
    for values in (t, p):
        ordered = np.sort(values)
        low, high = (ordered[round(q * (len(ordered) - 1))] for q in (0.005, 0.995))
        codes.append(np.clip(((values - low) / (high - low) * 64).astype(int), 0, 63))
    joint = np.histogram2d(*codes, bins=64, range=((0, 64), (0, 64)))[0] / len(t)
    one, other, both = (stats.entropy(x) for x in (joint.sum(1), joint.sum(0), joint.ravel()))
    found = mutual_information(case.truth, case.prediction, mask=case.mask)
    assert found == pytest.approx(one + other - both, rel=1e-5)
    assert found == pytest.approx(mutual_information(case.prediction, case.truth, mask=case.mask), rel=1e-9)
    nmi = normalized_mutual_information(case.truth, case.prediction, mask=case.mask)
    assert nmi == pytest.approx((one + other) / both, rel=1e-5)


def test_the_laplacian_is_scipys(case: Case) -> None:
    expected = ndimage.gaussian_laplace(case.truth.astype(np.float64), 1.5, mode="reflect", radius=7)
    np.testing.assert_allclose(laplacian(torch.tensor(case.truth)).numpy(), expected, atol=2e-6)
    error = ndimage.gaussian_laplace((case.prediction - case.truth).astype(np.float64), 1.5, mode="reflect", radius=7)
    ratio = np.linalg.norm(error[case.mask]) / np.linalg.norm(expected[case.mask])
    assert hfen(case.truth, case.prediction, mask=case.mask) == pytest.approx(ratio, rel=1e-5)
    assert math.isnan(hfen(np.zeros((3, 4, 5)), np.ones((3, 4, 5))))


def test_gradients_are_numpys(case: Case) -> None:
    sizes = [np.sqrt(sum(g**2 for g in np.gradient(v.astype(np.float64)))) for v in (case.truth, case.prediction)]
    expected = np.abs(sizes[1] - sizes[0])[case.mask].mean()
    assert gradient_mae(case.truth, case.prediction, mask=case.mask) == pytest.approx(expected, rel=1e-5)
    assert gradient_mae(case.truth, case.truth + 3) == pytest.approx(0, abs=1e-6)
    assert math.isnan(gradient_mae(np.ones((1, 2, 3)), np.ones((1, 2, 3))))


def test_only_frequencies_above_half_nyquist_pass() -> None:
    i = np.arange(32)[:, None, None] * np.ones((1, 20, 24))
    slow, fast = np.cos(2 * np.pi * i * 4 / 32), np.cos(2 * np.pi * i * 12 / 32)
    passed = high_pass(torch.tensor(slow + fast)).numpy()
    np.testing.assert_allclose(passed, fast, atol=1e-5)
    assert power_ratio_db(slow + fast, slow + 0.5 * fast) == pytest.approx(20 * math.log10(0.5), rel=1e-5)
    assert power_ratio_db(slow + fast, slow + fast) == pytest.approx(0, abs=1e-6)
    assert power_ratio_db(slow + fast, np.zeros_like(fast)) == -math.inf
    assert math.isnan(power_ratio_db(np.zeros_like(fast), fast))


@pytest.mark.real
def test_real_scans_score_as_by_other_implementations(real_scans) -> None:
    folder = real_scans / "ljubljana_ms/mni/patient19"
    box = np.s_[60:107, 80:131, 70:115]
    source, truth = (nib.load(folder / f"{c}.nii.gz").get_fdata(dtype=np.float32)[box] for c in ("t1w", "t2w"))
    mask = source != 0
    truth, prediction = truth / np.median(truth[mask]), (2 - source / np.median(source[mask])).astype(np.float32)
    row = score(truth, prediction, {"brain": mask}, data_range=2.6)["brain"]
    t, p = truth.astype(np.float64), prediction.astype(np.float64)
    logs = [ndimage.gaussian_laplace(v, 1.5, mode="reflect", radius=7)[mask] for v in (p - t, t)]
    grads = [np.sqrt(sum(g**2 for g in np.gradient(v))) for v in (t, p)]
    usual = {"data_range": 2.6, "full": True}
    gaussian = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False}
    expected = {
        "mae": np.abs(p - t)[mask].mean(),
        "p95_ae": np.quantile(np.abs(p - t)[mask], 0.95),
        "psnr_db": peak_signal_noise_ratio(t[mask], p[mask], data_range=2.6),
        "relative_mse": ((p - t)[mask] ** 2).sum() / (t[mask] ** 2).sum(),
        "pearson": np.corrcoef(t[mask], p[mask])[0, 1],
        "ssim": structural_similarity(t, p, **usual, **gaussian)[1][mask].mean(),
        "ssim_uniform": structural_similarity(t, p, **usual)[1][mask].mean(),
        "hfen": np.linalg.norm(logs[0]) / np.linalg.norm(logs[1]),
        "gradient_mae": np.abs(grads[1] - grads[0])[mask].mean(),
    }
    assert {name: row[name] for name in expected} == pytest.approx(expected, rel=1e-5)
    assert 0 < row["ms_ssim"] < 1


def test_blur_loses_detail_and_noise_gains_it() -> None:
    truth, noisy = large_pair()
    assert power_ratio_db(truth, ndimage.gaussian_filter(noisy, 1)) < power_ratio_db(truth, noisy)
    assert power_ratio_db(truth, noisy) > 3


def test_a_seam_by_hand() -> None:
    truth = np.zeros((4, 5, 6))
    error = np.ones_like(truth)
    borders = np.zeros(truth.shape, bool)
    borders[2] = True
    error[2] = 3
    assert seam_index(truth, error, borders) == pytest.approx(3)
    mask = np.zeros_like(borders)
    mask[:2] = True
    assert math.isnan(seam_index(truth, error, borders, mask=mask))
    assert math.isnan(seam_index(truth, truth, borders))
    assert seam_index(truth, np.where(borders, error, 0), borders) == math.inf
    row = score(truth, error, {"all": borders | True}, data_range=1.0, borders=borders)["all"]
    assert row["seam_index"] == pytest.approx(3)


@pytest.mark.parametrize("axes", [(1, 0, 2), (2, 0, 1)])
def test_the_order_of_axes_does_not_matter(axes: tuple[int, int, int]) -> None:
    truth, prediction = large_pair()
    mask = truth > 0.8
    borders = prediction > 1.3
    one, other = (
        score(*(v.transpose(a) for v in (truth, prediction)), {"r": mask.transpose(a)}, data_range=2.0,
              borders=borders.transpose(a))["r"]
        for a in ((0, 1, 2), axes)
    )  # fmt: skip
    for name, value in one.items():
        assert other[name] == pytest.approx(value, rel=1e-5, abs=1e-7), name


def test_the_numbers_of_a_row_agree_with_each_other(case: Case) -> None:
    row = score(case.truth, case.prediction, {"brain": case.mask}, data_range=case.data_range)["brain"]
    assert row["rmse"] ** 2 == pytest.approx(row["mse"], rel=1e-12)
    assert row["psnr_db"] == pytest.approx(20 * math.log10(case.data_range) - 10 * math.log10(row["mse"]), rel=1e-12)
    assert row["relative_rmse"] ** 2 == pytest.approx(row["relative_mse"], rel=1e-12)
    assert row["nrmse"] * case.data_range == pytest.approx(row["rmse"], rel=1e-12)
    assert row["median_ae"] <= row["p95_ae"]
    assert abs(row["bias"]) <= row["mae"] <= row["rmse"]
    functions = {"hfen": hfen, "gradient_mae": gradient_mae, "power_ratio_db": power_ratio_db, "nmi": None}
    for name, function in functions.items():
        function = function or normalized_mutual_information
        assert row[name] == pytest.approx(function(case.truth, case.prediction, mask=case.mask), rel=1e-9)


@pytest.mark.parametrize("shape", [(1, 1, 1), (2, 3, 4)])
def test_tiny_volumes_have_numbers_or_nan(shape: tuple[int, int, int]) -> None:
    rng = np.random.default_rng(0)
    truth = rng.random(shape) + 1
    row = score(truth, truth + 0.1, {"all": np.ones(shape, bool)}, data_range=2.0)["all"]
    assert row["mae"] == row["median_ae"] == pytest.approx(0.1)
    assert math.isnan(row["ms_ssim"])
    assert row.keys() == METRICS.keys() | {"num_voxels"}


def test_every_column_is_defined_once() -> None:
    found = definitions()
    assert list(found) == [*METRICS, *DOWNSTREAM]
    assert found["psnr_db"]["value_range"] == [None, None]
    assert found["dice"]["value_range"] == [0, 1]
    for name, definition in found.items():
        assert definition["better"] in ("higher", "lower", "zero")
        assert all(definition[key] for key in ("label", "unit", "formula", "source")), name
