import csv
import json
import shutil
from dataclasses import replace
from functools import partial

import numpy as np
import pytest

from tests.conftest import write_cohort
from volumetric.evaluation.evaluate import EvaluationError
from volumetric.evaluation.evaluate import evaluate as evaluate_in_jobs
from volumetric.evaluation.predictions import PredictionsError, check_scale
from volumetric.imaging.intensity import reference_scale
from volumetric.imaging.nifti import Image, read_image, write_image
from volumetric.manifest import read_manifest, write_manifest
from volumetric.metrics.error import mae, psnr_db
from volumetric.metrics.table import METRICS
from volumetric.outputs import OutputError, locked
from volumetric.synthesis.infer import infer

evaluate = partial(evaluate_in_jobs, jobs=1)  # a process of its own takes seconds to import torch


@pytest.fixture(scope="module")
def predictions(run_folder, cohort, tmp_path_factory):
    out = tmp_path_factory.mktemp("predictions")
    infer([cohort], model=run_folder, out=out, split="test")
    return out


REGIONS = ("brain", "whole", "foreground", "csf", "gm", "wm")


def table(path):
    with path.open() as file:
        return list(csv.DictReader(file))


def brain_rows(rows, method="model"):
    """Of the file, as text."""
    return [r for r in rows if r["method"] == method and r["region"] == "brain"]


def brain_scores(evaluation, method="model"):
    return [r for r in evaluation.rows if r.method == method and r.region == "brain"]


def test_each_subject_method_and_region_has_a_row_with_known_numbers(predictions, cohort, run_folder, tmp_path):
    evaluation = evaluate(predictions, [cohort], tmp_path)
    rows = table(tmp_path / "per_subject.csv")
    methods = ["model", "constant", "identity", "histogram_match", "inverted_histogram_match", "cubic", "mean_target"]
    assert [(r["subject_id"], r["method"], r["region"]) for r in rows] == [
        (s, m, region) for s in ("p3", "p4") for m in methods for region in REGIONS
    ]
    assert {r["status"] for r in rows} == {"ok"}
    row = read_manifest(cohort).rows[3]
    t1w, t2w = read_image(row.path("t1w")).array, read_image(row.path("t2w")).array
    mask = t1w != 0
    truth = np.where(mask, t2w / np.median(t2w[mask]), 0)
    prediction = read_image(next((predictions / "sub-p3").rglob("*.nii.gz"))).array / 1000
    data_range = float(rows[0]["data_range"])
    assert f"data_range: {data_range:g}" in (run_folder / "model" / "model.yaml").read_text()
    assert float(rows[0]["psnr_db"]) == pytest.approx(
        psnr_db(truth, prediction, mask=mask, data_range=data_range), rel=1e-6
    )
    assert int(rows[0]["num_voxels"]) == mask.sum()
    assert float(rows[1]["mae"]) == pytest.approx(mae(truth, prediction), rel=1e-6)
    assert rows[1]["truth_outside_mask"] == "zeroed"
    identity = next(r for r in brain_rows(rows, "identity"))
    source = t1w / np.median(t1w[mask])
    assert float(identity["rmae"]) == pytest.approx(np.abs(source - truth)[mask].sum() / truth[mask].sum(), rel=1e-5)
    for r in rows:
        from_mse = 20 * np.log10(data_range) - 20 * np.log10(float(r["rmse"]))
        assert float(r["psnr_db"]) == pytest.approx(from_mse, abs=1e-5)
    assert len(evaluation.outcomes) == 2
    tissues = {r["region"]: r for r in rows if r["subject_id"] == "p3" and r["method"] == "model"}
    assert sum(int(tissues[t]["num_voxels"]) for t in ("csf", "gm", "wm")) == mask.sum()
    assert float(tissues["csf"]["truth_mean"]) > float(tissues["gm"]["truth_mean"]) > float(tissues["wm"]["truth_mean"])
    assert all(0 <= float(tissues[t]["dice"]) <= 1 for t in ("csf", "gm", "wm"))
    assert float(rows[0]["truth_mean"]) == pytest.approx(truth[mask].mean(), rel=1e-5)
    assert float(rows[0]["truth_median"]) == pytest.approx(np.median(t2w[mask]), rel=1e-5)


