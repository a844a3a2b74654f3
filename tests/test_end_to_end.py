"""From nothing to a table of scores through the real command line and a shipped configuration."""

import csv

import nibabel as nib
import numpy as np
import pytest

from tests.conftest import TINY


@pytest.fixture
def done(volumetric):
    """Output of a command that ends well."""

    def run(*arguments):
        result = volumetric(*arguments)
        assert result.returncode == 0, result.stderr
        return result.stdout

    return run


def test_phantom_train_infer_evaluate_compare_report(done, tmp_path):
    data, run = tmp_path / "data", tmp_path / "run"
    manifest = done("phantom", "--out", data, "--subjects", 4, "--spacing-mm", 4).strip()
    done("train", manifest, "--config", TINY, "--out", run)
    done("infer", manifest, "--split", "test", "--model", run, "--out", run / "predictions")
    shown = done("evaluate", run / "predictions", manifest, "--out", run / "metrics")
    assert "sim001" in shown
    assert "inverted_histogram_match" in shown
    assert "1 scored" in shown
    (prediction,) = (run / "predictions").rglob("*_T2w.nii.gz")
    source = nib.load(data / "sim001" / "t1w.nii.gz")
    assert nib.load(prediction).shape == source.shape
    np.testing.assert_array_equal(nib.load(prediction).affine, source.affine)
    with (run / "metrics" / "per_subject.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if row["method"] == "model"]
    regions = ["brain", "whole", "foreground", "csf", "gm", "wm", "lesions"]
    assert [row["region"] for row in rows] == regions
    assert {(row["subject_id"], row["status"]) for row in rows} == {("sim001", "ok")}
    assert float(rows[0]["psnr_db"]) > 10
    assert 0 < float(rows[4]["dice"]) <= 1
    assert int(rows[6]["lesions_marked"]) >= int(rows[6]["lesions_lost"])
    compared = done("compare", run)
    assert "cubic" in compared
    done("report", run, "--viewer", "none")
    page = (run / "report.html").read_text()
    assert "sim001" in page
    assert "Relative MAE" in page


@pytest.mark.real
def test_real_scans_come_back_on_their_own_grids(done, real_scans, run_folder, tmp_path):
    """LAS, LPS and RAS scans, one of them anisotropic and raw, through a tiny model."""
    scans = [
        real_scans / "ljubljana_ms/mni/patient19/t1w.nii.gz",
        real_scans / "brats2021/case01483/t1w.nii.gz",
        real_scans / "ljubljana_ms/raw/patient04_study1/t1w.nii.gz",
    ]
    assert len({nib.aff2axcodes(nib.load(scan).affine) for scan in scans}) > 1
    done("infer", *scans, "--model", run_folder, "--out", tmp_path)
    for scan, name in zip(scans, ("patient19", "case01483", "patient04study1"), strict=True):
        before, (path,) = nib.load(scan), tmp_path.rglob(f"sub-{name}_*T2w.nii.gz")
        after = nib.load(path)
        assert after.shape == before.shape
        np.testing.assert_array_equal(after.affine, before.affine)
        values = after.get_fdata()
        assert np.isfinite(values).all()
        assert 0.05 < (values > 0).mean() < 0.5
