import csv
import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from typer.testing import CliRunner

from tests.conftest import brain_pair
from volumetric.cli import app
from volumetric.cli.evaluate import show_scores
from volumetric.errors import InputError
from volumetric.imaging.nifti import read_image, write_image
from volumetric.manifest import ManifestRow, write_manifest
from volumetric.records.evaluation import SubjectScores
from volumetric.records.prediction import PredictionRow
from volumetric.records.scores import ScoreRow
from volumetric.records.settings import PhantomSettings
from volumetric.records.table import SessionKey

SESSIONS = [("t0", "", "train"), ("t1", "", "train"), ("a", "b", "test"), ("a_b", "", "test")]


@pytest.fixture
def cohort(tmp_path):
    """Subject `a` with session `b` beside subject `a_b`, and another tool's prediction of each: its truth and noise."""
    rows = []
    for number, (subject, session, split) in enumerate(SESSIONS):
        paths = {c: tmp_path / f"n{number}" / f"{c}.nii.gz" for c in ("t1w", "t2w")}
        t1w, t2w = brain_pair(number)
        for path, image in zip(paths.values(), (t1w, t2w), strict=True):
            write_image(path, image)
        rows.append(ManifestRow(subject, session, split=split, paths=paths))
        if split == "test":
            noise = np.random.default_rng(number).normal(0, (0.05 + 0.05 * number) * t2w.array.max(), t2w.array.shape)
            name = f"sub-{subject}" + (f"_ses-{session}" if session else "")
            noisy = t2w.array + noise.astype(np.float32) * (t1w.array != 0)
            write_image(tmp_path / "theirs" / f"{name}_T2w.nii.gz", t2w.with_array(noisy.clip(min=0)))
    write_manifest(tmp_path / "manifest.csv", rows)
    return tmp_path


def evaluate(folder, *options, predictions="theirs"):
    words = ["evaluate", folder / predictions, folder / "manifest.csv", "--out", folder / "out", "--jobs", "1",
             "--prediction-scale", "own-median", "--no-segmentation", *options]  # fmt: skip
    result = CliRunner().invoke(app, [str(word) for word in words], terminal_width=150)
    if result.exception is not None and not isinstance(result.exception, (SystemExit, InputError)):
        raise result.exception
    return result


