import csv
import json
from dataclasses import replace

import nibabel as nib
import numpy as np
import pytest

from tests.conftest import ORIENTATIONS, brain_pair, oblique_affine, write_cohort
from volumetric.config.inference import InferenceOptions
from volumetric.imaging.nifti import read_image, write_image
from volumetric.manifest import read_manifest, write_manifest
from volumetric.model.folder import ModelError
from volumetric.outputs import OutputError, hash_file
from volumetric.synthesis.folder import OwnershipError
from volumetric.synthesis.infer import infer


def table(path):
    with path.open() as file:
        return list(csv.DictReader(file))


def test_a_derivative_folder_of_whole_volumes(run_folder, cohort, tmp_path):
    outcomes = infer([cohort], model=run_folder, out=tmp_path, split="test")
    assert [o.status for o in outcomes] == ["ok", "ok"]
    assert json.loads((tmp_path / "dataset_description.json").read_text())["DatasetType"] == "derivative"
    rows = table(tmp_path / "predictions.csv")
    assert [(r["subject_id"], r["status"]) for r in rows] == [("p3", "ok"), ("p4", "ok")]
    image = nib.load(tmp_path / rows[0]["path"])
    source_path = read_manifest(cohort).rows[3].path("t1w")
    source = nib.load(source_path)
    assert image.shape == source.shape
    assert image.get_data_dtype() == np.float32
    np.testing.assert_array_equal(image.get_sform(), source.get_sform())
    np.testing.assert_array_equal(image.get_qform(), source.get_qform())
    values = image.get_fdata()
    assert (values[source.get_fdata() == 0] == 0).all()
    assert 500 < np.median(values[source.get_fdata() != 0]) < 2000
    sidecar = json.loads((tmp_path / rows[0]["path"].replace(".nii.gz", ".json")).read_text())
    assert sidecar["Description"] == "Synthetic image, not for diagnosis."
    assert sidecar["intensity_scale"] == 1000
    assert sidecar["mask_rule"] == "nonzero"
    assert sidecar["source_sha256"] == {"t1w": hash_file(source_path)}
    assert sidecar["prediction_sha256"] == hash_file(tmp_path / rows[0]["path"])
    assert sidecar["subject_id"] == "p3"
    assert {r["subject_id"] for r in table(tmp_path / "timings.csv")} == {"p3", "p4"}


@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_any_orientation_thick_slices_and_odd_codes_come_back_as_they_are(run_folder, tmp_path, orientation):
    t1w, _ = brain_pair(7, shape=(40, 33, 12), affine=oblique_affine(orientation, spacing=(3.0, 3.2, 9.0)))
    nifti = nib.Nifti1Image(t1w.array, t1w.affine)
    nifti.set_qform(t1w.affine, 1)
    nifti.set_sform(t1w.affine, 4)
    nib.save(nifti, tmp_path / "scan.nii.gz")
    infer([tmp_path / "scan.nii.gz"], model=run_folder, out=tmp_path / "out")
    (path,) = (tmp_path / "out").rglob("*_T2w.nii.gz")
    before, after = nib.load(tmp_path / "scan.nii.gz"), nib.load(path)
    assert after.shape == before.shape
    for form in ("get_qform", "get_sform"):
        ours, theirs = getattr(after, form)(coded=True), getattr(before, form)(coded=True)
        np.testing.assert_array_equal(ours[0], theirs[0])
        assert ours[1] == theirs[1]
    assert ((after.get_fdata() != 0) <= (t1w.array != 0)).all()


def test_repeating_skips_what_is_finished_and_redoes_what_changed(run_folder, tmp_path):
    cohort = write_cohort(tmp_path / "cohort", ["test", "test"])
    first = infer([cohort], model=run_folder, out=tmp_path / "out")
    bytes_before = {p: p.read_bytes() for p in (tmp_path / "out").rglob("*") if p.is_file()}
    assert [o.status for o in infer([cohort], model=run_folder, out=tmp_path / "out")] == ["skipped", "skipped"]
    assert {p: p.read_bytes() for p in (tmp_path / "out").rglob("*") if p.is_file()} == bytes_before
    t1w, _ = brain_pair(5)
    write_image(tmp_path / "cohort" / "p0" / "t1w.nii.gz", t1w)
    next((tmp_path / "out" / "sub-p1").rglob("*.json")).unlink()  # as if killed between image and sidecar
    again = infer([cohort], model=run_folder, out=tmp_path / "out")
    assert [o.status for o in again] == ["ok", "ok"]
    assert len(table(tmp_path / "out" / "predictions.csv")) == len(first)
    assert [o.status for o in infer([cohort], model=run_folder, out=tmp_path / "out", fresh=True)] == ["ok", "ok"]


@pytest.mark.parametrize(
    "other", [{"overlap": 0.5}, {"whole_volume": False}, {"engine": "torch"}, {"precision": "bfloat16"}]
)
def test_what_was_made_with_other_settings_is_made_again(run_folder, cohort, tmp_path, other):
    for settings, status in (({}, "ok"), (other, "ok"), (other, "skipped"), ({}, "ok")):
        outcomes = infer(
            [cohort], model=run_folder, out=tmp_path, split="val", options=InferenceOptions(device="cpu", **settings)
        )
        assert [outcome.status for outcome in outcomes] == [status]


def test_two_equal_calls_write_equal_bytes(run_folder, cohort, tmp_path):
    for name in ("a", "b"):
        infer([cohort], model=run_folder, out=tmp_path / name, split="val")
    files = sorted(p.relative_to(tmp_path / "a") for p in (tmp_path / "a").rglob("*") if p.is_file())
    different = [f for f in files if (tmp_path / "a" / f).read_bytes() != (tmp_path / "b" / f).read_bytes()]
    assert [f.name for f in different if f.name != "timings.csv"] == []


