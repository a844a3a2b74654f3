"""One model for every subset of its sources: training with sources left out, and inference with what there is."""

import csv
import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from tests.conftest import brain_pair
from volumetric.cli import app
from volumetric.config.resolve import ConfigError, resolve
from volumetric.errors import InputError
from volumetric.imaging.intensity import PooledIntensities
from volumetric.imaging.nifti import read_image, write_image
from volumetric.learning.data import PatchDraws
from volumetric.learning.optimization import TrainingError
from volumetric.learning.reading import read_pairs
from volumetric.learning.train import train
from volumetric.manifest import ManifestError, ManifestRow, read_manifest, write_manifest
from volumetric.model.folder import load_model
from volumetric.outputs import hash_file
from volumetric.transforms.missing import RandMissingd

SMALL = [
    "space.spacing_mm=[4,4,4]", "network.channels=[4,8]", "patch.size=[16,16,24]", "patch.batch_size=2",
    "patch.num_per_volume=2", "optim.num_steps=4", "validation.every_steps=2", "device=cpu",
]  # fmt: skip
SOURCES = ("t1w", "flair", "t1wce")
GIVEN = [SOURCES, ("t1w", "t1wce"), SOURCES, SOURCES, ("flair",), ()]
SPLITS = ["train", "train", "val", "test", "test", "test"]


def images_of(number):
    t1w, t2w = brain_pair(number, shape=(23, 27, 21))
    flair, agent = t2w.array * (t1w.array > 0.4 * t1w.array.max()) + 0.2 * t1w.array, t1w.array**2
    return {"t1w": t1w, "t2w": t2w, "flair": t1w.with_array(flair), "t1wce": t1w.with_array(agent)}


@pytest.fixture(scope="module")
def incomplete(tmp_path_factory):
    """A manifest of subjects with all sources, and of some that lack one, two or all."""
    folder, rows = tmp_path_factory.mktemp("incomplete"), []
    for number, (split, given) in enumerate(zip(SPLITS, GIVEN, strict=True)):
        images = {name: image for name, image in images_of(number).items() if name in (*given, "t2w")}
        paths = {name: folder / f"p{number}" / f"{name}.nii.gz" for name in images}
        for name, image in images.items():
            write_image(paths[name], image)
        rows.append(ManifestRow(f"p{number}", split=split, paths=paths))
    write_manifest(folder / "manifest.csv", rows)
    return folder / "manifest.csv"


def call(*words):
    return CliRunner().invoke(app, list(map(str, words)), catch_exceptions=False)


def table(path):
    with path.open() as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def run(incomplete, tmp_path_factory):
    """A run of `multi_to_t2w` through the command line."""
    out = tmp_path_factory.mktemp("multi")
    sets = [word for override in SMALL for word in ("--set", override)]
    result = call("train", incomplete, "--config", "multi_to_t2w", "--out", out, *sets)
    assert result.exit_code == 0, result.output
    return out


def test_it_trains_by_the_command_line_along_its_golden_curve(run):
    rows, golden = (table(path) for path in (run / "history.csv", Path(__file__).parent / "golden_multi.csv"))
    for row, expected in zip(rows, golden, strict=True):
        assert {k: float(v) for k, v in row.items()} == pytest.approx(
            {k: float(v) for k, v in expected.items()}, rel=1e-3
        )
    spec = load_model(run).spec
    assert spec.optional_sources
    assert spec.sources == SOURCES
    assert set(spec.training.source_quantiles) == set(SOURCES)


def test_trained_twice_it_has_the_same_bytes(run, incomplete, tmp_path):
    train([incomplete], resolve("multi_to_t2w", SMALL), tmp_path)
    assert hash_file(tmp_path / "model/model.safetensors") == hash_file(run / "model/model.safetensors")


def test_infer_takes_what_a_subject_has_and_says_so(run, incomplete, tmp_path):
    words = ["infer", incomplete, "--split", "test", "--model", run, "--out", tmp_path, "--figures"]
    assert call(*words).exit_code == 1
    rows = {row["subject_id"]: row for row in table(tmp_path / "predictions.csv")}
    assert [(row["status"], row["sources"]) for row in rows.values()] == [
        ("ok", "t1w flair t1wce"), ("ok", "flair"), ("failed", "")
    ]  # fmt: skip
    assert rows["p5"]["error"] == "the model takes any of t1w, flair, t1wce, and none is given; give at least one"
    sidecar = json.loads((tmp_path / rows["p4"]["path"].replace(".nii.gz", ".json")).read_text())
    assert sidecar["sources"] == list(SOURCES)
    assert sidecar["sources_used"] == ["flair"]
    assert sidecar["Sources"] == ["flair.nii.gz"]
    assert set(sidecar["source_sha256"]) == {"flair"}
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.nii.gz")}
    call(*words)
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.nii.gz")} == before


