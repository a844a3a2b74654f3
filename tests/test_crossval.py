"""Cross-validation by the command line: every subject is scored once, by a model that has not seen it."""

import json
import shutil
from collections import Counter
from dataclasses import replace

import pytest
from typer.testing import CliRunner

from tests.conftest import TINY, brain_pair
from volumetric.cli import app
from volumetric.config.resolve import resolve
from volumetric.crossval import CrossvalError, crossval
from volumetric.errors import InputError
from volumetric.imaging.nifti import write_image
from volumetric.manifest import ManifestRow, read_manifest, write_manifest
from volumetric.model.folder import load_model
from volumetric.outputs import OutputError, hash_file
from volumetric.records.evaluation import SubjectScores
from volumetric.records.scores import MODEL, ScoreTable
from volumetric.records.table import SessionKey

SMALL = ["--config", TINY, "--set", "optim.num_steps=1", "--set", "validation.every_steps=1", "--no-segmentation"]


@pytest.fixture(scope="module")
def sessions(tmp_path_factory):
    """Three subjects, one of them with two sessions, with a fold of each in a column and splits that mean nothing."""
    folder, rows = tmp_path_factory.mktemp("sessions"), []
    for number, (subject, session, fold) in enumerate(
        [("a", "1", "x"), ("b", "", "y"), ("a", "2", "x"), ("c", "", "x")]
    ):
        paths = {c: folder / f"n{number}" / f"{c}.nii.gz" for c in ("t1w", "t2w")}
        for path, image in zip(paths.values(), brain_pair(number, shape=(17, 19, 16)), strict=True):
            write_image(path, image)
        rows.append(ManifestRow(subject, session, split="test", fold=fold, paths=paths, covariates={"site": fold}))
    write_manifest(folder / "manifest.csv", rows)
    return folder / "manifest.csv"


def by_command(manifest, out, *options, verb="crossval"):
    words = [verb, manifest, "--out", out, *options]
    return CliRunner().invoke(app, [str(word) for word in words], catch_exceptions=False)


@pytest.fixture(scope="module")
def finished(sessions, tmp_path_factory):
    """A cross-validation that leaves each subject out in turn."""
    out = tmp_path_factory.mktemp("cv")
    result = by_command(sessions, out, *SMALL, "--folds", "subject", "--jobs", 1)
    assert result.exit_code == 0, result.output
    assert "a/1" in result.output
    return out


def hashes(folder):
    files = (path for path in folder.rglob("*") if path.is_file() and "engines" not in path.parts)
    return {path: hash_file(path) for path in files}


def test_every_session_is_scored_once_by_a_model_that_has_not_seen_its_subject(sessions, finished):
    table = ScoreTable.read(finished / "metrics" / "per_subject.csv")
    scored = Counter(row.key for row in table.rows if row.method == MODEL and row.region == "brain")
    assert scored == Counter(row.key for row in read_manifest(sessions).rows)
    held_out = []
    for number in range(3):
        fold = finished / f"fold-{number}"
        rows = read_manifest(fold / "manifest.csv").rows
        subjects = {split: {row.subject_id for row in rows if row.split == split} for split in ("train", "test")}
        assert subjects["train"] | subjects["test"] == {"a", "b", "c"}
        held_out += subjects["test"]
        own = [row for row in table.rows if row.subject_id in subjects["test"]]
        expected = ScoreTable.read(fold / "metrics" / "per_subject.csv").rows
        assert list(map(repr, own)) == list(map(repr, expected))  # NaN differs from itself
        assert load_model(fold).spec.training.num_subjects == sum(row.split == "train" for row in rows)
    assert sorted(held_out) == ["a", "b", "c"]


def test_the_table_is_an_evaluation_that_compare_and_report_read(finished, tmp_path):
    assert "cubic" in CliRunner().invoke(app, ["compare", str(finished)]).output
    CliRunner().invoke(app, ["report", str(finished), "--viewer", "none"], catch_exceptions=False)
    assert "a/2" in (finished / "report.html").read_text()
    (finished / "report.html").unlink()
    metrics = finished / "metrics"
    scores = SubjectScores.read(SubjectScores.path(metrics, SessionKey("a", "2"))).images.below(metrics)
    assert all(image.path.is_file() for image in (scores.source, scores.truth, scores.prediction))
    info = json.loads((metrics / "evaluation.json").read_text())
    ranges = [json.loads((finished / f"fold-{n}/metrics/evaluation.json").read_text())["data_range"] for n in range(3)]
    assert info["data_range"] == pytest.approx(sum(ranges) / 3)
    assert info["num_training_subjects"] == 2
    assert info["run"]["seed"] == 0


def test_repeating_goes_on_where_it_stopped_and_ends_in_the_same_bytes(sessions, finished):
    before = hashes(finished)
    times = {
        number: (finished / f"fold-{number}" / "predictions" / "timings.csv").stat().st_mtime_ns for number in (0, 2)
    }
    for part in ("metrics", "predictions", "model", "checkpoints"):
        shutil.rmtree(finished / "fold-1" / part)
    (finished / "fold-1" / "history.csv").unlink()
    shutil.rmtree(finished / "metrics")
    assert by_command(sessions, finished, *SMALL, "--folds", "subject", "--jobs", 1).exit_code == 0
    after = hashes(finished)
    differing = {path.name for path in before.keys() | after.keys() if before.get(path) != after.get(path)}
    assert differing <= {"timings.csv", "log.txt"}
    for number, time in times.items():
        assert (finished / f"fold-{number}" / "predictions" / "timings.csv").stat().st_mtime_ns == time