def model_rows(folder):
    with (folder / "out" / "per_subject.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if row["method"] == "model" and row["region"] in ("brain", "")]
    return {(row["subject_id"], row["session_id"]): row for row in rows}


def test_the_repeatability_of_an_evaluation_before_is_not_left_beside_new_scores(cohort):
    (cohort / "out" / "subjects").mkdir(parents=True)  # an evaluation has begun there
    (cohort / "out" / "repeatability.csv").write_text("of other subjects\n")
    assert evaluate(cohort, "--split", "test").exit_code == 0
    assert not (cohort / "out" / "repeatability.csv").exists()


def test_ids_and_folders_with_brackets_are_printed_as_they_are(capsys):
    row = ScoreRow(subject_id="[/a]", method="model", status="failed", error="[red]")
    show_scores([row], [], Path("out[bold]"))
    printed = capsys.readouterr().out
    assert all(text in printed for text in ("[/a]", "failed: [red]", "out[bold]/summary.csv"))


def test_hole_9b_subject_a_session_b_and_subject_a_b_have_each_their_own_file_and_images(cohort):
    assert evaluate(cohort).exit_code == 0
    rows = model_rows(cohort)
    assert {row["status"] for row in rows.values()} == {"ok"}
    assert rows["a", "b"]["psnr_db"] != rows["a_b", ""]["psnr_db"]
    for number, key in ((2, SessionKey("a", "b")), (3, SessionKey("a_b"))):
        scores = SubjectScores.read(SubjectScores.path(cohort / "out", key))
        assert (scores.subject_id, scores.session_id) == key
        assert scores.images.below(cohort / "out").source.path == cohort / f"n{number}" / "t1w.nii.gz"
        assert scores.rows[0].metrics["psnr_db"] == pytest.approx(float(rows[key]["psnr_db"]), rel=1e-8)
    first = (cohort / "out" / "per_subject.csv").read_bytes()
    again = evaluate(cohort)
    assert "scored," not in again.stdout  # both were finished before
    assert (cohort / "out" / "per_subject.csv").read_bytes() == first


def test_hole_9b_one_prediction_is_not_scored_for_two_subjects(cohort):
    for file in (cohort / "theirs").iterdir():
        file.unlink()
    truth = read_image(cohort / "n3" / "t2w.nii.gz")
    write_image(cohort / "theirs" / "a_b.nii.gz", truth)
    assert evaluate(cohort).exit_code == 1
    for row in model_rows(cohort).values():
        assert row["status"] == "failed"
        assert "a_b.nii.gz belongs to a/b and a_b; give each session a file of its own" in row["error"]


@pytest.mark.parametrize(
    "content", [b"{", b"[1, 2]", b"\xff\xfe\x00", b"", b"{}", b'{"format_version": 99}', b"[" * 100_000]
)
def test_hole_9h_a_damaged_file_of_a_subject_is_made_again(cohort, content, caplog):
    evaluate(cohort)
    whole = (cohort / "out" / "per_subject.csv").read_bytes()
    file = SubjectScores.path(cohort / "out", SessionKey("a_b"))
    file.write_bytes(content)
    again = evaluate(cohort)
    assert again.exit_code == 0
    assert "1 scored" in again.stdout
    assert f"{file}: " in caplog.text
    assert "it is made again" in caplog.text
    assert (cohort / "out" / "per_subject.csv").read_bytes() == whole
    assert SubjectScores.read(file).subject_id == "a_b"


def test_hole_9h_the_file_of_another_subject_is_made_again(cohort):
    evaluate(cohort)
    file, other = (SubjectScores.path(cohort / "out", key) for key in (SessionKey("a_b"), SessionKey("a", "b")))
    file.write_bytes(other.read_bytes())
    assert "1 scored" in evaluate(cohort).stdout
    assert SubjectScores.read(file).subject_id == "a_b"


@pytest.mark.parametrize("content", [b"{", b"[1, 2]", b"\xff\xfe\x00", b'{"seed": "x"}'])
def test_hole_9h_damaged_settings_of_the_run_are_one_sentence(cohort, content):
    (cohort / "settings.json").write_bytes(content)
    result = evaluate(cohort)
    assert isinstance(result.exception, InputError)
    assert str(result.exception).startswith(f"{cohort / 'settings.json'}: ")
    assert "train again with --fresh, or move the predictions" in str(result.exception)
    assert not (cohort / "out").exists()


def test_settings_of_a_simulated_cohort_beside_the_predictions_are_no_run(cohort):
    PhantomSettings(seed=0, spacing_mm=1.0, recipe=1).begin(cohort)
    assert evaluate(cohort).exit_code == 0
    assert json.loads((cohort / "out" / "evaluation.json").read_text())["run"] is None


@pytest.mark.parametrize("content", [b"{", b"[1, 2]", b"\xff\xfe\x00", b'{"format_version": 99}'])
def test_hole_9h_a_damaged_sidecar_costs_its_subject_and_names_the_way_out(cohort, content):
    folder = cohort / "theirs"
    names = {("a", "b"): "sub-a_ses-b_T2w", ("a_b", ""): "sub-a_b_T2w"}
    rows = [
        PredictionRow(subject_id=subject, session_id=session, path=f"{name}.nii.gz", status="ok")
        for (subject, session), name in names.items()
    ]
    PredictionRow.write_table(folder / "predictions.csv", rows)
    (folder / "sub-a_b_T2w.json").write_bytes(content)
    assert evaluate(cohort).exit_code == 1
    found = model_rows(cohort)
    assert found["a", "b"]["status"] == "ok"
    assert found["a_b", ""]["status"] == "failed"
    assert "sub-a_b_T2w.json: " in found["a_b", ""]["error"]
    assert "repeat `volumetric infer`" in found["a_b", ""]["error"]


@pytest.mark.parametrize("name", ["evaluation.json", "definitions.json"])
@pytest.mark.parametrize("content", [b"{", b"[1, 2]", b"\xff\xfe\x00", b'{"format_version": 99}'])
def test_hole_9h_damaged_facts_are_made_again_by_evaluate_and_one_sentence_in_compare(cohort, name, content):
    evaluate(cohort)
    file = cohort / "out" / name
    whole = file.read_bytes()
    file.write_bytes(content)
    result = CliRunner().invoke(app, ["compare", str(cohort / "out")])
    assert isinstance(result.exception, InputError)
    assert str(result.exception).startswith(f"{file}: ")
    assert "evaluate again with `volumetric evaluate --fresh`" in str(result.exception)
    evaluate(cohort)
    assert file.read_bytes() == whole


def test_an_rgb_training_scan_costs_that_training_subject_alone(cohort, caplog):
    colors = np.zeros((5, 6, 7), [("R", "u1"), ("G", "u1"), ("B", "u1")])
    nib.save(nib.Nifti1Image(colors, np.eye(4)), cohort / "n1" / "t1w.nii.gz")
    assert evaluate(cohort).exit_code == 0
    assert "left out of the baselines: " in caplog.text
    assert "n1/t1w.nii.gz: the voxels hold colors (RGB)" in caplog.text
    assert json.loads((cohort / "out" / "evaluation.json").read_text())["num_training_subjects"] == 1


def test_a_wrong_choice_is_answered_with_the_list(cohort):
    for option, choices in (("--split", ("train", "val", "test", "all")), ("--device", ("auto", "cpu", "cuda"))):
        result = evaluate(cohort, option, "other")
        assert result.exit_code == 2
        for choice in choices:
            assert f"'{choice}'" in result.output