def test_a_chosen_subset_is_the_prediction_of_a_subject_with_no_more(run, incomplete, tmp_path):
    whole = read_manifest(incomplete).rows[3]
    write_manifest(tmp_path / "less.csv", [ManifestRow("p3", split="test", paths={"t1w": whole.path("t1w")})])
    chosen = ["infer", incomplete, "--split", "test", "--model", run, "--out", tmp_path / "chosen", "--sources"]
    call(*chosen, "t1w")
    call("infer", tmp_path / "less.csv", "--model", run, "--out", tmp_path / "less")
    call(*chosen[:-2], tmp_path / "all")
    paths = {name: next((tmp_path / name).rglob("sub-p3*.nii.gz")) for name in ("chosen", "less", "all")}
    arrays = {name: read_image(path).array for name, path in paths.items()}
    np.testing.assert_array_equal(arrays["chosen"], arrays["less"])
    assert np.abs(arrays["chosen"] - arrays["all"]).max() > 1
    first = hash_file(paths["chosen"])
    call(*chosen, "t1w,flair")
    assert hash_file(paths["chosen"]) != first  # another choice is another prediction, and is made again
    assert (
        call("evaluate", tmp_path / "chosen", incomplete, "--out", tmp_path / "m", "--no-segmentation").exit_code == 1
    )
    scored = {row["subject_id"] for row in table(tmp_path / "m" / "per_subject.csv") if row["status"] == "ok"}
    assert scored == {"p3"}


def test_a_missing_source_is_a_channel_of_zeros_and_changes_no_other(run):
    model, images = load_model(run), images_of(7)
    del images["t2w"]
    volume = model.preprocess(images).volume
    without = model.preprocess({name: images[name] for name in ("t1w", "t1wce")}).volume
    np.testing.assert_array_equal(without[[0, 2]], volume[[0, 2]])
    assert (without[1] == 0).all()
    assert volume[1].any()


def test_what_a_training_subject_lacks_is_zero_in_every_patch_and_counts_in_no_statistic(run, incomplete, tmp_path):
    config = resolve("multi_to_t2w", SMALL)
    rows = read_manifest(incomplete).split("train")
    pairs = read_pairs(rows, config, tmp_path, title="t")
    assert [pair.missing for pair in pairs] == [(), ("flair",)]
    spec, full = load_model(run).spec, resolve("multi_to_t2w", [*SMALL, "augmentation.missing_probability=1e-9"])
    patches = [patch["source"] for draw in range(4) for patch in PatchDraws(pairs[1:], full, spec)[draw]]
    assert all((patch[1] == 0).all() and patch[0].any() and patch[2].any() for patch in patches)
    own = PooledIntensities()
    own.merge(pairs[0].histogram("flair"), *pairs[0].sums("flair").tolist())
    expected = own.quantile(np.array([0.01, 0.25, 0.5, 0.75, 0.99]))
    assert spec.training.source_quantiles["flair"] == pytest.approx(expected, abs=1e-4)


def test_channels_are_left_out_independently_and_never_all():
    data = {"source": torch.ones(3, 2, 1, 1), "other": torch.ones(1), "given": np.array([True, False, True])}
    transform = RandMissingd("source", 0.5)
    transform.set_random_state(seed=0)
    counts = Counter(tuple(transform(data)["source"][:, 0, 0, 0].tolist()) for _ in range(4000))
    assert set(counts) == {(1, 0, 1), (1, 0, 0), (0, 0, 1)}
    for kept, share in (((1, 0, 1), 1 / 4), ((1, 0, 0), 3 / 8), ((0, 0, 1), 3 / 8)):  # 1/4 each, and half of none's 1/4
        assert counts[kept] / 4000 == pytest.approx(share, abs=0.03)
    assert data["source"].all()
    first, again = (RandMissingd("source", 0.5), RandMissingd("source", 0.5))
    for one in (first, again):
        one.set_random_state(seed=5)
    assert all(torch.equal(first(data)["source"], again(data)["source"]) for _ in range(20))


def test_what_cannot_be_is_one_sentence(run_folder, cohort, incomplete, tmp_path):
    with pytest.raises(ConfigError, match=r"give task\.sources two or more"):
        resolve(None, ["augmentation.missing_probability=0.5"])
    with pytest.raises(InputError, match="--sources: the model needs all of t1w; leave it out"):
        call("infer", cohort, "--model", run_folder, "--out", tmp_path / "out", "--sources", "t1w")
    rows = read_manifest(incomplete).rows
    write_manifest(tmp_path / "none.csv", [rows[0], ManifestRow("p5", split="train", paths=rows[5].paths)])
    with pytest.raises(TrainingError, match="p5: none of the sources t1w, flair, t1wce is given"):
        train([tmp_path / "none.csv"], resolve("multi_to_t2w", SMALL), tmp_path / "out")
    with pytest.raises(ManifestError, match="subject p1: no `flair` is given"):
        train([incomplete], resolve("multi_to_t2w", [*SMALL, "augmentation.missing_probability=0"]), tmp_path / "out")
    assert not (tmp_path / "out").exists()