def test_images_of_a_subject_can_be_found_again(predictions, cohort, tmp_path):
    evaluate(predictions, [cohort], tmp_path)
    images = json.loads((tmp_path / "subjects" / "p3.json").read_text())["images"]
    row = read_manifest(cohort).rows[3]
    folder = tmp_path / "subjects" / ".."  # paths are relative to the evaluation
    assert (folder / images["source"]["path"]).resolve() == row.path("t1w").resolve()
    truth = read_image(folder / images["truth"]["path"]).array
    assert np.median((truth / images["truth"]["divisor"])[truth != 0]) == pytest.approx(1)
    assert images["prediction"]["divisor"] == 1000
    assert (folder / images["prediction"]["path"]).is_file()
    assert images["mask"] is None


def test_the_summary_is_that_of_the_rows(predictions, cohort, tmp_path):
    evaluate(predictions, [cohort], tmp_path)
    values = [float(r["ssim"]) for r in brain_rows(table(tmp_path / "per_subject.csv"))]
    summary = {(r["method"], r["region"], r["metric"]): r for r in table(tmp_path / "summary.csv")}
    row = summary["model", "brain", "ssim"]
    assert (int(row["n"]), int(row["num_missing"])) == (2, 0)
    assert float(row["mean"]) == pytest.approx(np.mean(values))
    assert float(row["sd"]) == pytest.approx(np.std(values, ddof=1), abs=1e-8)  # a table has nine digits
    assert min(values) <= float(row["ci95_low"]) <= float(row["mean"]) <= float(row["ci95_high"]) <= max(values)
    assert "20 log10(R)" in json.loads((tmp_path / "definitions.json").read_text())["psnr_db"]["formula"]


def test_predictions_in_any_scale_score_alike_with_the_scale_named(predictions, cohort, tmp_path):
    """Another tool's plain folder: no table, no sidecars, its own names and units."""
    foreign = tmp_path / "foreign"
    for subject in ("p3", "p4"):
        image = read_image(next((predictions / f"sub-{subject}").rglob("*.nii.gz")))
        write_image(foreign / f"{subject}.nii.gz", image.with_array(image.array * 0.25))

    def score(folder, out, **scale):
        return evaluate(folder, [cohort], out, segmentation=False, **scale)

    ours = brain_scores(score(predictions, tmp_path / "a"))
    by_factor = brain_scores(score(foreign, tmp_path / "b", prediction_scale="250"))
    wrong = brain_scores(score(foreign, tmp_path / "c"))
    by_median = brain_scores(score(foreign, tmp_path / "d", prediction_scale="own-median"))
    for a, b, c, d in zip(ours, by_factor, wrong, by_median, strict=True):
        assert b.metrics["psnr_db"] == pytest.approx(a.metrics["psnr_db"], abs=1e-4)
        assert c.metrics["psnr_db"] < a.metrics["psnr_db"]
        assert d.metrics["psnr_db"] != pytest.approx(a.metrics["psnr_db"], abs=1e-3)
        assert b.prediction_divisor == 250
        assert b.data_range == pytest.approx(a.data_range)
    image = read_image(foreign / "p3.nii.gz")
    assert by_median[0].prediction_divisor == pytest.approx(reference_scale(image.array, image.array != 0), rel=0.01)


