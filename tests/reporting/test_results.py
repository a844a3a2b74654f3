"""Evaluations with all files, with the table alone, and damaged ones."""

import shutil

import pytest

from tests.reporting.conftest import rows_of, summary_of, write_evaluation, write_table
from volumetric.errors import InputError
from volumetric.reporting.curves import training_curves
from volumetric.reporting.headlines import headlines
from volumetric.reporting.results import ResultsError, read_results
from volumetric.reporting.selection import select_subjects


def test_a_run_folder_and_its_evaluation_read_alike(evaluation):
    inside, above = read_results(evaluation), read_results(evaluation.parent)
    assert inside == above
    assert [key.name for key in inside.table.sessions] == ["a1", "b2", "c3/late", "d4", "</script><b>&\"'", "e<5>"]
    assert [m.label for m in inside.metrics] == ["PSNR", "SSIM", "MAE", "Bias"]
    assert inside.table.covariates == ("site", "age")
    assert inside.run.folder == evaluation.parent  # found through where the predictions lie
    assert inside.notes == []
    assert [key.name for key in inside.sidecars] == ["b2"]


def test_only_the_table_of_subjects_is_needed(tmp_path):
    write_table(tmp_path / "per_subject.csv", rows_of("a", 0))
    results = read_results(tmp_path)
    assert [m.label for m in results.metrics] == ["psnr", "ssim", "mae", "bias"]
    assert len(results.notes) == 4
    assert headlines(results) == []
    assert [(subject.key.name, subject.rank) for subject in select_subjects(results)] == [("a", "only")]
    assert training_curves(results).panels == []


def test_without_definitions_labels_are_made_from_the_columns(tmp_path):
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
        ("a,b\n1,2\n", "the columns subject_id, method, region, status, num_voxels, data_range, mask_rule are missing"),
        ("subject_id,method,region,status,num_voxels,ssim,data_range,mask_rule\n", "the table has no rows"),
        (b"\xff\xfe\x00", "not a readable CSV file"),
    ],
)
def test_a_folder_that_is_no_evaluation_is_refused(tmp_path, content_of, sentence):
    if content_of is not None:
        (tmp_path / "per_subject.csv").write_bytes(content_of if isinstance(content_of, bytes) else content_of.encode())
    with pytest.raises(InputError, match=sentence) as caught:
        read_results(tmp_path)
    assert "volumetric evaluate" in str(caught.value)


def test_damaged_json_and_a_folder_that_is_none_are_named(tmp_path):
    with pytest.raises(ResultsError, match="is no folder"):
        read_results(tmp_path / "none")
    write_evaluation(tmp_path, ["a"], images=False)
    (tmp_path / "definitions.json").write_text("[1]")
    with pytest.raises(InputError, match="expected a JSON object, got list"):
        read_results(tmp_path)
    (tmp_path / "definitions.json").write_text("{")
    with pytest.raises(InputError, match="not readable JSON"):
        read_results(tmp_path)


@pytest.mark.parametrize("name", ["evaluation.json", "definitions.json", "summary.csv"])
def test_item_12_a_folder_in_the_place_of_a_file_of_the_evaluation_does_not_count_as_absent(evaluation, tmp_path, name):
    evaluation = shutil.copytree(evaluation, tmp_path / "metrics")
    (evaluation / name).unlink()
    (evaluation / name).mkdir()
    with pytest.raises(InputError, match=rf"{name}: a folder or a pipe stands where a file belongs; .*volumetric eval"):
        read_results(evaluation)


def test_item_12_a_damaged_file_of_the_run_names_a_way_out_that_report_has(evaluation, tmp_path):
    run = shutil.copytree(evaluation.parent, tmp_path / "run")
    (run / "settings.json").write_text("{")
    with pytest.raises(
        InputError, match=r"settings\.json: not readable JSON .*; rename it to report without"
    ) as caught:
        read_results(run)
    assert "--fresh" not in str(caught.value)
    (run / "settings.json").unlink()
    (run / "history.csv").unlink()
    (run / "history.csv").mkdir()
    with pytest.raises(InputError, match=r"history\.csv: a folder or a pipe stands where a file belongs"):
        read_results(run)
