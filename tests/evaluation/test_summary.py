import numpy as np
import pytest

from volumetric.evaluation.summary import summary_rows
from volumetric.metrics.statistics import summarize
from volumetric.records.scores import ScoreRow

UNITS = {"psnr_db": "dB", "bias": "intensity"}


def row(subject, psnr, session="", method="model", region="brain", metrics=None, **covariates):
    return ScoreRow(
        subject_id=subject,
        session_id=session,
        method=method,
        region=region,
        status="ok",
        metrics=metrics or {"psnr_db": psnr, "bias": -psnr / 10},
        covariates=covariates,
    )


def failed(subject, session="", **covariates):
    return ScoreRow(subject_id=subject, session_id=session, method="model", status="failed", covariates=covariates)


def found(rows, num_subjects, *covariates, metric="psnr_db"):
    summary = summary_rows(rows, num_subjects, covariates, units=UNITS)
    return {(r.group, r.method, r.region): r for r in summary if r.metric == metric}


def test_all_subjects_and_each_value_of_a_covariate():
    rows = [row("p0", 20.0, site="guys"), row("p1", 22.0, site="iop"), row("p2", 27.0, site="guys")]
    rows += [row(f"p{i}", 10.0 + i, method="cubic", site=site) for i, site in enumerate(["guys", "iop", "guys"])]
    rows += [failed("p3", site="iop"), failed("p4", site="")]
    summary = found(rows, 6, "site")
    assert list(summary) == [
        (group, method, "brain") for group in ("", "site=guys", "site=iop") for method in ("model", "cubic")
    ] + [("site=unknown", method, "brain") for method in ("model", "cubic")]
    counts = {key: (r.n, r.num_missing, r.num_nonfinite) for key, r in summary.items()}
    assert counts["", "model", "brain"] == (3, 3, 0)  # two failed, one has no row at all
    assert counts["", "cubic", "brain"] == (3, 3, 0)
    assert counts["site=guys", "model", "brain"] == (2, 0, 0)
    assert counts["site=iop", "model", "brain"] == (1, 1, 0)
    assert counts["site=unknown", "model", "brain"] == (0, 1, 0)
    all_subjects = summary["", "model", "brain"]
    expected = summarize([20.0, 22.0, 27.0])
    for name in ("mean", "sd", "median", "q1", "q3", "iqr", "ci95_low", "ci95_high"):
        assert getattr(all_subjects, name) == pytest.approx(getattr(expected, name), rel=1e-12), name
    assert summary["site=guys", "model", "brain"].mean == 23.5
    bias = found(rows, 6, "site", metric="bias")["", "model", "brain"]
    assert (bias.mean, bias.unit) == (pytest.approx(-2.3), "intensity")


def test_the_columns_are_those_of_the_contract():
    (first, *_) = summary_rows([row("p0", 20.0)], 1)
    columns = "method region group metric unit n num_missing num_nonfinite mean sd median q1 q3 iqr ci95_low ci95_high"
    assert list(first.to_cells()) == columns.split()
    assert (first.metric, first.unit, first.n) == ("psnr_db", "dB", 1)


def test_sessions_of_one_subject_are_one_number():
    rows = [row("p0", v, session=str(i)) for i, v in enumerate([10.0, 10.0, 10.0, 14.0])]
    rows += [row("p1", 20.0), row("p2", 30.0), failed("p2", session="again")]
    summary = found(rows, 3)["", "model", "brain"]
    assert (summary.n, summary.num_missing) == (3, 0)
    expected = summarize([11.0, 20.0, 30.0])
    assert summary.mean == pytest.approx(expected.mean)
    assert (summary.ci95_low, summary.ci95_high) == pytest.approx((expected.ci95_low, expected.ci95_high))


def test_sessions_at_two_sites_count_in_each_with_their_own_number():
    rows = [row("p0", 10.0, "a", site="x"), row("p0", 30.0, "b", site="y"), row("p1", 20.0, site="x")]
    summary = found(rows, 2, "site")
    assert summary["", "model", "brain"].mean == 20
    assert (summary["site=x", "model", "brain"].n, summary["site=x", "model", "brain"].mean) == (2, 15)
    assert (summary["site=y", "model", "brain"].n, summary["site=y", "model", "brain"].mean) == (1, 30)


def test_values_that_are_not_finite_and_regions_that_not_all_have():
    rows = [row("p0", np.nan), row("p1", 20.0), row("p2", 30.0, "a"), row("p2", np.inf, "b")]
    rows += [row("p1", 5.0, region="lesions"), row("p2", 1.0, "a", region="lesions", metrics={"bias": 1.0})]
    summary = found(rows, 3)
    brain, lesions = summary["", "model", "brain"], summary["", "model", "lesions"]
    assert (brain.n, brain.num_missing, brain.num_nonfinite, brain.mean) == (1, 0, 2, 20)
    assert (lesions.n, lesions.num_missing, lesions.num_nonfinite) == (1, 1, 1)


def test_many_numbers_are_cut_into_tertiles_of_subjects():
    ages = [20, 31, 46, 47, 50, 52, 60, 71, 80]
    rows = [row(f"p{i}", float(i), age=str(age)) for i, age in enumerate(ages)]
    rows += [row("p0", 0.0, session=str(i), age="20") for i in range(5)]  # one subject weighs one
    rows.append(row("p9", 9.0, age="n/a"))
    summary = found(rows, 10, "age")
    assert [group for group, *_ in summary] == ["", "age=20-46", "age=47-52", "age=60-80", "age=unknown"]
    assert [r.n for r in summary.values()] == [10, 3, 3, 3, 1]
    assert [r.mean for r in summary.values()] == [4.5, 1, 4, 7, 9]


def test_few_numbers_are_values_in_numerical_order_and_negative_bounds_are_readable():
    rows = [row(f"p{i}", 1.0, field_strength=value) for i, value in enumerate(["3", "1.5", "10", ""])]
    assert [g for g, *_ in found(rows, 4, "field_strength")][1:] == [
        "field_strength=1.5",
        "field_strength=3",
        "field_strength=10",
        "field_strength=unknown",
    ]
    rows = [row(f"p{i}", 1.0, z=str(i - 4)) for i in range(9)]
    assert [g for g, *_ in found(rows, 9, "z")][1:] == ["z=-4 to -2", "z=-1 to 1", "z=2-4"]


def test_a_name_for_all_subjects_is_no_group(caplog):
    rows = [row(f"p{i}", 1.0, scan=f"scan{i}", empty="") for i in range(21)]
    assert {group for group, *_ in found(rows, 21, "scan", "empty")} == {""}
    assert "no groups of `scan`: it has 21 different values" in caplog.text


def test_rows_that_are_not_scored_are_no_method():
    rows = [row("p0", 1.0), ScoreRow(subject_id="p0", method="cubic", status="n/a")]
    assert {method for _, method, _ in found(rows, 1)} == {"model"}
    assert summary_rows([failed("p0")], 1) == []