def test_files_of_any_name_are_found_by_a_pattern(predictions, cohort, tmp_path):
    for subject in ("p3", "p4"):
        image = read_image(next((predictions / f"sub-{subject}").rglob("*.nii.gz")))
        write_image(tmp_path / "theirs" / f"out_{subject}" / "synth_v2.nii.gz", image)
    ours = brain_scores(evaluate(predictions, [cohort], tmp_path / "a", segmentation=False))
    pattern = "out_{subject_id}/synth_*.nii.gz"
    theirs = evaluate(tmp_path / "theirs", [cohort], tmp_path / "b", pattern=pattern, segmentation=False)
    assert [r.metrics["psnr_db"] for r in brain_scores(theirs)] == pytest.approx([r.metrics["psnr_db"] for r in ours])
    shutil.copy(tmp_path / "theirs/out_p3/synth_v2.nii.gz", tmp_path / "theirs/out_p3/synth_v3.nii.gz")
    shutil.rmtree(tmp_path / "theirs" / "out_p4")
    failed = evaluate(tmp_path / "theirs", [cohort], tmp_path / "c", pattern=pattern, segmentation=False)
    errors = [o.error for o in failed.outcomes]
    assert "2 files match out_p3/synth_*.nii.gz" in errors[0]
    assert "no NIfTI file matches out_p4" in errors[1]
    for wrong in ("synth.nii.gz", "{subject_id}_{contrast}.nii.gz"):
        with pytest.raises(PredictionsError, match="--pattern"):
            evaluate(tmp_path / "theirs", [cohort], tmp_path / "d", pattern=wrong)


def test_swapped_subjects_are_failed_rows_that_name_each_other(tmp_path):
    rows = read_manifest(write_cohort(tmp_path / "cohort", ["train"] * 3 + ["test"] * 2)).rows
    cohort = tmp_path / "cohort" / "manifest.csv"
    for contrast in ("t1w", "t2w"):  # p4's brain lies elsewhere on the same grid
        image = read_image(rows[4].path(contrast))
        write_image(rows[4].path(contrast), image.with_array(np.roll(image.array, 4, 0)))
    for a, b in ((rows[3], rows[4]), (rows[4], rows[3])):
        write_image(tmp_path / "p" / f"{a.subject_id}.nii.gz", read_image(b.path("t2w")))
    swapped = evaluate(tmp_path / "p", [cohort], tmp_path / "out", prediction_scale="own-median", segmentation=False)
    assert [o.status for o in swapped.outcomes] == ["failed", "failed"]
    assert "subject p3: the prediction resembles the truth of p4 (r = 0.9" in swapped.outcomes[0].error
    row = next(r for r in table(tmp_path / "out" / "per_subject.csv") if r["subject_id"] == "p4")
    assert (row["status"], row["region"]) == ("failed", "")
    assert {r.n for r in swapped.summary if r.method == "model"} <= {0}
    again = evaluate(tmp_path / "p", [cohort], tmp_path / "out", prediction_scale="own-median", segmentation=False)
    assert [o.status for o in again.outcomes] == ["failed", "failed"]


def test_covariates_are_columns_and_groups_and_must_not_be_called_as_a_metric(predictions, cohort, tmp_path):
    rows = read_manifest(cohort).rows
    sites = [replace(row, covariates={"site": f"s{n % 2}"}) for n, row in enumerate(rows)]
    write_manifest(tmp_path / "sites.csv", sites)
    found = evaluate(predictions, [tmp_path / "sites.csv"], tmp_path / "out", segmentation=False)
    assert [r["site"] for r in brain_rows(table(tmp_path / "out" / "per_subject.csv"))] == ["s1", "s0"]
    groups = {r.group: r.mean for r in found.summary if (r.method, r.metric) == ("model", "mae")}
    assert groups.keys() == {"", "site=s0", "site=s1"}
    assert groups[""] == pytest.approx((groups["site=s0"] + groups["site=s1"]) / 2)
    write_manifest(tmp_path / "bad.csv", [replace(row, covariates={"ssim": "1"}) for row in rows])
    with pytest.raises(EvaluationError, match=r"columns ssim are named as columns of per_subject\.csv"):
        evaluate(predictions, [tmp_path / "bad.csv"], tmp_path / "out2")


