"""Heads from training to scores, through the command line."""

import csv
import json

import numpy as np
import pytest
import yaml

from tests.conftest import brain_pair, distances_mm, write_cohort, write_heads
from volumetric.cli import main
from volumetric.imaging.mask import head_mask
from volumetric.imaging.nifti import read_image, write_image
from volumetric.manifest import read_manifest

STEPS = 40


@pytest.fixture(scope="module")
def call():
    """A command, in this process; its exit status."""

    def run(*words):
        with pytest.MonkeyPatch.context() as patch, pytest.raises(SystemExit) as stop:
            patch.setattr("sys.argv", ["volumetric", *map(str, words)])
            main()
            raise SystemExit(0)
        return stop.value.code or 0

    return run


@pytest.fixture(scope="module")
def runs(call, tmp_path_factory):
    """A folder with a cohort of heads, and a run and its predictions and scores for the head and for the brain."""
    folder = tmp_path_factory.mktemp("heads")
    manifest = write_heads(folder, ["train", "train", "test"])
    for kind in ("head", "brain"):
        out, predictions = folder / kind, folder / kind / "predictions"
        settings = [f"mask.kind={kind}", f"optim.num_steps={STEPS}", f"validation.every_steps={STEPS}", "optim.lr=0.01"]
        options = [word for setting in settings for word in ("--set", setting)]
        assert call("train", manifest, "--config", "tiny", "--out", out, *options) == 0
        assert (
            call("infer", manifest, "--split", "test", "--model", out, "--out", predictions, "--engine", "torch") == 0
        )
        scoring = ["--out", out / "metrics", "--device", "cpu", "--jobs", 1, "--no-segmentation"]
        assert call("evaluate", predictions, manifest, *scoring) == 0
    return folder


@pytest.fixture(scope="module")
def subject(runs):
    """T1w, T2w and brain of the test subject, and the distance of each voxel from the center of its head."""
    row = read_manifest(runs / "heads.csv").rows[2]
    t1w, t2w, mask = (read_image(row.path(column)) for column in ("t1w", "t2w", "mask"))
    return t1w, t2w, mask.array > 0, distances_mm(t1w.space)


def prediction_of(folder):
    (path,) = (folder / "predictions").rglob("*_T2w.nii.gz")
    return read_image(path), json.loads(path.with_name(path.name.replace(".nii.gz", ".json")).read_text())


def scores_of(folder, method="model"):
    with (folder / "metrics" / "per_subject.csv").open() as file:
        return {row["region"]: row for row in csv.DictReader(file) if row["method"] == method}


def test_scalp_and_skull_are_synthesized_and_air_is_0(runs, subject):
    *_, radius = subject
    image, sidecar = prediction_of(runs / "head")
    scalp, skull = image.array[(radius > 67) & (radius < 72)], image.array[(radius > 58) & (radius < 61)]
    assert np.median(scalp) == pytest.approx(1200, rel=0.2)  # 1.2 times the brain's median
    assert np.median(skull) < 700 < np.median(image.array[radius < 50])
    assert not image.array[radius > 80].any()
    assert (sidecar["mask_kind"], sidecar["mask_rule"], sidecar["warnings"]) == ("head", "given", [])


def test_the_brain_alone_is_synthesized_by_default(runs, subject):
    _, _, brain, _ = subject
    image, sidecar = prediction_of(runs / "brain")
    assert not image.array[~brain].any()
    assert sidecar["mask_kind"] == "brain"


def test_both_models_have_the_units_of_the_brain(runs):
    head, brain = (yaml.safe_load((runs / kind / "model" / "model.yaml").read_text()) for kind in ("head", "brain"))
    assert (head["mask"].pop("kind"), brain["mask"].pop("kind")) == ("head", "brain")
    assert head.pop("weights_sha256") != brain.pop("weights_sha256")
    assert head == brain


def test_brain_and_head_have_scores_apart(runs, subject):
    t1w, t2w, brain, _ = subject
    image, _ = prediction_of(runs / "head")
    rows, alone = scores_of(runs / "head"), scores_of(runs / "brain")
    assert set(rows) == {*alone, "head"}
    for region, mask in (("brain", brain), ("head", head_mask(t1w, brain))):
        error = image.array[mask] / 1000 - t2w.array[mask] / 250
        assert int(rows[region]["num_voxels"]) == mask.sum()
        assert float(rows[region]["mse"]) == pytest.approx(np.mean(error**2.0), rel=1e-4)
    for column in ("num_voxels", "data_range", "truth_median", "mask_rule", "truth_outside_mask"):
        assert rows["brain"][column] == alone["brain"][column]
    assert "head" not in scores_of(runs / "head", "identity")


def test_compare_takes_the_brains_of_both_models(call, runs, tmp_path, capsys):
    evaluations = runs / "head" / "metrics", runs / "brain" / "metrics"
    assert call("compare", *evaluations, "--out", tmp_path) == 0
    assert call("compare", *evaluations, "--region", "head") == 2
    assert "head" in capsys.readouterr().err


def test_an_extracted_brain_is_synthesized_with_a_warning(call, runs, tmp_path):
    write_image(tmp_path / "brain.nii.gz", brain_pair(0)[0])
    out = tmp_path / "predictions"
    assert call("infer", tmp_path / "brain.nii.gz", "--model", runs / "head", "--out", out, "--engine", "torch") == 0
    _, sidecar = prediction_of(tmp_path)
    assert "the scan is brain-extracted and the model was trained on heads" in sidecar["warnings"][0]


def test_extracted_brains_are_no_cohort_of_heads(call, tmp_path, capsys):
    manifest = write_cohort(tmp_path, ["train"])
    assert call("train", manifest, "--config", "tiny", "--out", tmp_path / "run", "--set", "mask.kind=head") == 2
    message = capsys.readouterr().err
    assert "subject p0: " in message
    assert "t1w.nii.gz: the image is brain-extracted, and mask.kind is head" in message
