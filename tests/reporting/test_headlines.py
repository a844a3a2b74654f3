"""Means and gains of the headline metrics, known by hand."""

import math
from dataclasses import replace

import pytest

from tests.reporting.conftest import write_evaluation
from volumetric.reporting.headlines import headlines, subject_groups
from volumetric.reporting.results import read_results


def test_headlines_put_the_best_baseline_first_and_know_the_direction(evaluation):
    psnr, ssim, mae = headlines(read_results(evaluation))
    assert [h.metric.name for h in (psnr, ssim, mae)] == ["psnr_db", "ssim", "mae"]
    assert psnr.model.mean == pytest.approx(28)  # 30, 29, 28, 27, 26
    assert (psnr.model.low, psnr.model.high) == pytest.approx((27, 29))
    assert [b.method for b in psnr.baselines] == ["cubic", "constant"]
    assert psnr.gain == pytest.approx(2)
    assert mae.gain == pytest.approx(mae.baselines[0].mean - mae.model.mean)
    assert mae.gain > 0
    # the axis runs from 21, the lower end of constant's interval, to 29, the upper end of the model's
    assert (psnr.model.low_at, psnr.model.at, psnr.model.high_at) == pytest.approx((75, 87.5, 100))


def test_a_mean_over_fewer_subjects_is_not_compared(evaluation):
    results = read_results(evaluation)
    fewer = [row.model_copy(update={"n": 1}) if row.method == "cubic" else row for row in results.summary]
    psnr = headlines(replace(results, summary=fewer))[0]
    assert [b.method for b in psnr.baselines] == ["constant"]
    assert psnr.gain == pytest.approx(psnr.model.mean - psnr.baselines[0].mean)


def test_one_subject_has_no_interval(tmp_path):
    write_evaluation(tmp_path, ["a"], images=False)
    headline = headlines(read_results(tmp_path))[0]
    assert math.isnan(headline.model.low)
    assert headline.model.at == 100


def test_groups_are_the_models_rows(evaluation):
    (group,) = subject_groups(read_results(evaluation))
    assert (group.name, group.n) == ("site=site0", 3)
    assert group.means[0].mean == pytest.approx(28)
