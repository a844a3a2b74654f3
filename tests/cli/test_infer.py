"""`volumetric infer` through the command line: what it refuses, what it makes again, and what costs one subject."""

import csv
import errno
import json
import logging
import math
import os
import shutil
import struct
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import yaml
from safetensors.torch import load_file, save_file
from typer.testing import CliRunner

from tests.conftest import brain_pair, oblique_affine, write_cohort
from volumetric.cli import app, main
from volumetric.cli.options import OptionError
from volumetric.imaging.nifti import read_image, write_image
from volumetric.manifest import ManifestRow, read_manifest, write_manifest
from volumetric.model.predict import Model
from volumetric.outputs import hash_file


@pytest.fixture
def infer(monkeypatch, capsys, run_folder, tmp_path):
    """Run the command into `tmp_path/out`; exit status and standard error."""

    def run(*arguments, model=run_folder, out=tmp_path / "out", engine="torch"):
        command = ["volumetric", "infer", "--model", model, "--out", out, "--engine", engine, *arguments]
        monkeypatch.setattr("sys.argv", [str(word) for word in command])
        with pytest.raises(SystemExit) as stop:
            main()
            raise SystemExit(0)
        return stop.value.code or 0, capsys.readouterr().err

    return run


@pytest.fixture
def scans(tmp_path):
    """Two scans of one file name, in two folders."""
    paths = [tmp_path / name / "scan.nii.gz" for name in ("d1", "d2")]
    for seed, path in enumerate(paths):
        write_image(path, brain_pair(seed)[0])
    return paths


def table(out):
    with (out / "predictions.csv").open(newline="") as file:
        return {"/".join(filter(None, (r["subject_id"], r["session_id"]))): r for r in csv.DictReader(file)}


def images(out):
    return {path.name: path.read_bytes() for path in out.rglob("*.nii.gz")}


def manifest(folder, **sources):
    """Of subjects by name."""
    path = folder / "manifest.csv"
    write_manifest(path, [ManifestRow(name, paths={"t1w": source}) for name, source in sources.items()])
    return path


# (a) An output belongs to a subject, a session and a source file.


def test_a_second_file_of_the_same_name_does_not_replace_the_first(infer, scans, tmp_path):
    out = tmp_path / "out"
    assert infer(scans[0])[0] == 0
    before = images(out)
    status, error = infer(scans[1])
    assert status == 2
    assert error.startswith("error: ")
    assert error.count("\n") == 1
    for words in (scans[0].name, str(scans[1]), "another --out", "--fresh"):
        assert words in error
    assert images(out) == before
    assert infer(scans[1], "--fresh")[0] == 0
    assert images(out) != before
    assert list(table(out)) == ["scan"]


def test_the_same_file_is_made_again_when_it_changes_and_skipped_when_it_moves(infer, scans, tmp_path, caplog):
    out = tmp_path / "out"
    infer(scans[0])
    before = images(out)
    times = [path.stat().st_mtime_ns for path in out.rglob("*.nii.gz")]
    moved = tmp_path / "elsewhere" / "scan.nii.gz"
    moved.parent.mkdir()
    shutil.copy(scans[0], moved)
    assert infer(moved)[0] == 0
    assert times == [path.stat().st_mtime_ns for path in out.rglob("*.nii.gz")]
    shutil.copy(scans[1], scans[0])
    assert infer(scans[0])[0] == 0
    assert images(out) != before


@pytest.mark.parametrize("sidecar", ["whole", "damaged"])
def test_two_subjects_whose_names_differ_in_a_mark_do_not_replace_each_other(infer, scans, tmp_path, sidecar):
    out = tmp_path / "out"
    assert infer(manifest(tmp_path / "d1", a_b=scans[0]))[0] == 0
    if sidecar == "damaged":
        next(out.rglob("sub-*.json")).write_text("{")
    before = images(out)
    status, error = infer(manifest(tmp_path / "d2", ab=scans[1]))
    assert status == 2
    assert "subject a_b" in error
    assert "subject ab" in error
    assert images(out) == before
    assert list(table(out)) == ["a_b"]
    assert infer(manifest(tmp_path / "d2", ab=scans[1]), "--fresh")[0] == 0
    assert list(table(out)) == ["ab"]


