import csv
import json
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from tests.conftest import write_cohort
from tests.evaluation.subjects import normalized_pair
from volumetric.evaluation.evaluate import evaluate as evaluate_in_jobs
from volumetric.evaluation.subject import NormalizedPrediction
from volumetric.evaluation.uncertainty import find_uncertainty, sparsification_of, uncertainty_scores
from volumetric.imaging.nifti import read_image, write_image
from volumetric.synthesis.infer import infer

evaluate = partial(evaluate_in_jobs, jobs=1, segmentation=False)


def prediction_of(array):
    return NormalizedPrediction(Path("p"), array.astype(np.float32), 1000, "")


def test_scores_are_those_of_each_region_within_the_brain():
    subject = normalized_pair()
    low = subject.mask & (np.arange(subject.mask.shape[2]) < 14)
    error = np.where(low, 0.1, 0.3)
    prediction, half_width = prediction_of(subject.truth + error), prediction_of(np.full(error.shape, 0.2))
    masks = {"brain": subject.mask, "whole": np.ones_like(low), "wm": low}
    scores = uncertainty_scores(subject, prediction, half_width, masks)
    assert scores.keys() == {"brain", "wm"}
    assert scores["wm"]["coverage_90"] == 1
    assert scores["brain"]["coverage_90"] == pytest.approx(low.sum() / subject.mask.sum())
    assert scores["wm"]["top_tenth_error_share"] == pytest.approx(0.1, abs=0.01)
    assert uncertainty_scores(subject, prediction, None, masks) == {}
    assert sparsification_of(subject, prediction, None) is None


def test_the_volume_beside_a_prediction_is_scored_and_a_new_one_again(run_folder, tmp_path):
    cohort = write_cohort(tmp_path / "cohort", ["train", "test"])
    infer([cohort], model=run_folder, out=tmp_path / "out", split="test")
    (path,) = (tmp_path / "out").rglob("*_desc-synth_T2w.nii.gz")
    without = evaluate(tmp_path / "out", [cohort], tmp_path / "metrics")
    beside = path.with_name("sub-p1_desc-synthUncertainty_T2w.nii.gz")
    assert find_uncertainty(path) == {}
    image = read_image(path)
    write_image(beside, image.with_array(image.array * np.float32(100)))
    assert find_uncertainty(path) == {"uncertainty": beside}
    wide = evaluate(tmp_path / "out", [cohort], tmp_path / "metrics")
    assert wide.outcomes[0].status == "ok"
    assert evaluate(tmp_path / "out", [cohort], tmp_path / "metrics").outcomes[0].status == "skipped"
    first, second = (next(r for r in e.rows if (r.method, r.region) == ("model", "brain")) for e in (without, wide))
    assert "coverage_90" not in first.metrics
    assert second.metrics["coverage_90"] == 1
    assert {k: v for k, v in second.metrics.items() if k in first.metrics} == first.metrics
    with (tmp_path / "metrics" / "per_subject.csv").open() as file:
        assert float(next(csv.DictReader(file))["coverage_90"]) == 1
    curve = json.loads((tmp_path / "metrics" / "subjects" / "p1.json").read_text())["sparsification"]
    assert curve["by_error"] == sorted(curve["by_error"], reverse=True)
    assert curve["by_uncertainty"][0] == curve["by_error"][0] == pytest.approx(second.metrics["rmse"], rel=1e-4)


def test_it_is_no_prediction_of_a_folder_without_a_table(run_folder, tmp_path):
    cohort = write_cohort(tmp_path / "cohort", ["train", "test"])
    infer([cohort], model=run_folder, out=tmp_path / "out", split="test")
    (path,) = (tmp_path / "out").rglob("*_desc-synth_T2w.nii.gz")
    write_image(path.with_name("sub-p1_desc-synthUncertainty_T2w.nii.gz"), read_image(path))
    (tmp_path / "out" / "predictions.csv").unlink()
    assert evaluate(tmp_path / "out", [cohort], tmp_path / "metrics").outcomes[0].status == "ok"