def test_another_cross_validation_in_the_same_folder_is_refused_with_the_difference(sessions, finished):
    with pytest.raises(OutputError, match=r"folds\.[abc] was \d, is \d"):
        by_command(sessions, finished, *SMALL)
    with pytest.raises(InputError, match="--fresh and --only"):
        by_command(sessions, finished, *SMALL, "--fresh", "--only", 0)
    with pytest.raises(InputError, match="--folds many: expected a number"):
        by_command(sessions, finished, *SMALL, "--folds", "many")


def test_the_column_of_folds_is_followed_and_folds_can_be_done_apart(sessions, tmp_path):
    first = by_command(sessions, tmp_path, *SMALL, "--only", 1, "--jobs", 1)
    assert first.exit_code == 0
    assert not (tmp_path / "metrics").exists()
    by_command(sessions, tmp_path, *SMALL, "--only", 0, "--jobs", 1)
    tests = [[r.name for r in read_manifest(tmp_path / f"fold-{n}" / "manifest.csv").split("test")] for n in (0, 1)]
    assert tests == [["a/1", "a/2", "c"], ["b"]]
    table = ScoreTable.read(tmp_path / "metrics" / "per_subject.csv")
    assert {row.key.name for row in table.rows} == {"a/1", "a/2", "b", "c"}
    widths = ["--validation", "--set", "uncertainty.weight=1"]
    fresh = by_command(sessions, tmp_path, *SMALL, "--fresh", "--folds", "subject", *widths, "--jobs", 1)
    assert fresh.exit_code == 0
    covered = ScoreTable.read(tmp_path / "metrics" / "per_subject.csv").rows
    assert {row.key.name for row in covered if "coverage_90" in row.metrics} == {"a/1", "a/2", "b", "c"}
    for number in range(3):
        splits = {row.subject_id: row.split for row in read_manifest(tmp_path / f"fold-{number}" / "manifest.csv").rows}
        assert sorted(splits.values()) == ["test", "train", "val"]


def test_a_subject_in_two_folds_and_too_few_folds_are_one_sentence(sessions, tiny_config, tmp_path):
    rows = read_manifest(sessions).rows
    mixed = tmp_path / "mixed.csv"
    write_manifest(mixed, [*rows[:2], replace(rows[2], fold="y")])
    with pytest.raises(CrossvalError, match="subject a is in the folds x and y; keep all sessions"):
        crossval([mixed], tiny_config, tmp_path / "out")
    with pytest.raises(CrossvalError, match="2 folds leave no subject to train on; give --folds 3 or more"):
        crossval([sessions], tiny_config, tmp_path / "out", validation=True)
    with pytest.raises(CrossvalError, match="--only 2: the folds are 0 to 1"):
        crossval([sessions], tiny_config, tmp_path / "out", only=2)
    with pytest.raises(InputError, match="expected 2 to 3, the number of subjects"):
        crossval([sessions], tiny_config, tmp_path / "out", folds=4)
    assert not (tmp_path / "out").exists()


def test_a_column_of_folds_that_is_filled_in_part_and_no_folds_are_refused(sessions, tmp_path):
    rows = [replace(row, fold="" if row.subject_id == "b" else row.fold) for row in read_manifest(sessions).rows]
    write_manifest(tmp_path / "m.csv", rows)
    with pytest.raises(CrossvalError, match=r"1 of 4 pairs have no fold \(b\); fill the column, or give --folds"):
        crossval([tmp_path / "m.csv"], resolve(TINY), tmp_path / "cv")
    with pytest.raises(InputError, match="--folds 0: expected 2 to 3"):
        crossval([sessions], resolve(TINY), tmp_path / "cv", folds=0)
    assert not (tmp_path / "cv").exists()


def test_attack_7_fresh_deletes_no_fold_before_all_scans_are_read(sessions, finished, tmp_path):
    out, broken = tmp_path / "cv", tmp_path / "sessions"
    shutil.copytree(finished, out)
    shutil.copytree(sessions.parent, broken)
    (broken / "n1" / "t2w.nii.gz").write_bytes(b"no scan")
    before = {path: path.read_bytes() for path in out.glob("[fm]*/**/*") if path.is_file()}
    assert before
    with pytest.raises(InputError, match=r"subject b: .*t2w"):
        by_command(broken / sessions.name, out, *SMALL, "--fresh", "--folds", "subject")
    assert {path: path.read_bytes() for path in before} == before


def test_attack_5_strata_beside_the_folds_of_the_manifest_are_refused(sessions, tmp_path):
    with pytest.raises(CrossvalError, match="its column `fold` divides the pairs, and --stratify would change nothing"):
        crossval([sessions], resolve(TINY), tmp_path / "cv", stratify=["site"])
    assert not (tmp_path / "cv").exists()
