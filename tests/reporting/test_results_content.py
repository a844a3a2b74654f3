import json
import math
from dataclasses import replace

import pytest

from tests.reporting.conftest import DEFINITIONS, failed_row, rows_of, summary_of, write_evaluation, write_table
from volumetric.reporting import background, content
from volumetric.reporting.content import Choice
from volumetric.reporting.results import ResultsError, read_results


def evaluated(folder, rows, summary=()):
    write_table(folder / "per_subject.csv", rows)
    if summary:
        write_table(folder / "summary.csv", list(summary))
    (folder / "definitions.json").write_text(json.dumps(DEFINITIONS))
    return read_results(folder)


def test_a_run_folder_and_its_evaluation_read_alike(evaluation):
    inside, above = read_results(evaluation), read_results(evaluation.parent)
    assert inside == above
    assert inside.subjects == ["a1", "b2", "c3/late", "d4", "</script><b>&\"'", "e<5>"]
    assert [m.label for m in inside.metrics] == ["PSNR", "SSIM", "MAE", "Bias"]
    assert inside.covariates == ["site", "age"]
    assert inside.run == evaluation.parent  # found through where the predictions lie
    assert inside.absent == []
    assert inside.record("c3/late")["images"]["mask"] is None


def test_the_run_that_the_evaluation_names_is_found(evaluation, tmp_path):
    folder = write_evaluation(tmp_path / "elsewhere" / "metrics", ["a"], images=False)
    assert read_results(folder).run is None
    facts = json.loads((folder / "evaluation.json").read_text())
    facts |= {
        "predictions": "/nowhere/predictions",
        "run": {"seed": 7, "settings_sha256": "5e7", "folder": str(evaluation.parent)},
    }
    (folder / "evaluation.json").write_text(json.dumps(facts))
    results = read_results(folder)
    assert results.run == evaluation.parent
    facts = dict(background.provenance(results))
    assert (facts["Seed"], facts["Settings, SHA-256"], facts["Training command"]) == (
        "7",
        "5e7",
        "volumetric train a.csv",
    )


def test_only_the_table_of_subjects_is_needed(tmp_path):
    write_table(tmp_path / "per_subject.csv", rows_of("a", 0))
    results = read_results(tmp_path)
    assert results.metrics == []
    assert len(results.absent) == 4
    assert content.headlines(results, "brain") == []
    assert content.choose(results) == [Choice("a", "only")]
    assert background.curves(results)["panels"] == []


def test_without_definitions_the_summary_says_what_is_a_metric(tmp_path):
    write_table(tmp_path / "per_subject.csv", rows_of("a", 0))
    write_table(tmp_path / "summary.csv", summary_of(rows_of("a", 0)))
    results = read_results(tmp_path)
    assert [(m.name, m.label) for m in results.metrics] == [
        ("psnr_db", "psnr"),
        ("ssim", "ssim"),
        ("mae", "mae"),
        ("bias", "bias"),
    ]


@pytest.mark.parametrize(
    ("content_of", "sentence"),
    [
        (None, "holds no per_subject.csv"),
        ("a,b\n1,2\n", "expected one row or more with the columns"),
        ("subject_id,method,region,status\n", "expected one row or more"),
        (b"\xff\xfe\x00", "the table cannot be read"),
    ],
)
def test_a_folder_that_is_no_evaluation_is_refused(tmp_path, content_of, sentence):
    if content_of is not None:
        (tmp_path / "per_subject.csv").write_bytes(content_of if isinstance(content_of, bytes) else content_of.encode())
    with pytest.raises(ResultsError, match=sentence) as caught:
        read_results(tmp_path)
    assert "volumetric evaluate" in str(caught.value) or "write it again" in str(caught.value)


def test_damaged_json_and_a_folder_that_is_none_are_named(tmp_path):
    with pytest.raises(ResultsError, match="is no folder"):
        read_results(tmp_path / "none")
    write_evaluation(tmp_path, ["a"], images=False)
    (tmp_path / "definitions.json").write_text("[1]")
    with pytest.raises(ResultsError, match="expected a JSON object, got list"):
        read_results(tmp_path)
    (tmp_path / "definitions.json").write_text("{")
    with pytest.raises(ResultsError, match="cannot be read"):
        read_results(tmp_path)


def test_best_median_and_worst_by_ssim_then_psnr(tmp_path):
    def chosen(ssims, psnrs=None):
        folder = tmp_path / str(len(list(tmp_path.iterdir())))
        rows = [rows_of(f"s{n}", 0, tissues=False)[0] for n in range(len(ssims))]
        for row, ssim, psnr in zip(rows, ssims, psnrs or ssims, strict=True):
            row |= {"ssim": ssim, "psnr_db": psnr}
        return [(choice.subject, choice.why) for choice in content.choose(evaluated(folder, rows))]

    assert chosen([0.1, 0.9, 0.5]) == [("s1", "best"), ("s2", "median"), ("s0", "worst")]
    assert chosen([0.1, 0.9, 0.5, 0.7]) == [("s1", "best"), ("s3", "median"), ("s0", "worst")]
    assert chosen([0.1, "nan", 0.5]) == [("s2", "best"), ("s0", "worst")]
    assert chosen([0.4]) == [("s0", "only")]
    assert chosen(["", "", ""], [1, 3, 2]) == [("s1", "best"), ("s2", "median"), ("s0", "worst")]


def test_without_any_score_nobody_is_chosen(tmp_path):
    results = evaluated(tmp_path, [failed_row("a", "gone")])
    assert content.choose(results) == []
    assert content.main_region(results) == ""
    assert content.failures(results) == [("a", "gone")]