def test_the_run_of_predictions_is_known_by_its_settings_without_the_seed(run_folder, cohort, tmp_path):
    found = []
    for seed in (0, 1):
        run = tmp_path / str(seed)
        run.mkdir()
        settings = json.loads((run_folder / "settings.json").read_text()) | {"seed": seed}
        (run / "settings.json").write_text(json.dumps(settings))
        infer([cohort], model=run_folder, out=run / "predictions", split="test")
        evaluate(run, [cohort], run / "metrics", segmentation=False)
        found.append(json.loads((run / "metrics" / "evaluation.json").read_text())["run"])
    assert [run["seed"] for run in found] == [0, 1]
    assert found[0]["settings_sha256"] == found[1]["settings_sha256"]
    assert found[1]["folder"] == ".."


def test_without_training_rows_baselines_are_not_available(predictions, tmp_path):
    cohort = write_cohort(tmp_path / "cohort", ["val", "val", "val", "test", "test"])
    evaluate(predictions, [cohort], tmp_path / "out")
    rows = table(tmp_path / "out" / "per_subject.csv")
    assert {r["status"] for r in rows if r["method"] != "model"} == {"n/a"}
    assert {r["status"] for r in rows if r["method"] == "model"} == {"ok"}
    foreign = tmp_path / "foreign"
    for subject in ("p3", "p4"):
        foreign.mkdir(exist_ok=True)
        shutil.copy(next((predictions / f"sub-{subject}").rglob("*.nii.gz")), foreign / f"{subject}.nii.gz")
    with pytest.raises(EvaluationError, match="there is no data range"):
        evaluate(foreign, [cohort], tmp_path / "out2")
    assert not (tmp_path / "out2").exists()


def test_every_kind_of_bad_subject_is_a_row_with_its_reason(run_folder, tmp_path):
    cohort = write_cohort(tmp_path / "cohort", ["train"] + ["test"] * 6)
    rows = read_manifest(cohort).rows
    out = tmp_path / "predictions"
    rows[1].paths["t1w"].rename(tmp_path / "away.nii.gz")  # p1: inference fails
    infer([cohort], model=run_folder, out=out, split="test")
    rows[1].paths["t1w"].symlink_to(tmp_path / "away.nii.gz")
    rows[2].paths["t2w"].unlink()  # p2: no truth
    files = {p.name.split("_")[0]: p for p in out.rglob("*.nii.gz")}
    image = read_image(files["sub-p3"])
    write_image(files["sub-p3"], Image(image.array[:-1], image.affine))  # p3: another grid
    broken = image.array.copy()
    broken[0, 0, 0] = np.nan
    write_image(files["sub-p4"], image.with_array(broken))  # p4: NaN
    write_image(files["sub-p5"], image.with_array(image.array * 0))  # p5: blank
    evaluation = evaluate(out, [cohort], tmp_path / "metrics")
    errors = {r["subject_id"]: r["error"] for r in table(tmp_path / "metrics" / "per_subject.csv") if r["error"]}
    assert "inference failed" in errors["p1"]
    assert "`t2w` file" in errors["p2"]
    assert "different grids" in errors["p3"]
    assert "NaN" in errors["p4"]
    assert "0 everywhere" in errors["p5"]
    assert errors.keys() == {"p1", "p2", "p3", "p4", "p5"}
    summary = {(r.method, r.region, r.metric): r for r in evaluation.summary}
    assert summary["model", "brain", "psnr_db"].n == 1
    assert summary["model", "brain", "psnr_db"].num_missing == 5


def test_a_subject_without_a_prediction_is_a_row(predictions, cohort, tmp_path):
    evaluation = evaluate(predictions, [cohort], tmp_path, split="val")
    assert evaluation.rows[0].status == "failed"
    assert "run infer" in evaluation.rows[0].error


