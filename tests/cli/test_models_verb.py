"""`volumetric models`, and `volumetric infer` of a model by its name."""

import json
import subprocess
import sys

import numpy as np
import pytest

from tests.conftest import brain_pair
from volumetric.cli import main
from volumetric.imaging.nifti import read_image, write_image
from volumetric.model.folder import load_model
from volumetric.outputs import hash_bytes


@pytest.fixture
def volumetric(monkeypatch, capsys):
    """The command line in this process: exit status, standard output and error."""

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["volumetric", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            main()
        said = capsys.readouterr()
        return ended.value.code or 0, said.out, said.err

    return run


def test_the_table_holds_what_the_files_say(shipped, volumetric):
    status, said, _ = volumetric("models")
    assert status == 0
    row = next(line for line in said.splitlines() if "t1w_to_t2w" in line)
    sha256 = hash_bytes(*((shipped / name).read_bytes() for name in ("model.safetensors", "model.yaml")))
    for words in ("t1w → t2w", "from tests", "ellipsoids", "Apache-2.0", sha256[:12]):
        assert words in row
    assert "somewhere [x], n=3" in " ".join(said.split())
    assert "0.871" in said


def test_a_name_prints_its_card(shipped, volumetric):
    assert volumetric("models", "t1w_to_t2w")[1] == "# Card of t1w_to_t2w\n\nOf simulated pairs → brains.\n"
    status, _, error = volumetric("models", "t1w_to_pdw")
    assert status == 2
    assert "there are: t1w_to_t2w" in error


def test_a_package_without_models_says_so(volumetric, tmp_path, monkeypatch):
    monkeypatch.setattr("volumetric.model.shipped.MODELS", tmp_path)
    assert volumetric("models")[:2] == (
        0,
        "this package holds no model; train one with `volumetric train`, and name its run folder in --model\n",
    )
    status, _, error = volumetric("infer", "t1w.nii.gz", "--out", tmp_path / "out")
    assert (status, error.count("\n")) == (2, 1)
    assert "t1w_to_t2w: no model.yaml there" in error


def test_the_table_needs_no_torch(shipped):
    code = (
        "import sys, pathlib, volumetric.model.shipped as shipped; shipped.MODELS = pathlib.Path(sys.argv[1]); "
        "from volumetric.cli.models import models; models(); models('t1w_to_t2w'); "
        "assert not {'torch', 'monai', 'pandas', 'nibabel'} & sys.modules.keys()"
    )
    made = subprocess.run([sys.executable, "-c", code, shipped.parent], capture_output=True, text=True, check=True)
    assert "t1w_to_t2w" in made.stdout


def test_infer_takes_the_default_a_name_or_a_folder(shipped, run_folder, volumetric, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_image(tmp_path / "t1w.nii.gz", brain_pair(3)[0])
    hashes = []
    for number, model in enumerate(([], ["--model", "t1w_to_t2w"], ["--model", run_folder])):
        assert volumetric("infer", "t1w.nii.gz", *model, "--out", f"out{number}", "--engine", "torch")[0] == 0
        (sidecar,) = (tmp_path / f"out{number}").rglob("sub-*.json")
        hashes.append(json.loads(sidecar.read_text())["model_sha256"])
    assert hashes[0] == hashes[1] == load_model(shipped).sha256
    assert hashes[2] == load_model(run_folder).sha256 != hashes[0]
    images = [read_image(next((tmp_path / f"out{number}").rglob("*.nii.gz"))).array for number in (0, 2)]
    np.testing.assert_allclose(*images, atol=2e-3 * images[0].std(), rtol=0)


def test_infer_of_an_unknown_name_lists_the_shipped_ones(shipped, volumetric, tmp_path):
    status, _, error = volumetric("infer", "t1w.nii.gz", "--model", "t1w_to_t1w", "--out", tmp_path / "out")
    assert (status, error.count("\n")) == (2, 1)
    assert "there are: t1w_to_t2w" in error
    assert not (tmp_path / "out").exists()