def test_headlines_put_the_best_baseline_first_and_know_the_direction(evaluation):
    psnr, ssim, mae = content.headlines(read_results(evaluation), "brain")
    assert [h.metric.name for h in (psnr, ssim, mae)] == ["psnr_db", "ssim", "mae"]
    assert psnr.model.mean == pytest.approx(28)  # 30, 29, 28, 27, 26
    assert (psnr.model.low, psnr.model.high) == pytest.approx((27, 29))
    assert [b.method for b in psnr.baselines] == ["cubic", "constant"]
    assert psnr.gain == pytest.approx(2)
    assert mae.gain == pytest.approx(mae.baselines[0].mean - mae.model.mean)
    assert mae.gain > 0
    # the axis runs from 21, the lower end of constant's interval, to 29, the upper end of the model's
    assert (psnr.model.low_at, psnr.model.at, psnr.model.high_at) == pytest.approx((75, 87.5, 100))


def test_a_mean_over_fewer_subjects_is_no_rival(evaluation):
    results = read_results(evaluation)
    fewer = [row | {"n": "1"} if row["method"] == "cubic" else row for row in results.summary]
    psnr = content.headlines(replace(results, summary=fewer), "brain")[0]
    assert [b.method for b in psnr.baselines] == ["constant"]
    assert psnr.gain == pytest.approx(psnr.model.mean - psnr.baselines[0].mean)


def test_one_subject_has_no_interval(tmp_path):
    write_evaluation(tmp_path, ["a"], images=False)
    headline = content.headlines(read_results(tmp_path), "brain")[0]
    assert math.isnan(headline.model.low)
    assert headline.model.at == 100


def test_groups_are_the_models_rows(evaluation):
    (group,) = content.groups(read_results(evaluation), "brain")
    assert (group["group"], group["n"]) == ("site=site0", 3)
    assert float(group["cells"][0]["mean"]) == pytest.approx(28)


def test_agreement_is_bland_and_altmans(evaluation):
    csf, gm, wm = content.agreements(read_results(evaluation))
    assert [a.label for a in (csf, gm, wm)] == ["CSF", "Gray matter", "White matter"]
    # differences 0.10, 0.12, 0.14, 0.16, 0.18: mean 0.14, SD 0.0316228
    assert csf.bias == pytest.approx(0.14)
    assert (csf.lower, csf.upper) == pytest.approx((0.14 - 1.96 * 0.0316228, 0.14 + 1.96 * 0.0316228), abs=1e-6)
    assert gm.means[0] == pytest.approx(2.05)


def test_one_subject_has_no_limits_and_no_tissue_no_plot(tmp_path):
    write_evaluation(tmp_path / "a", ["a"], images=False)
    agreement = content.agreements(read_results(tmp_path / "a"))[0]
    assert math.isnan(agreement.upper)
    write_evaluation(tmp_path / "b", ["a"], images=False, tissues=False)
    assert content.agreements(read_results(tmp_path / "b")) == []


def test_the_table_is_by_columns_with_missing_numbers_as_none(tmp_path):
    rows = rows_of("a", 0, tissues=False) + rows_of("b", 1, tissues=False)
    rows[0]["psnr_db"], rows[3]["psnr_db"], rows[3]["ssim"] = "nan", "inf", 0.123456789
    results = evaluated(tmp_path, [*rows, failed_row("c", "gone")])
    data = content.table_data(results, ["b"])
    assert data["subjects"][2] == {"name": "c", "failed": True, "error": "gone", "shown": False}
    assert [s["shown"] for s in data["subjects"]] == [False, True, False]
    assert data["values"]["model"]["brain"]["psnr_db"] == [None, "Infinity", None]
    assert data["values"]["model"]["brain"]["ssim"] == [0.75, 0.123457, None]
    assert data["values"]["cubic"]["brain"]["psnr_db"] == [28, 27, None]
    assert data["covariates"] == {"site": ["site0", "site1", ""], "age": ["40", "41", ""]}
    assert json.loads(json.dumps(data, allow_nan=False)) == data


def test_losses_share_a_panel_and_each_validated_metric_has_one(evaluation):
    curves = background.curves(read_results(evaluation))
    assert curves["steps"] == [10, 20, 30]
    assert [p["title"] for p in curves["panels"]] == ["loss", "PSNR"]  # SSIM was never validated
    assert curves["panels"][1]["series"] == [{"name": "validation", "values": [21, 22, 23]}]


def test_provenance_and_warnings_gather_what_the_files_say(evaluation):
    results = read_results(evaluation)
    facts = dict(background.provenance(results))
    assert facts["Model, SHA-256"] == "feed"
    assert facts["Training manifest, SHA-256"] == "abc123"
    assert facts["Data range"] == "2.5"
    assert facts["Mask rule"] == "nonzero"
    assert len(facts["per_subject.csv, SHA-256"]) == 64
    assert background.warnings(results) == ["b2: unlike the training"]


def test_what_is_wrong_with_the_scores_is_a_warning(tmp_path):
    rows = rows_of("a", 0) + rows_of("b", 1)
    rows[0]["mask_rule"] = "deepbet"
    rows.append({"subject_id": "a", "method": "identity", "region": "", "status": "n/a", "error": "no rows to fit"})
    summary = summary_of(rows_of("a", 0))
    summary[0] |= {"num_nonfinite": 2}
    found = background.warnings(evaluated(tmp_path, rows, summary))
    assert found[:3] == [
        "identity is not available: no rows to fit.",
        "psnr_db of the model in brain is not finite for 2 of the subjects.",
        "The brain masks were made by different rules (deepbet, nonzero).",
    ]
