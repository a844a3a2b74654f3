import math

import pytest

from volumetric.evaluation.repeatability import repeatability_rows
from volumetric.records.scores import ScoreRow


def row(subject, session, truth, prediction, psnr=20.0, method="model", region="brain", status="ok"):
    key = {"subject_id": subject, "session_id": session, "method": method, "region": region, "status": status}
    metrics = {"psnr_db": psnr, "mae": 0.1, "bias": -0.1}
    return ScoreRow(**key, truth_mean=truth, prediction_mean=prediction, metrics=metrics)


ROWS = [
    row("p0", "a", 1.0, 1.0, psnr=20.0),
    row("p0", "b", 1.2, 1.1, psnr=21.0),
    row("p1", "a", 1.5, 1.4),
    row("p1", "b", 1.5, 1.4, psnr=math.nan),
    row("p2", "a", 9.0, 9.0),  # one session
    row("p2", "b", 5.0, 5.0, status="failed"),
    row("p0", "a", 7.0, 7.0, method="cubic"),
    row("p0", "b", 1.0, 8.0, method="cubic"),
]


def test_truth_and_prediction_by_hand():
    rows = {(r.region, r.metric): r for r in repeatability_rows(ROWS)}
    truth, prediction = rows["brain", "truth_mean"], rows["brain", "prediction_mean"]
    assert (truth.num_subjects, truth.num_sessions, truth.method, truth.unit) == (
        2,
        4,
        "model",
        "intensity",
    )
    # (0.1^2 + 0.1^2 + 0 + 0) / 2 degrees of freedom = 0.01; means 1.1 and 1.5.
    assert truth.within_subject_sd == pytest.approx(0.1)
    assert truth.repeatability_coefficient == pytest.approx(0.277186, abs=1e-6)
    assert truth.mean == pytest.approx(1.3)
    assert truth.cv == pytest.approx(0.1 / 1.3)
    # Between: 2 (0.04 + 0.04) / 1 = 0.16.
    assert truth.icc == pytest.approx((0.16 - 0.01) / (0.16 + 0.01))
    assert prediction.within_subject_sd == pytest.approx(0.05)


def test_a_ratio_is_given_only_where_zero_means_nothing_there():
    rows = {r.metric: r for r in repeatability_rows(ROWS)}
    assert rows["psnr_db"].num_subjects == 1
    assert math.isnan(rows["psnr_db"].cv)
    assert math.isnan(rows["psnr_db"].icc)
    assert math.isnan(rows["bias"].cv)
    assert rows["mae"].cv == pytest.approx(0, abs=1e-9)
    assert "ssim" not in rows  # a column without numbers


def test_each_region_for_itself_and_no_subject_twice_is_no_table():
    again = [row("p0", s, v, v, region="wm") for s, v in (("a", 1.0), ("b", 3.0))]
    assert {r.region for r in repeatability_rows(ROWS + again)} == {"brain", "wm"}
    assert repeatability_rows([ROWS[0], ROWS[4], ROWS[5], ROWS[6], ROWS[7]]) == []
    assert repeatability_rows([]) == []