def test_the_same_subject_name_in_two_cohorts_is_not_the_same_subject(infer, scans, tmp_path):
    assert infer(manifest(tmp_path / "d1", p0=scans[0]))[0] == 0
    before = images(tmp_path / "out")
    assert infer(manifest(tmp_path / "d2", p0=scans[1]))[0] == 2
    assert images(tmp_path / "out") == before


def test_a_manifest_and_its_file_are_one_owner(infer, tmp_path):
    cohort = write_cohort(tmp_path / "cohort", ["test"])
    assert infer(cohort)[0] == 0
    assert infer(tmp_path / "cohort" / "p0" / "t1w.nii.gz")[0] == 0
    write_image(tmp_path / "cohort" / "p0" / "t1w.nii.gz", brain_pair(7)[0])
    before = images(tmp_path / "out")
    assert infer(cohort)[0] == 0
    assert images(tmp_path / "out") != before


# (c) A converted network is compared with the weights.


def test_another_models_converted_network_does_not_make_this_models_image(infer, scans, run_folder, tmp_path):
    pytest.importorskip("openvino")
    models = [tmp_path / "a", tmp_path / "b"]
    for factor, model in zip((1, 1.1), models, strict=True):
        changed(run_folder, model, weights=lambda tensor, factor=factor: factor * tensor)
        assert infer(scans[0], model=model, out=tmp_path / f"out_{model.name}", engine="openvino")[0] == 0
    own, other = (next((model / "engines").glob("openvino-*")) for model in models)
    for file in other.iterdir():
        shutil.copy(file, own / file.name)
    assert infer(scans[0], model=models[0], out=tmp_path / "again", engine="openvino")[0] == 0
    assert images(tmp_path / "out_a") != images(tmp_path / "out_b")
    assert images(tmp_path / "again") == images(tmp_path / "out_a")


# (d) Weights and numbers that make no image.


def changed(run_folder, folder, *, weights=None, **numbers):
    """A copy of the model with other weights or numbers."""
    shutil.copytree(run_folder / "model", folder, ignore=shutil.ignore_patterns("engines"))
    spec = yaml.safe_load((folder / "model.yaml").read_text())
    del spec["weights_sha256"]  # a folder of an earlier version, whose weights nothing vouches for
    (folder / "model.yaml").write_text(yaml.safe_dump(spec | numbers))
    if weights is not None:
        tensors = load_file(folder / "model.safetensors")
        save_file({name: weights(tensor) for name, tensor in tensors.items()}, folder / "model.safetensors")
    return folder


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_weights_that_are_not_finite_are_refused(infer, scans, run_folder, tmp_path, value):
    model = changed(run_folder, tmp_path / "model", weights=lambda tensor: tensor * 0 + value)
    status, error = infer(scans[0], model=model)
    assert status == 2
    assert f"{model / 'model.safetensors'}:" in error
    assert "NaN or infinite" in error
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"weights": lambda tensor: tensor * 1e30}, "NaN or infinite"),
        ({"weights": lambda tensor: tensor * 20}, "99.5th percentile"),
        ({"weights": lambda tensor: tensor * 0}, "constant"),
        ({"target_map": {"center": 1e6, "scale": 1.0}}, "99.5th percentile"),
        ({"target_map": {"center": -1e6, "scale": 1.0}}, "constant"),
        ({"target_map": {"center": 1.0, "scale": 1e-30}}, "constant"),
        ({"target_map": {"center": 0.0, "scale": 1e30}}, "99.5th percentile"),
    ],
)
@pytest.mark.parametrize("engine", ["torch", "auto"])
def test_a_model_that_makes_no_image_gives_a_failed_row_and_no_file(
    infer, scans, run_folder, tmp_path, change, problem, engine
):
    model = changed(run_folder, tmp_path / "model", **change)
    status, _ = infer(scans[0], model=model, engine=engine)
    assert status == 1
    row = table(tmp_path / "out")["scan"]
    assert (row["status"], row["path"]) == ("failed", "")
    assert problem in row["error"]
    assert not list((tmp_path / "out").rglob("sub-*.*"))