def test_a_bad_scan_is_a_row_and_the_others_go_on(run_folder, tmp_path):
    cohort = write_cohort(tmp_path / "cohort", ["test"] * 5)
    paths = [row.paths["t1w"] for row in read_manifest(cohort).rows]
    t1w = read_image(paths[0])
    nib.save(nib.Nifti1Image(np.stack([t1w.array, t1w.array], -1), t1w.affine), paths[0])
    broken = t1w.array.copy()
    broken[2, 3, 4] = np.nan
    write_image(paths[1], t1w.with_array(broken))
    paths[2].unlink()
    paths[3].write_bytes(paths[3].read_bytes()[:1000])
    outcomes = infer([cohort], model=run_folder, out=tmp_path / "out")
    assert [o.status for o in outcomes] == ["failed"] * 4 + ["ok"]
    errors = [r["error"] for r in table(tmp_path / "out" / "predictions.csv")]
    for error, words in zip(errors, ("expected a 3D image", "NaN", "does not exist", "damaged", ""), strict=True):
        assert words in error
    assert len(list((tmp_path / "out").rglob("*.nii.gz"))) == 1


def test_rows_of_earlier_calls_stay(run_folder, cohort, tmp_path):
    infer([cohort], model=run_folder, out=tmp_path, split="val")
    infer([cohort], model=run_folder, out=tmp_path, split="test")
    assert [r["subject_id"] for r in table(tmp_path / "predictions.csv")] == ["p2", "p3", "p4"]


def test_a_wrong_call_writes_nothing(cohort, tmp_path):
    with pytest.raises(ModelError):
        infer([cohort], model=tmp_path / "none", out=tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("engine", ["openvino", "torch"])
def test_the_sidecar_says_what_ran_the_network(run_folder, cohort, tmp_path, engine):
    if engine == "openvino":
        pytest.importorskip("openvino")
    infer([cohort], model=run_folder, out=tmp_path, split="val", options=InferenceOptions(device="cpu", engine=engine))
    (path,) = tmp_path.rglob("sub-*.json")
    sidecar = json.loads(path.read_text())
    assert (sidecar["engine"], sidecar["precision"]) == (engine, "float32")
    assert ("openvino" in sidecar["versions"]) == (engine == "openvino")


def test_windows_too_large_for_the_memory_are_cut_and_the_sidecar_names_their_borders(
    run_folder, cohort, tmp_path, monkeypatch
):
    """The brain has 23 x 37 x 25 voxels of model space; 24 x 22 x 26 fit the limit twice along the second axis."""
    monkeypatch.setattr("volumetric.model.forward.most_voxels", lambda width, device: 15_000)
    options = InferenceOptions(device="cpu", engine="torch", whole_volume=True)
    infer([cohort], model=run_folder, out=tmp_path, split="val", options=options)
    (path,) = tmp_path.rglob("sub-*.json")
    windows = json.loads(path.read_text())["windows"]
    assert windows["grid_shape"] == [23, 37, 25]
    assert (windows["size"], windows["starts"]) == ([24, 22, 26], [[0, 0, 0], [0, 15, 0]])
    assert windows["number"] == 2


def test_attack_10_a_data_set_of_others_is_not_described_anew(run_folder, cohort, tmp_path):
    description = tmp_path / "dataset_description.json"
    description.write_text('{"Name": "My scans", "Authors": ["me"]}')
    for fresh in (False, True):
        with pytest.raises(OwnershipError, match=r"another data set \(My scans\); choose .*derivatives/volumetric"):
            infer([cohort], out=tmp_path, model=run_folder, split="test", fresh=fresh)
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {
        description.name: '{"Name": "My scans", "Authors": ["me"]}'
    }


def test_attack_10_what_is_added_to_the_description_stays(run_folder, cohort, tmp_path):
    infer([cohort], out=tmp_path, model=run_folder, split="test")
    description = tmp_path / "dataset_description.json"
    first = json.loads(description.read_text())
    description.write_text(json.dumps(first | {"Authors": ["me"]}))
    infer([cohort], out=tmp_path, model=run_folder, split="test")
    assert json.loads(description.read_text()) == first | {"Authors": ["me"]}
    description.write_text("{")
    infer([cohort], out=tmp_path, model=run_folder, split="test")
    assert json.loads(description.read_text()) == first


@pytest.mark.parametrize("name", ["predictions.csv", "timings.csv", "sub-p3/anat/sub-p3_desc-synth_T2w.nii.gz"])
def test_attack_10_files_of_others_are_not_replaced(run_folder, cohort, tmp_path, name):
    rows = read_manifest(cohort).split("test")
    assert "p3" in [row.subject_id for row in rows]
    file = tmp_path / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("mine")
    with pytest.raises(OutputError, match=f"{file}: it was there before"):
        infer([cohort], out=tmp_path, model=run_folder, split="test")
    assert [path.read_text() for path in tmp_path.rglob("*") if path.is_file()] == ["mine"]


def test_attack_10_an_error_has_no_folders_of_the_output(run_folder, tmp_path):
    cohort = write_cohort(tmp_path / "in", ["test"])
    (row,) = read_manifest(cohort).rows
    write_manifest(cohort, [row, replace(row, subject_id="x" * 300)])
    infer([cohort], out=tmp_path / "out", model=run_folder)
    assert [row["status"] for row in table(tmp_path / "out" / "predictions.csv")] == ["ok", "failed"]
    assert str(tmp_path) not in (tmp_path / "out" / "predictions.csv").read_text()
