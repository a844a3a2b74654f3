"""The files that `infer` writes: the keys that users read, and what is no such file."""

import json
from pathlib import Path

import pytest

from volumetric.config.inference import InferenceOptions
from volumetric.records.prediction import PredictionRow, PredictionSidecar, TimingRow, WindowRecord, sidecar_path
from volumetric.records.record import RecordError

WINDOWS = WindowRecord(
    size=(16, 24, 8),
    number=1,
    starts=((0, 0, 0),),
    grid_shape=(15, 20, 8),
    grid_affine=((1, 0, 0, -5), (0, 2, 0, -6), (0, 0, 3, -7), (0, 0, 0, 1)),
)
SIDECAR = PredictionSidecar(
    Description="Synthetic image, not for diagnosis.",
    Sources=("/data/t1w.nii.gz",),
    subject_id="a",
    session_id="",
    sources=("t1w",),
    target="t2w",
    intensity_scale=1000,
    data_range=2.5,
    mask_kind="brain",
    mask_rule="nonzero",
    model_sha256="feed",
    settings=InferenceOptions(device="cpu", precision="float32", overlap=0.25, whole_volume=False),
    engine="torch",
    precision="float32",
    source_sha256={"t1w": "beef"},
    prediction_sha256="cafe",
    windows=WINDOWS,
    prepared_here=False,
    preparation_reason="a mask is given",
    warnings=(),
    versions={"python": "3.11"},
)


def test_a_sidecar_keeps_the_keys_that_users_read(tmp_path):
    SIDECAR.write(tmp_path / "a.json")
    assert PredictionSidecar.read(tmp_path / "a.json") == SIDECAR
    content = json.loads((tmp_path / "a.json").read_text())
    assert content["windows"]["starts"] == [[0, 0, 0]]
    assert content["settings"] == {
        "device": "cpu", "engine": "auto", "precision": "float32", "overlap": 0.25, "whole_volume": False
    }  # fmt: skip
    assert {"Description", "Sources", "source_sha256", "prediction_sha256", "format_version"} <= content.keys()


def test_the_sidecar_of_an_image_has_its_name():
    assert sidecar_path(Path("a/sub-1_T2w.nii.gz")) == Path("a/sub-1_T2w.json")
    assert sidecar_path(Path("a/sub-1.2_T2w.nii")) == Path("a/sub-1.2_T2w.json")


def test_the_tables_are_read_as_they_were_written(tmp_path):
    rows = [PredictionRow(subject_id="a", session_id="1", path="sub-a/a.nii.gz", status="ok"),
            PredictionRow(subject_id="b", status="failed", error="no mask, no brain")]  # fmt: skip
    PredictionRow.write_table(tmp_path / "p.csv", rows)
    assert PredictionRow.read_table(tmp_path / "p.csv") == rows
    columns = "subject_id,session_id,path,status,error,out_of_distribution,warnings"
    assert (tmp_path / "p.csv").read_text().splitlines()[0] == columns
    (tmp_path / "old.csv").write_text("subject_id,session_id,path,status,error\na,1,sub-a/a.nii.gz,ok,\n")
    assert PredictionRow.read_table(tmp_path / "old.csv") == rows[:1]
    TimingRow.write_table(tmp_path / "t.csv", [TimingRow(subject_id="a", seconds=1.25)])
    assert (tmp_path / "t.csv").read_text() == "subject_id,session_id,seconds\na,,1.25\n"


@pytest.mark.parametrize("row", ["a,1,x.nii.gz,maybe,", "a,1,,ok,", ",1,x.nii.gz,ok,"])
def test_a_row_that_says_nothing_is_refused(tmp_path, row):
    (tmp_path / "p.csv").write_text(f"subject_id,session_id,path,status,error\n{row}\n")
    with pytest.raises(RecordError, match=r"p\.csv line 2.*volumetric infer"):
        PredictionRow.read_table(tmp_path / "p.csv")