@pytest.mark.parametrize(
    ("numbers", "where"),
    [
        ({"intensity_scale": 1e30}, "`intensity_scale`"),
        ({"intensity_scale": float("nan")}, "`intensity_scale`"),
        ({"spacing_mm": [1.0, 0.0, 1.0]}, "`spacing_mm.1`"),
        ({"spacing_mm": [1.0, -1.0, 1.0]}, "`spacing_mm.1`"),
        ({"patch_size": [16, 0, 16]}, "`patch_size.1`"),
        ({"patch_size": [16, 17, 16]}, "must be multiples of"),
        ({"data_range": 0}, "`data_range`"),
        ({"data_range": float("inf")}, "`data_range`"),
        ({"overlap": 1.0}, "`overlap`"),
        ({"target_map": {"center": 0.0, "scale": 0.0}}, "`target_map.scale`"),
        ({"sources": []}, "`sources`"),
        ({"sources": ["t1w", "pdw"]}, "no pdw"),
        ({"sources": ["t1w", "t1w"]}, "must all differ"),
        ({"target": "t1w"}, "must all differ"),
        ({"spacing_mm": [1e-9, 1e-9, 1e-9]}, "`spacing_mm.0`"),
        ({"format_version": "1"}, "format_version is '1', this version of volumetric reads 1"),
    ],
)
def test_numbers_of_a_model_outside_their_range_are_named(infer, scans, run_folder, tmp_path, numbers, where):
    model = changed(run_folder, tmp_path / "model", **numbers)
    status, error = infer(scans[0], model=model)
    assert status == 2
    assert error.startswith(f"error: {model / 'model.yaml'}: ")
    assert where in error
    assert "``" not in error


# (e) The hash of a source is that of the bytes that were read.


def test_a_source_replaced_while_it_is_computed_is_not_recorded_under_the_new_hash(infer, scans, tmp_path, monkeypatch):
    read, forward = hash_file(scans[0]), Model.run

    def replaced(self, model_input):
        shutil.copy(scans[1], scans[0])
        return forward(self, model_input)

    monkeypatch.setattr(Model, "run", replaced)
    infer(scans[0])
    (sidecar,) = (tmp_path / "out").rglob("sub-*.json")
    assert json.loads(sidecar.read_text())["source_sha256"] == {"t1w": read}
    monkeypatch.undo()


def test_a_source_replaced_while_it_was_computed_is_made_again(infer, scans, tmp_path, monkeypatch):
    with monkeypatch.context() as during:
        forward = Model.run
        during.setattr(Model, "run", lambda self, given: (shutil.copy(scans[1], scans[0]), forward(self, given))[1])
        infer(scans[0])
    before = images(tmp_path / "out")
    infer(scans[0])
    assert images(tmp_path / "out") != before


# (f) A prediction that is not whole is not done.


@pytest.mark.parametrize("left", [0, 100, -1])
def test_an_output_that_was_emptied_or_truncated_is_made_again(infer, scans, tmp_path, left):
    infer(scans[0])
    (path,) = (tmp_path / "out").rglob("*.nii.gz")
    whole = path.read_bytes()
    path.write_bytes(whole[:left])
    assert infer(scans[0])[0] == 0
    assert path.read_bytes() == whole


# (g) Voxels that are no real numbers cost their subject.


def test_complex_and_rgb_images_are_failed_rows_and_the_others_go_on(infer, tmp_path):
    cohort = write_cohort(tmp_path / "cohort", ["test"] * 3)
    paths = [row.paths["t1w"] for row in read_manifest(cohort).rows]
    t1w = read_image(paths[0])
    nib.save(nib.Nifti1Image(t1w.array.astype(np.complex64), t1w.affine), paths[0])
    rgb = np.zeros(t1w.array.shape, [("R", "u1"), ("G", "u1"), ("B", "u1")])
    nib.save(nib.Nifti1Image(rgb, t1w.affine), paths[1])
    assert infer(cohort)[0] == 1
    rows = table(tmp_path / "out")
    assert [row["status"] for row in rows.values()] == ["failed", "failed", "ok"]
    assert "complex numbers" in rows["p0"]["error"]
    assert "colors (RGB)" in rows["p1"]["error"]


# (h) Damaged files of an earlier call.

DAMAGE = [b"", b"{", b"{}", b"[1, 2]", b'{"format_version": 7}', b"\xff\xfe\x00\x81", b"null"]


@pytest.mark.parametrize("content", DAMAGE)
def test_a_prediction_with_a_damaged_sidecar_is_made_again(infer, scans, tmp_path, content):
    infer(scans[0])
    (sidecar,) = (tmp_path / "out").rglob("sub-*.json")
    whole = sidecar.read_bytes()
    sidecar.write_bytes(content)
    assert infer(scans[0])[0] == 0
    assert sidecar.read_bytes() == whole


