from concurrent.futures import ThreadPoolExecutor
from functools import partial

import numpy as np
import pytest

from tests.batch.filling import SHAPES, Filling
from tests.conftest import oblique_affine, write_raw_cohort
from tests.preparation.test_prepare import QUICK
from volumetric.batch import estimate as estimate_module
from volumetric.batch.estimate import DryRun, Estimate, Measurement
from volumetric.batch.shards import Shard
from volumetric.config.preparation import PreparationConfig
from volumetric.config.resolve import resolve_as
from volumetric.evaluation.evaluate import evaluate
from volumetric.imaging.nifti import Image, write_image
from volumetric.outputs import write_bytes
from volumetric.preparation.prepare import prepare
from volumetric.synthesis.infer import infer


@pytest.fixture
def scans(tmp_path):
    for name, shape in SHAPES.items():
        write_image(tmp_path / "in" / f"{name}.nii.gz", Image(np.ones(shape, np.float32), oblique_affine()))
    (tmp_path / "in" / "bad.nii.gz").write_bytes(b"no image")
    return tmp_path / "in"


def dry_run(task, items, *, jobs=1, **options):
    estimates = []
    spread = DryRun(tell=estimates.append, **options)
    with spread.held(task.out):
        invalid = spread.run(task, items, out=task.out, command="fill", arguments={}, jobs=jobs, usual=1, gb_each=1)
    (estimate,) = estimates
    assert [outcome.name for outcome in invalid] == [outcome.name for outcome in estimate.invalid]
    return estimate


def test_a_dry_run_counts_measures_one_subject_and_leaves_nothing(scans, tmp_path, monkeypatch):
    scratch, out = tmp_path / "scratch", tmp_path / "out"
    scratch.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(scratch))
    write_bytes(out / "d", b"done")
    estimate = dry_run(Filling(scans, out), [*SHAPES, "gone"], jobs=2)
    assert estimate.voxels == {"a": 60, "b": 336, "c": 990, "e": 2184}
    assert estimate.num_skipped == 1
    errors = {outcome.name: outcome.error for outcome in estimate.invalid}
    assert list(errors) == ["bad", "gone"]
    assert "gone.nii.gz" in errors["gone"]
    one = estimate.measured
    assert (one.subject, one.voxels, one.written_bytes) == ("c", 990, 990)
    assert 0.3 <= one.seconds < 20
    assert 0.29e9 <= one.own_bytes < one.peak_bytes < 3e9
    assert estimate.written_bytes == 60 + 336 + 990 + 2184
    assert estimate.jobs == 2
    assert list(scratch.iterdir()) == []
    assert [path.name for path in out.iterdir()] == ["d"]


def test_sums_follow_the_voxels_and_memory_those_of_the_largest():
    one = Measurement("b", voxels=200, seconds=3.0, peak_bytes=1000, own_bytes=400, written_bytes=50)
    estimate = Estimate("fill", 1, {"a": 100, "b": 200, "c": 500}, 0, (), one)
    assert (estimate.seconds, estimate.written_bytes) == (12.0, 200)
    assert estimate.peak_bytes == 600 + 400 * 500 / 200
    nothing = Estimate("fill", 1, {}, 3, (), None)
    assert (nothing.seconds, nothing.written_bytes, nothing.peak_bytes) == (0, 0, 0)


@pytest.fixture
def in_this_process(monkeypatch):
    """Measure in a thread, which is quick."""
    monkeypatch.setattr(
        estimate_module, "ProcessPoolExecutor", lambda n, context, begin, arguments: ThreadPoolExecutor(n)
    )


def test_a_subject_that_cannot_be_measured_is_invalid_and_the_next_is_measured(scans, tmp_path, in_this_process):
    task = Filling(scans, tmp_path / "out", refused=("b", "c"))
    estimate = dry_run(task, ["a", "b", "c"])
    assert estimate.measured.subject == "a"
    assert [(o.name, o.error) for o in estimate.invalid] == [
        (name, f"subject {name}: the voxels are bad; leave it out") for name in "bc"
    ]
    assert dry_run(Filling(scans, tmp_path, refused=tuple("abc")), ["a", "b", "c"]).measured is None


def test_a_shard_counts_its_own_and_fresh_those_that_are_finished(scans, tmp_path, in_this_process):
    write_bytes(tmp_path / "d", b"done")
    task = Filling(scans, tmp_path)
    assert list(dry_run(task, list("abcd"), shard=Shard(2, 2)).voxels) == ["b"]
    assert list(dry_run(task, list("abcd"), shard=Shard(2, 2), fresh=True).voxels) == ["b", "d"]


def snapshot(folder):
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*")}


def test_verbs_write_nothing_in_a_dry_run(cohort, run_folder, tmp_path, in_this_process, monkeypatch):
    monkeypatch.setattr("volumetric.imaging.registration.LEVELS_MM", (4.0,))
    raw, predictions = write_raw_cohort(tmp_path / "raw", ["train", "test"], size=0.45), tmp_path / "predictions"
    (tmp_path / "raw" / "p1" / "t2w.nii.gz").unlink()
    infer([cohort], model=run_folder, split="test", out=predictions)
    recipe = resolve_as(PreparationConfig, None, QUICK)
    before = snapshot(tmp_path)
    verbs = {
        "infer": partial(infer, [cohort], model=run_folder, out=predictions),
        "evaluate": partial(evaluate, predictions, [cohort], tmp_path / "out", split="all", segmentation=False),
        "prepare": partial(prepare, [raw], tmp_path / "out", recipe),
    }
    # to do, to skip, invalid: infer is asked for all five, evaluate for three that have no prediction
    expected = {"infer": (3, 2, 0), "evaluate": (2, 0, 3), "prepare": (1, 0, 1)}
    for verb, door in verbs.items():
        estimates = []
        door(jobs=1, spread=DryRun(tell=estimates.append))
        (estimate,) = estimates
        assert estimate.command == verb
        assert (len(estimate.voxels), estimate.num_skipped, len(estimate.invalid)) == expected[verb]
        assert estimate.measured.seconds > 0
        assert estimate.measured.written_bytes > 1000
    estimates = []
    infer([cohort], model=run_folder, out=predictions, fresh=True, spread=DryRun(tell=estimates.append, fresh=True))
    assert len(estimates[0].voxels) == 5
    assert snapshot(tmp_path) == before


def test_the_command_prints_it_and_fails_where_a_subject_is_invalid(tmp_path, cohort):
    from typer.testing import CliRunner

    from volumetric.cli import app

    manifest, out = tmp_path / "broken.csv", tmp_path / "out"
    manifest.write_text(f"subject_id,t1w,t2w\nx7,{cohort.parent}/p0/t1w.nii.gz,gone9.nii.gz\n")
    result = CliRunner().invoke(app, ["prepare", str(manifest), "--out", str(out), "--dry-run"], catch_exceptions=False)
    assert result.exit_code == 1
    assert "invalid" in result.stdout
    assert result.stdout.splitlines()[-1].startswith("1 the `tNw` file FILE does not exist")
    assert not out.exists()
