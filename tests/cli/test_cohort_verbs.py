import numpy as np
import pytest
from typer.testing import CliRunner

from tests.conftest import brain_pair, write_cohort
from volumetric.cli import app
from volumetric.errors import InputError
from volumetric.imaging.nifti import Image, write_image
from volumetric.manifest import read_manifest


def run(*arguments):
    return CliRunner().invoke(app, [str(argument) for argument in arguments], catch_exceptions=False)


def test_discover_says_what_it_found_and_what_it_skipped(tmp_path):
    write_cohort(tmp_path / "in", ["train"] * 4)
    (tmp_path / "in" / "p1" / "t2w.nii.gz").write_bytes(b"no image")
    for number in range(25):
        write_image(tmp_path / "in" / f"loose{number:02d}.nii.gz", brain_pair(0, shape=(3, 4, 5))[0])
    result = run("discover", tmp_path / "in", "--out", tmp_path / "m.csv", "--split", "0.5,0.25,0.25")
    assert result.exit_code == 0
    lines = result.stdout.splitlines()
    assert lines[0] == "layout folders (33 NIfTI files with other names)"
    assert lines[1] == "4 subjects, 4 sessions, 3 of them with t1w and t2w"
    assert lines[2] == "t1w: 4, t2w: 3"
    assert lines[3] == "subjects in train: 2, val: 1, test: 1"
    assert lines[4] == f"skipped: 26, all in {tmp_path / 'm_skipped.csv'}"
    assert lines[-2] == "  and 6 more"
    assert lines[-1] == str(tmp_path / "m.csv")
    assert (tmp_path / "m_skipped.csv").read_text().count("\n") == 27


def test_discover_folds_and_options(tmp_path):
    write_cohort(tmp_path / "in", ["train"] * 4)
    options = ("--out", tmp_path / "m.csv", "--folds", 2, "--seed", 3)
    assert "subjects in fold 0: 2, fold 1: 2" in run("discover", tmp_path / "in", *options).stdout
    with pytest.raises(InputError, match="three numbers"):
        run("discover", tmp_path / "in", "--out", tmp_path / "m.csv", "--split", "70,30")


def test_attack_6_splits_beside_folds_are_refused(tmp_path):
    with pytest.raises(InputError, match="--split and --folds"):
        run("discover", tmp_path, "--out", tmp_path / "m.csv", "--split", "0.8,0.1,0.1", "--folds", 2)


def test_fetch_refuses_what_it_does_not_know(tmp_path):
    with pytest.raises(InputError, match="expected some of t1w, t2w, pdw"):
        run("fetch", "ixi", "--out", tmp_path / "out", "--contrast", "t1w, mra")
    with pytest.raises(InputError, match="only ixi has contrasts"):
        run("fetch", "label-maps", "--out", tmp_path / "out", "--contrast", "t1w")


def test_phantom_from_label_maps(tmp_path):
    x, y, z = np.indices((23, 29, 25)) - np.array([11, 14, 12]).reshape(3, 1, 1, 1)
    radius = np.sqrt((x / 11) ** 2 + (y / 13) ** 2 + (z / 12) ** 2)
    labels = np.select([radius < 0.6, radius < 0.8, radius < 0.9, radius < 1], [3, 2, 1, 9], 0)
    write_image(tmp_path / "maps" / "one.nii.gz", Image(labels, np.diag([4.0, 4, 4, 1])))
    (tmp_path / "mine.yaml").write_text("air: [0]\nfluid: [1]\ncortex: [2]\nwhite_matter: [3]\nskin: [9]\n")
    options = ("--subjects", 1, "--spacing-mm", 4, "--table", tmp_path / "mine.yaml", "--preview")
    out = tmp_path / "out"
    result = run("phantom", "--out", out, "--anatomies", tmp_path / "maps", "--region", "head", *options)
    assert result.stdout.splitlines()[-1] == str(out / "manifest.csv")
    assert (out / "preview.png").is_file()
    (row,) = read_manifest(out / "manifest.csv").rows
    assert (row.split, row.covariates["anatomy"]) == ("train", "one")
    face = CliRunner().invoke(app, ["phantom", "--out", str(out), "--anatomies", "maps", "--region", "face"])
    assert face.exit_code == 2
    with pytest.raises(InputError, match=r"no tissue for label 9; choose another --table"):
        run("phantom", "--out", tmp_path / "b", "--anatomies", tmp_path / "maps", "--table", "three_tissues")