@pytest.mark.parametrize("content", [*DAMAGE, b"subject_id\na\n", b"subject_id,status\na,perhaps\n", None])
def test_a_damaged_table_is_made_again_with_the_rows_of_earlier_calls(infer, scans, tmp_path, content):
    out = tmp_path / "out"
    infer(manifest(tmp_path / "d1", first=scans[0]))
    infer(manifest(tmp_path / "d1", second=scans[1]))
    whole = (out / "predictions.csv").read_text()
    for name in ("predictions.csv", "timings.csv"):
        (out / name).write_bytes(content) if content is not None else (out / name).unlink()
    assert infer(manifest(tmp_path / "d1", second=scans[1]))[0] == 0
    assert (out / "predictions.csv").read_text() == whole


@pytest.mark.parametrize("name", ["predictions.csv", "timings.csv"])
def test_a_folder_in_the_place_of_a_table_is_one_sentence_before_any_work(infer, scans, tmp_path, name):
    (tmp_path / "out" / name).mkdir(parents=True)
    status, error = infer(scans[0])
    assert (status, error.count("\n")) == (2, 1)
    assert f"{name}: a folder stands where" in error
    assert not images(tmp_path / "out")


def test_a_file_in_the_place_of_the_output_folder_is_one_sentence(infer, scans, tmp_path):
    (tmp_path / "out").write_text("")
    status, error = infer(scans[0])
    assert (status, error.count("\n")) == (2, 1)
    assert f"{tmp_path / 'out'}: no folder that can be written" in error


# Options.


@pytest.mark.parametrize(
    ("option", "choices"),
    [
        ("--device", "'auto', 'cpu', 'cuda'"),
        ("--engine", "'auto', 'openvino', 'torch'"),
        ("--precision", "'auto', 'float32', 'bfloat16'"),
        ("--split", "'train', 'val', 'test', 'all'"),
    ],
)
def test_a_wrong_choice_is_answered_by_the_list(infer, scans, option, choices):
    status, error = infer(scans[0], option, "tpu")
    assert status == 2
    assert f"{option}': Value error, 'tpu' is not one of {choices}" in " ".join(error.replace("│", " ").split())


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (("--overlap", "0.95"), "less than or equal to 0.9"),
        (("--overlap", "0.5", "--whole-volume"), "--overlap is of windows"),
    ],
)
def test_windows_that_cannot_be_are_one_sentence(infer, scans, options, sentence):
    status, error = infer(scans[0], *options)
    assert status == 2
    assert sentence in error
    assert "Traceback" not in error


def test_the_sidecar_records_the_options_whole(infer, scans, tmp_path):
    assert infer(scans[0], "--device", "cpu", "--overlap", "0.5", "--precision", "bfloat16")[0] == 0
    (sidecar,) = (tmp_path / "out").rglob("sub-*.json")
    assert json.loads(sidecar.read_text())["settings"] == {
        "device": "cpu",
        "engine": "torch",
        "precision": "bfloat16",
        "overlap": 0.5,
        "whole_volume": False,
    }


def test_the_output_is_named_on_standard_output(infer, scans, tmp_path, capsys, monkeypatch, run_folder):
    out = tmp_path / "out"
    command = ["volumetric", "infer", scans[0], "--model", run_folder, "--out", out, "--engine", "torch"]
    monkeypatch.setattr("sys.argv", [str(word) for word in command])
    with pytest.raises(SystemExit) as stop:
        main()
    assert stop.value.code == 0
    assert Path(capsys.readouterr().out.strip()) == out / "predictions.csv"


# Items 9 to 18 of the outside attack, by the command line.


def test_item_9_hostile_headers_cost_their_row_and_the_others_go_on(infer, tmp_path):
    whole = nib.Nifti1Image(brain_pair(0)[0].array, oblique_affine()).to_bytes()
    hostile = {
        "datatype": (70, "<h", 511),
        "axes": (40, "<h", 255),
        "offset": (108, "<f", math.inf),
        "far": (292, "<f", 1e30),
        "size": (280, "<f", 1e15),
        "units": (76, "<f", 1.0),
    }
    files = {name: tmp_path / f"{name}.nii" for name in hostile}
    for name, (start, kind, value) in hostile.items():
        changed = bytearray(whole)
        struct.pack_into(kind, changed, start, value)
        files[name].write_bytes(changed)
    files["short"] = tmp_path / "short.nii"
    files["short"].write_bytes(whole[:200])
    status, error = infer(manifest(tmp_path, **files))
    assert status == 1
    assert "Traceback" not in error
    rows = table(tmp_path / "out")
    assert rows.pop("units")["status"] == "ok"
    assert {row["status"] for row in rows.values()} == {"failed"}
    assert all(row["error"].startswith(f"{files[name].name}: ") for name, row in rows.items())


