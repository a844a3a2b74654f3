import json
import math
from pathlib import Path

import pytest

from volumetric.records.evaluation import (
    Definitions,
    EvaluationInfo,
    MetricDefinition,
    PackedBlockMeans,
    RunIdentity,
    ScoredImage,
    ScoredImages,
    SubjectScores,
)
from volumetric.records.record import RecordError
from volumetric.records.scores import ScoreRow, ScoreTable, SummaryRow, find_scores
from volumetric.records.table import SessionKey

ROWS = (
    ScoreRow(subject_id="p0", method="model", region="brain", status="ok", num_voxels=7, data_range=2.5,
             metrics={"psnr_db": 20.5, "seam_index": math.nan}, mask_rule="given", covariates={"site": "", "age": "3"}),
    ScoreRow(subject_id="p0", session_id="a", method="model", status="failed", error="no, \"none\"",
             covariates={"site": "x", "age": ""}),
)  # fmt: skip
TABLE = ScoreTable(("psnr_db", "seam_index"), ("site", "age"), ROWS)
HEADER = (
    "subject_id,session_id,method,region,status,error,num_voxels,psnr_db,seam_index,data_range,mask_rule,"
    "truth_outside_mask,prediction_scale,truth_median,prediction_divisor,truth_mean,prediction_mean,warnings,site,age"
)


def test_scores_are_written_in_the_order_of_columns_with_absent_metrics_empty_and_nan_named(tmp_path):
    TABLE.write(tmp_path / "t.csv")
    assert (tmp_path / "t.csv").read_text().splitlines() == [
        HEADER,
        "p0,,model,brain,ok,,7,20.5,nan,2.5,given,,,,,,,,,3",
        'p0,a,model,,failed,"no, ""none""",,,,,,,,,,,,,x,',
    ]


def test_scores_are_read_as_they_were_written(tmp_path):
    TABLE.write(tmp_path / "t.csv")
    table = ScoreTable.read(tmp_path / "t.csv")
    assert (table.metrics, table.covariates) == (TABLE.metrics, TABLE.covariates)
    assert table.rows[1] == ROWS[1]
    assert table.rows[0].metrics["psnr_db"] == 20.5
    assert math.isnan(table.rows[0].metrics["seam_index"])
    assert table.rows[0].covariates == {"site": "", "age": "3"}
    assert table.sessions == [("p0", ""), ("p0", "a")]
    assert [row.key.name for row in table.rows] == ["p0", "p0/a"]
    assert [row.is_scored for row in table.rows] == [True, False]


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ("subject_id,split\np0,test\n", "columns method, region, status, num_voxels, data_range, mask_rule are miss"),
        (HEADER.replace("psnr_db,seam_index,", "") + "\n", "no metric between the columns num_voxels and data_range"),
        (f"{HEADER}\np0,,model,brain,fine\n", r"line 2: `status` is 'fine'"),
        (f"{HEADER}\np0,,model,brain,ok,,7,twenty\n", r"line 2: `metrics.psnr_db` is 'twenty'.* valid number"),
        ("", "columns subject_id"),
    ],
)
def test_another_table_is_refused_in_one_sentence(tmp_path, content, sentence):
    (tmp_path / "t.csv").write_text(content)
    with pytest.raises(RecordError, match=sentence) as caught:
        ScoreTable.read(tmp_path / "t.csv")
    assert str(caught.value).startswith(str(tmp_path / "t.csv"))
    assert "evaluate again with --fresh" in str(caught.value)


def test_no_two_sessions_share_a_file():
    keys = [
        ("a", "b"),
        ("a_b", ""),
        ("a+b", ""),
        ("a/b", ""),
        ("a%2Bb", ""),
        ("a", "b+c"),
        ("a+b", "c"),
        ("a.json", "b"),
    ]
    paths = [SubjectScores.path(Path("out"), SessionKey(*key)) for key in keys]
    assert len(set(paths)) == len(keys)
    assert {path.parent for path in paths} == {Path("out/subjects")}
    assert paths[:2] == [Path("out/subjects/a+b.json"), Path("out/subjects/a_b.json")]


def test_definitions_lie_beside_the_version_and_an_endless_range_is_null(tmp_path):
    definition = MetricDefinition(label="PSNR", unit="dB", better="higher", value_range=(0, None))
    Definitions.model_validate({"psnr_db": definition}).write(tmp_path / "d.json")
    content = json.loads((tmp_path / "d.json").read_text())
    assert content["format_version"] == 1
    assert content["psnr_db"]["value_range"] == [0, None]
    assert Definitions.read(tmp_path / "d.json").metrics == {"psnr_db": definition}
    (tmp_path / "d.json").write_text(json.dumps({"format_version": 1, "ssim": {"better": "larger"}}))
    with pytest.raises(RecordError, match=r"d.json: `ssim.better`"):
        Definitions.read(tmp_path / "d.json")


def test_info_keeps_the_run(tmp_path):
    info = EvaluationInfo(
        predictions="/p", source="t1w", target="t2w", split="test", data_range=2.5, num_training_subjects=3,
        prediction_scale="reference", run=RunIdentity(seed=1, settings_sha256="ab", folder="/r"), versions={"a": "1"},
    )  # fmt: skip
    info.write(tmp_path / "i.json")
    assert EvaluationInfo.read(tmp_path / "i.json") == info
    assert list(json.loads((tmp_path / "i.json").read_text()))[:2] == ["format_version", "predictions"]


def subject_scores(**changes):
    image = ScoredImage(path="/x.nii.gz", divisor=3.5)
    fields = {
        "subject_id": "p0",
        "fingerprint": "f",
        "images": ScoredImages(source=image, truth=image, prediction=image),
        "block_means": {"blocks": "AAAAAA==", "truth": "AACAPw==", "prediction": "AACAPw=="},
        "rows": ROWS[:1],
    }
    return SubjectScores.model_validate(fields | changes)


def test_the_scores_of_a_subject_come_back_exactly(tmp_path):
    scores = subject_scores()
    scores.write(tmp_path / "s.json")
    back = SubjectScores.read(tmp_path / "s.json")
    assert back.images == scores.images
    assert repr(back.rows) == repr(scores.rows)  # NaN is not equal to itself


@pytest.mark.parametrize("text", ["not base64!", "AAAA", "AAAAAA=="])
def test_block_means_that_are_no_array_are_refused(text):
    with pytest.raises(ValueError, match=r"base64|4-byte|different lengths"):
        PackedBlockMeans(blocks=text, truth="", prediction="")


def test_a_summary_without_spread_can_be_read(tmp_path):
    (tmp_path / "s.csv").write_text("method,region,metric,n,mean\nmodel,brain,ssim,2,0.5\n")
    (row,) = SummaryRow.read_table(tmp_path / "s.csv")
    assert (row.n, row.mean, row.group) == (2, 0.5, "")
    assert math.isnan(row.sd)


def test_scores_are_found_by_file_folder_or_run(tmp_path):
    file = tmp_path / "run" / "metrics" / "per_subject.csv"
    file.parent.mkdir(parents=True)
    file.touch()
    assert [find_scores(path) for path in (file, file.parent, tmp_path / "run", tmp_path)] == [file, file, file, None]
