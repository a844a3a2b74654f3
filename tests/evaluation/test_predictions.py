from pathlib import Path

import pytest

from tests.records.test_prediction import SIDECAR
from volumetric.evaluation.predictions import PredictionsError, check_scale, open_predictions
from volumetric.manifest import ManifestRow
from volumetric.records.prediction import PredictionRow


def touch(folder, *names):
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    return open_predictions(folder)


@pytest.mark.parametrize("name", ["p1.nii.gz", "p1.nii", "sub-p1.nii.gz", "deep/sub-p1_desc-x_T2w.nii.gz"])
def test_a_file_is_found_by_its_name(tmp_path, name):
    assert touch(tmp_path, name, "p10.nii.gz", "p1.json").find(ManifestRow("p1")) == tmp_path / name


@pytest.mark.parametrize("name", ["p1_s2.nii.gz", "sub-p1_ses-s2_T2w.nii.gz"])
def test_a_session_is_part_of_the_name(tmp_path, name):
    folder = touch(tmp_path, name, "sub-p1_ses-s20_T2w.nii.gz")
    assert folder.find(ManifestRow("p1", "s2")) == tmp_path / name


def test_no_file_and_two_files_are_named(tmp_path):
    folder = touch(tmp_path, "p1.nii.gz", "sub-p1_T2w.nii.gz")
    with pytest.raises(PredictionsError, match=r"subject p1: 2 files are \(p1.nii.gz, sub-p1_T2w.nii.gz\)"):
        folder.find(ManifestRow("p1"))
    with pytest.raises(PredictionsError, match=r"subject p2: no file is named .* sub-p2_\*.nii.gz; .*--pattern"):
        folder.find(ManifestRow("p2"))


def test_a_table_decides_and_a_run_folder_leads_to_it(tmp_path):
    rows = [
        PredictionRow(subject_id="p1", path="x/other.nii.gz", status="ok"),
        PredictionRow(subject_id="p2", status="failed", error="no scan"),
    ]
    PredictionRow.write_table(tmp_path / "predictions" / "predictions.csv", rows)
    touch(tmp_path / "predictions", "x/other.nii.gz")
    folder = open_predictions(tmp_path)
    assert folder.folder == tmp_path / "predictions"
    assert folder.find(ManifestRow("p1")) == tmp_path / "predictions" / "x" / "other.nii.gz"
    assert folder.sidecar is None
    with pytest.raises(PredictionsError, match="subject p2: inference failed: no scan"):
        folder.find(ManifestRow("p2"))
    with pytest.raises(PredictionsError, match=r"subject p3: no prediction in .*; run infer"):
        folder.find(ManifestRow("p3"))


def test_a_prediction_that_is_gone_and_the_sidecar_of_another_subject_are_named(tmp_path):
    rows = [PredictionRow(subject_id=name, path=f"{name}.nii.gz", status="ok") for name in ("a", "b", "c")]
    PredictionRow.write_table(tmp_path / "predictions.csv", rows)
    for name in ("a", "b"):
        SIDECAR.write(tmp_path / f"{name}.json")
    folder = touch(tmp_path, "a.nii.gz", "b.nii.gz")
    assert folder.find(ManifestRow("a")) == tmp_path / "a.nii.gz"
    with pytest.raises(PredictionsError, match=r"b\.json belongs to subject a; repeat `volumetric infer --fresh`"):
        folder.find(ManifestRow("b"))
    with pytest.raises(PredictionsError, match=r"subject c: the prediction .*c\.nii\.gz is gone; repeat"):
        folder.find(ManifestRow("c"))


def test_each_session_gets_its_prediction_or_the_reason_and_none_gets_that_of_another(tmp_path):
    folder = touch(tmp_path, "a_b.nii.gz", "c.nii.gz")
    rows = [ManifestRow("a", "b"), ManifestRow("a_b"), ManifestRow("c"), ManifestRow("d")]
    matches = folder.match(rows)
    assert matches["c", ""] == tmp_path / "c.nii.gz"
    assert "belongs to a/b and a_b" in str(matches["a", "b"])
    assert "belongs to a/b and a_b" in str(matches["a_b", ""])
    assert "no file is named" in str(matches["d", ""])


def test_a_pattern_takes_ids_as_they_are_written(tmp_path):
    touch(tmp_path, "p[1]/x_synth.nii.gz", "p1/x_synth.nii.gz")
    folder = open_predictions(tmp_path, "{subject_id}/*_synth.nii.gz")
    assert folder.find(ManifestRow("p[1]")) == tmp_path / "p[1]" / "x_synth.nii.gz"


@pytest.mark.parametrize(
    "pattern",
    ["*.nii.gz", "{subject}.nii.gz", "{subject_id", "{subject_id!x}.nii", "{subject_id:d}.nii", "{subject_id}{}",
     "/data/{subject_id}.nii.gz", "**{subject_id}.nii.gz"],
)  # fmt: skip
def test_a_pattern_that_is_none_is_one_sentence(tmp_path, pattern):
    with pytest.raises(PredictionsError, match=r"expected a path in that folder with \{subject_id\}"):
        open_predictions(tmp_path, pattern)


@pytest.mark.parametrize("scale", ["reference", "own-median", "250", "0.5"])
def test_scales_that_are_some(scale):
    assert check_scale(scale) == scale


def test_a_folder_that_is_none_is_named():
    with pytest.raises(PredictionsError, match="there is no such folder"):
        open_predictions(Path("/nowhere/at/all"))


def test_a_contrast_that_the_sidecars_contradict_is_refused(tmp_path):
    PredictionRow.write_table(
        tmp_path / "predictions.csv", [PredictionRow(subject_id="a", path="a.nii.gz", status="ok")]
    )
    SIDECAR.model_copy(update={"subject_id": "a", "session_id": ""}).write(tmp_path / "a.json")
    folder = open_predictions(tmp_path)
    own = (SIDECAR.sources[0], SIDECAR.target)
    assert folder.contrasts(None, None) == folder.contrasts(*own) == own
    for options, named in ((("pdw", None), "--source pdw"), ((None, SIDECAR.sources[0]), "--target t1w")):
        with pytest.raises(PredictionsError, match=f"{named}, but the sidecars there name .*; leave it out"):
            folder.contrasts(*options)
    assert touch(tmp_path / "theirs", "a.nii.gz").contrasts("pdw", None) == ("pdw", "t2w")


@pytest.mark.parametrize("path", ["../truth.nii.gz", "/data/truth.nii.gz"])
def test_a_table_that_leads_out_of_its_folder_is_refused(tmp_path, path):
    PredictionRow.write_table(
        tmp_path / "p" / "predictions.csv", [PredictionRow(subject_id="a", path=path, status="ok")]
    )
    with pytest.raises(
        PredictionsError, match=r"subject a: .*predictions.csv names .*truth.nii.gz, which lies outside"
    ):
        open_predictions(tmp_path / "p").find(ManifestRow("a"))
