"""Names that stand in inputs and must stand in no output."""

import gzip
from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from typer.testing import CliRunner

from tests.conftest import brain_pair
from volumetric.cli import app
from volumetric.imaging.nifti import write_image
from volumetric.manifest import ManifestRow, read_manifest, write_manifest
from volumetric.records.run import Provenance, without_folders
from volumetric.synthesis.folder import OwnershipError
from volumetric.synthesis.infer import infer

PLANTED = ("Quillfeather", "19530417", "MRN-7788123", "WardNineteen")


def run(*words):
    result = CliRunner().invoke(app, [str(word) for word in words])
    assert result.exit_code in (0, 1), result.output
    return result


@pytest.fixture
def ward(tmp_path):
    """Scans in folders named after a patient, with the name, the date and the number in their headers."""
    name, date, number, ward = PLANTED
    rows = []
    for subject in ("a", "b", "c"):
        folder = tmp_path / ward / f"{name} {subject} {date}"
        paths = {contrast: folder / f"{contrast}.nii.gz" for contrast in ("t1w", "t2w")}
        for path, image in zip(paths.values(), brain_pair(ord(subject)), strict=True):
            write_image(path, image)
            nifti = nib.load(path)
            nifti.header["descrip"], nifti.header["db_name"] = f"{name} {date}".encode(), number.encode()
            nifti.header["aux_file"] = name.encode()
            nifti.header.extensions.append(nib.nifti1.Nifti1Extension("comment", f"{name} {number}".encode()))
            nib.save(nib.Nifti1Image(np.asarray(nifti.dataobj), nifti.affine, nifti.header), path)
        rows.append(ManifestRow(subject, split="test", paths=paths))
    rows[2].paths["t1w"].write_bytes(b"damaged")
    rows.append(ManifestRow("d", split="test", paths={c: tmp_path / ward / name / f"{c}.nii" for c in ("t1w", "t2w")}))
    write_manifest(tmp_path / ward / "manifest.csv", rows)
    return tmp_path / ward / "manifest.csv"


def content(path: Path) -> bytes:
    return gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()


def leaks(folder: Path, planted):
    return {
        f"{path.relative_to(folder)}: {word}"
        for path in folder.rglob("*")
        if path.is_file()
        for word in planted
        if word.encode() in content(path) or word in path.name
    }


def test_issue_17_23_no_output_of_infer_or_evaluate_tells_a_name(ward, run_folder, tmp_path):
    """But `subjects/*.json`, which hold the way to the scans, relative to the evaluation: the report needs it."""
    run("infer", ward, "--model", run_folder, "--out", tmp_path / "out", "--figures")
    assert not leaks(tmp_path / "out", [*PLANTED, str(tmp_path)])
    run("evaluate", tmp_path / "out", ward, "--out", tmp_path / "scores", "--no-segmentation", "--jobs", "1")
    found = leaks(tmp_path / "scores", [*PLANTED, str(tmp_path)])
    assert {leak.split(":")[0] for leak in found} == {"subjects/a.json", "subjects/b.json"}
    assert not any(str(tmp_path) in leak for leak in found)
    run("report", tmp_path / "scores", "--out", tmp_path / "page" / "report.html")
    assert not leaks(tmp_path / "page", [*PLANTED, str(tmp_path)])


def test_without_its_folders_a_sidecar_still_tells_two_sources_apart(ward, run_folder, tmp_path):
    """Of the same name in two folders, the second would replace the first's prediction."""
    first, second = (tmp_path / folder / "scan.nii.gz" for folder in ("d1", "d2"))
    for number, path in enumerate((first, second)):
        write_image(path, brain_pair(number)[0])
    infer([first], out=tmp_path / "out", model=run_folder)
    infer([first], out=tmp_path / "out", model=run_folder)
    with pytest.raises(OwnershipError, match="would replace it"):
        infer([second], out=tmp_path / "out", model=run_folder)


@pytest.mark.parametrize(
    ("word", "left"),
    [
        ("/a/Quillfeather/manifest.csv", "manifest.csv"),
        ("--out=../Quillfeather/run", "--out=run"),
        ("cache=/b/c d/e", "cache=e"),
        ("runs/first/", "first/"),
        (r"C:\Quillfeather\manifest.csv", "manifest.csv"),
        ("space.spacing_mm=[2,2,2]", "space.spacing_mm=[2,2,2]"),
        ("optim.lr=1e-3", "optim.lr=1e-3"),
    ],
)
def test_a_word_of_a_command_loses_its_folders(word, left):
    assert without_folders(word) == left


def test_no_output_of_train_tells_a_folder(ward, tmp_path, monkeypatch):
    """But the log, and `cache` in the configuration, where the user set it: another call needs it."""
    out = tmp_path / "run"
    rows = [replace(row, split="train" if row.subject_id == "a" else "val") for row in read_manifest(ward).rows[:2]]
    write_manifest(ward, rows)
    words = ["train", ward, "--config", "tiny", "--set", "optim.num_steps=1", "--out", out]
    monkeypatch.setattr("sys.argv", ["/opt/WardNineteen/bin/volumetric", *map(str, words)])
    run(*words)
    assert Provenance.read(out / "provenance.json").command == (
        "volumetric train manifest.csv --config tiny --set optim.num_steps=1 --out run"
    )
    (out / "log.txt").unlink()
    assert not leaks(out, [*PLANTED, str(tmp_path)])