def test_repeating_skips_what_is_scored_and_sees_what_changed(predictions, cohort, tmp_path):
    evaluate(predictions, [cohort], tmp_path / "out")
    first = (tmp_path / "out" / "per_subject.csv").read_bytes()
    again = evaluate(predictions, [cohort], tmp_path / "out")
    assert [o.status for o in again.outcomes] == ["skipped", "skipped"]
    assert (tmp_path / "out" / "per_subject.csv").read_bytes() == first
    copy = tmp_path / "copy"
    shutil.copytree(predictions, copy)
    path = next((copy / "sub-p4").rglob("*.nii.gz"))
    image = read_image(path)
    write_image(path, image.with_array(image.array * 1.1))
    changed = evaluate(copy, [cohort], tmp_path / "out")
    assert [o.status for o in changed.outcomes] == ["skipped", "ok"]


def test_two_processes_find_what_one_finds(predictions, cohort, tmp_path):
    one, two = (
        evaluate(predictions, [cohort], tmp_path / str(jobs), segmentation=False, jobs=jobs).rows for jobs in (1, 2)
    )
    assert len(one) == len(two) == 2 * 7 * 3
    for row, other in zip(one, two, strict=True):
        assert (other.subject_id, other.method, other.region) == (row.subject_id, row.method, row.region)
        for metric in METRICS:
            assert other.metrics[metric] == pytest.approx(row.metrics[metric], rel=1e-6, nan_ok=True), (row, metric)


def test_a_second_evaluation_is_refused_before_it_reads_training_scans(predictions, cohort, tmp_path, caplog):
    """It read them for minutes, and was refused then."""
    caplog.set_level("INFO")
    with locked(tmp_path), pytest.raises(OutputError, match="another process is writing into this folder"):
        evaluate(predictions, [cohort], tmp_path)
    assert "baselines: reading train" not in caplog.text
    evaluate(predictions, [cohort], tmp_path, segmentation=False)
    assert "baselines: reading train" in caplog.text


def test_an_evaluation_without_a_data_range_leaves_no_folder(cohort, tmp_path):
    """It holds the folder by the time it knows."""
    rows = [row for row in read_manifest(cohort).rows if row.split == "test"]
    write_manifest(tmp_path / "test.csv", rows)
    (tmp_path / "theirs").mkdir()
    with pytest.raises(EvaluationError, match="there is no data range"):
        evaluate(tmp_path / "theirs", [tmp_path / "test.csv"], tmp_path / "new" / "scores")
    assert not (tmp_path / "new").exists()


def test_predictions_of_two_models_in_one_folder_are_refused(predictions, cohort, tmp_path):
    shutil.copytree(predictions, tmp_path / "p")
    sidecar = next((tmp_path / "p" / "sub-p4").rglob("*_T2w.json"))
    sidecar.write_text(sidecar.read_text().replace('"data_range": ', '"data_range": 1'))
    with pytest.raises(PredictionsError, match="different models"):
        evaluate(tmp_path / "p", [cohort], tmp_path / "out")


def test_wrong_calls_are_named(predictions, cohort, tmp_path):
    with pytest.raises(PredictionsError, match="no such folder"):
        evaluate(tmp_path / "none", [cohort], tmp_path / "out")
    with pytest.raises(EvaluationError, match="no row has split `tests`"):
        evaluate(predictions, [cohort], tmp_path / "out", split="tests")
    for scale in ("none", "-1", "0", "inf", "nan"):
        with pytest.raises(PredictionsError, match="--prediction-scale"):
            check_scale(scale)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", ["per_subject.csv", "summary.csv"])
def test_attack_10_tables_of_others_are_not_replaced(predictions, cohort, tmp_path, name):
    (tmp_path / name).write_text("mine")
    with pytest.raises(OutputError, match=f"{tmp_path / name}: it was there before"):
        evaluate(predictions, [cohort], tmp_path, segmentation=False, jobs=1)
    assert [path.read_text() for path in tmp_path.iterdir()] == ["mine"]