def test_item_11_a_name_that_is_too_long_costs_its_row(infer, scans, tmp_path):
    long = tmp_path / ("x" * 300)
    status, error = infer(manifest(tmp_path, good=scans[0], **{"s" * 300: scans[0]}, far=long))
    assert status == 1
    assert "Traceback" not in error
    rows = table(tmp_path / "out")
    assert rows["good"]["status"] == "ok"
    assert "File name too long; give it a shorter name" in rows["s" * 300]["error"]
    assert "does not exist; correct the path" in rows["far"]["error"]


def test_item_11_a_full_disk_is_one_sentence_that_names_the_file(infer, scans, tmp_path, monkeypatch):
    def full(descriptor):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    status, error = infer(scans[0])
    file = tmp_path / "out" / "dataset_description.json"
    assert (status, error.splitlines()[-1][: len(f"error: {file}")]) == (2, f"error: {file}")
    assert "No space left on device; make room on the disk" in error
    assert not list(tmp_path.rglob("*.tmp"))


def test_item_12_a_damaged_sidecar_is_named_once(infer, scans, tmp_path, caplog):
    infer(scans[0])
    (sidecar,) = (tmp_path / "out").rglob("*_T2w.json")
    sidecar.write_text("{")
    assert infer(scans[0])[0] == 0
    assert caplog.text.count(str(sidecar)) == 1


@pytest.mark.parametrize("name", ["predictions.csv", "timings.csv"])
def test_item_12_a_pipe_in_the_place_of_a_table_does_not_hang(infer, scans, tmp_path, caplog, name):
    infer(scans[0])
    before = (tmp_path / "out" / "predictions.csv").read_bytes()
    (tmp_path / "out" / name).unlink()
    os.mkfifo(tmp_path / "out" / name)
    assert infer(scans[0])[0] == 0
    assert f"{name}: a folder or a pipe stands where a file belongs; it is made again" in caplog.text
    assert (tmp_path / "out" / "predictions.csv").read_bytes() == before


def test_item_15_a_field_of_over_131072_characters_is_one_sentence(infer, tmp_path):
    (tmp_path / "long.csv").write_text(f"subject_id,t1w\n{'x' * 140_000},a.nii.gz\n")
    status, error = infer(tmp_path / "long.csv")
    assert status == 2
    assert error.startswith(f"error: {tmp_path / 'long.csv'}: not a readable CSV file (field larger than field limit")


def test_item_18_a_scan_whose_name_is_not_utf_8_is_synthesized_and_skipped_the_next_time(
    infer, scans, tmp_path, monkeypatch
):
    monkeypatch.setattr(logging.root.manager, "disable", logging.CRITICAL)  # xdist cannot send such a name
    scan = tmp_path / os.fsdecode(b"caf\xe9") / os.fsdecode(b"sc\xff_t1w.nii.gz")
    scan.parent.mkdir()
    shutil.copy(scans[0], scan)
    assert infer(scan)[0] == 0
    (row,) = table(tmp_path / "out").values()
    assert (row["subject_id"], row["status"]) == ("sc\\udcff", "ok")
    (image,) = (tmp_path / "out").rglob("*.nii.gz")
    made = image.stat().st_mtime_ns
    assert infer(scan)[0] == 0
    assert image.stat().st_mtime_ns == made


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        (["--flips", "q"], "--flips q: some of the letters x, y and z"),
        (["--sources", "ct"], "--sources ct: expected 't1w'"),
        (
            ["--input", "t1w=a.nii.gz", "--input", "t1w=b.nii.gz"],
            "--input t1w: two files are given, a.nii.gz and b.nii.gz",
        ),
    ],
)
def test_an_option_that_is_wrong_is_named_with_its_word(options, problem, tmp_path):
    result = CliRunner().invoke(app, ["infer", "x.nii.gz", "--out", str(tmp_path / "out"), *options])
    assert isinstance(result.exception, OptionError)
    assert problem in str(result.exception)
    assert not (tmp_path / "out").exists()
