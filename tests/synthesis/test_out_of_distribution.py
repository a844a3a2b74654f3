import csv
import json

import numpy as np
import pytest

from tests.conftest import brain_pair, write_cohort
from volumetric.config.resolve import resolve
from volumetric.imaging.nifti import read_image, write_image
from volumetric.learning.train import train
from volumetric.manifest import read_manifest
from volumetric.model.folder import load_model
from volumetric.synthesis.infer import infer


@pytest.fixture(scope="module")
def familiar(tmp_path_factory):
    """A run on five subjects, and its cohort with a sixth: a noisy one."""
    folder = tmp_path_factory.mktemp("familiar")
    cohort = write_cohort(folder / "cohort", ["train"] * 5 + ["test"] * 2)
    path = read_manifest(cohort).rows[6].path("t1w")
    scan = read_image(path)
    noise = np.random.default_rng(0).normal(0, 2 * np.median(scan.array[scan.array > 0]), scan.array.shape)
    write_image(path, scan.with_array(np.abs(scan.array + noise).astype(np.float32) * (scan.array > 0)))
    train([cohort], resolve("tiny", ["optim.num_steps=2", "uncertainty.weight=0.1"]), folder / "run")
    return folder / "run", cohort


def table(path):
    with path.open() as file:
        return list(csv.DictReader(file))


def test_a_scan_unlike_the_training_scans_is_told_in_sidecar_table_and_words(familiar, tmp_path):
    run, cohort = familiar
    statistics = load_model(run).spec.features
    assert (statistics.num_subjects, len(statistics.mean)) == (5, 32)  # mean and SD of 16 channels
    infer([cohort], model=run, out=tmp_path, split="test")
    usual, noisy = (
        json.loads(next((tmp_path / f"sub-{name}").rglob("*_T2w.json")).read_text()) for name in ("p5", "p6")
    )
    assert noisy["out_of_distribution"]["features"] > max(1, 3 * usual["out_of_distribution"]["features"])
    (warning,) = [text for text in noisy["warnings"] if text.startswith("the network's features of the scan")]
    assert f"{noisy['out_of_distribution']['features']:.1f} times the distance that all of 5 training scans" in warning
    rows = table(tmp_path / "predictions.csv")
    for row, sidecar in zip(rows, (usual, noisy), strict=True):
        assert float(row["out_of_distribution"]) == sidecar["out_of_distribution"]["score"]
        assert row["warnings"] == "; ".join(sidecar["warnings"])
        scores = [value for name, value in sidecar["out_of_distribution"].items() if name != "score"]
        assert sidecar["out_of_distribution"]["score"] == max(scores)


def test_the_table_made_again_from_the_sidecars_is_the_same(familiar, tmp_path):
    run, cohort = familiar
    infer([cohort], model=run, out=tmp_path, split="test")
    before = (tmp_path / "predictions.csv").read_text()
    infer([cohort], model=run, out=tmp_path, split="test")
    assert (tmp_path / "predictions.csv").read_text() == before
    (tmp_path / "predictions.csv").unlink()
    infer([cohort], model=run, out=tmp_path, split="test")
    assert (tmp_path / "predictions.csv").read_text() == before


def test_a_model_without_features_or_uncertainty_has_spacing_and_intensity_alone(run_folder, tmp_path):
    t1w, _ = brain_pair(3)
    write_image(tmp_path / "t1w.nii.gz", t1w)
    assert load_model(run_folder).spec.features is None
    infer([tmp_path / "t1w.nii.gz"], model=run_folder, out=tmp_path / "out")
    sidecar = json.loads(next((tmp_path / "out").rglob("*_T2w.json")).read_text())
    assert sidecar["out_of_distribution"]["features"] is None
    assert sidecar["out_of_distribution"]["score"] < 1
