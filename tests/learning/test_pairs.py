import multiprocessing
import os

import numpy as np
import pytest

from tests.conftest import brain_pair, write_cohort
from volumetric.config.run import IntensityConfig, SpaceConfig
from volumetric.imaging.intensity import reference_scale
from volumetric.imaging.mask import brain_mask
from volumetric.imaging.nifti import read_image, write_image
from volumetric.learning.cache import CacheError, cached, mapped
from volumetric.learning.reading import read_pairs
from volumetric.learning.statistics import intensities, pool, source_maps
from volumetric.learning.train import train
from volumetric.manifest import ManifestError, read_manifest
from volumetric.model.space import model_space_of
from volumetric.outputs import hash_file


def test_training_sees_what_inference_sees(cohort, tiny_config, pairs):
    row = read_manifest(cohort).rows[0]
    t1w = read_image(row.path("t1w"))
    view = model_space_of(t1w.space, brain_mask(t1w).array, tiny_config.space.spacing_mm)
    np.testing.assert_array_equal(pairs[0].sources, view.to_model_space(t1w))
    np.testing.assert_array_equal(pairs[0].mask[0], view.mask)
    inside = pairs[0].sources[0][view.mask].astype(float)
    np.testing.assert_allclose(pairs[0].measured, [[inside.mean(), inside.std()]])


def test_statistics_are_those_of_the_raw_voxels(cohort, tiny_config, pairs):
    statistics = pool(intensities(pairs, (), tiny_config), tiny_config)
    values = []
    for row in read_manifest(cohort).split("train"):
        t1w, t2w = read_image(row.path("t1w")).array, read_image(row.path("t2w")).array
        inside = t1w != 0
        values.append(t2w[inside] / reference_scale(t2w, inside))
    everyone = np.concatenate(values).astype(float)
    target_map = statistics.target_map()
    assert target_map.center == pytest.approx(everyone.mean(), rel=1e-6)
    assert target_map.scale == pytest.approx(everyone.std(), rel=1e-5)
    assert statistics.target.data_range() == pytest.approx(np.quantile(everyone, 0.995), abs=1e-3)


def test_a_second_run_reads_no_scan(cohort, tiny_config, tmp_path, monkeypatch):
    rows = read_manifest(cohort).split("train")
    first = read_pairs(rows, tiny_config, tmp_path / "cache", title="t")
    monkeypatch.setattr("volumetric.subject.read_image", lambda path: pytest.fail(f"read {path}"))
    second = read_pairs(rows, tiny_config, tmp_path / "cache", title="t")
    assert second == first


def test_other_voxels_or_another_spacing_are_read_anew(tmp_path, tiny_config):
    manifest = read_manifest(write_cohort(tmp_path, ["train"]))
    (before,) = read_pairs(manifest.rows, tiny_config, tmp_path / "cache", title="t")
    finer = tiny_config.model_copy(update={"space": tiny_config.space.model_copy(update={"spacing_mm": (3.0, 3, 3)})})
    (other,) = read_pairs(manifest.rows, finer, tmp_path / "cache", title="t")
    assert other.mask.shape > before.mask.shape
    path = manifest.rows[0].path("t2w")
    image = read_image(path)
    write_image(path, image.with_array(image.array[::-1].copy()))
    (changed,) = read_pairs(manifest.rows, tiny_config, tmp_path / "cache", title="t")
    assert not np.array_equal(changed.target, before.target)
    assert len(list((tmp_path / "cache").glob("*/sources.npy"))) == 3


def test_another_normalization_copies_no_volume(cohort, tiny_config, tmp_path):
    rows = read_manifest(cohort).split("train")
    before = read_pairs(rows, tiny_config, tmp_path / "cache", title="t")
    robust = tiny_config.model_copy(update={"intensity": IntensityConfig(source_normalization="robust")})
    after = read_pairs(rows, robust, tmp_path / "cache", title="t")
    assert [pair.folder for pair in after] == [pair.folder for pair in before]
    inside = after[0].sources[0][after[0].mask[0]].astype(float)
    median = np.median(inside)
    np.testing.assert_allclose(after[0].measured, [[median, 1.4826 * np.median(np.abs(inside - median))]])
    np.testing.assert_allclose(before[0].measured, [[inside.mean(), inside.std()]])


def test_what_sources_learn_is_that_of_the_raw_voxels(cohort, tiny_config, pairs):
    everyone, scaled = [], []
    for row in read_manifest(cohort).split("train"):
        t1w = read_image(row.path("t1w")).array
        everyone.append(t1w[t1w != 0] / reference_scale(t1w, t1w != 0))
        deciles = np.quantile(everyone[-1], [0.01, *np.arange(1, 10) / 10, 0.99])
        scaled.append((deciles - deciles[0]) / (deciles[-1] - deciles[0]))
    subjects = intensities(pairs, (), tiny_config)
    maps = {
        name: source_maps(
            subjects, tiny_config.model_copy(update={"intensity": IntensityConfig(source_normalization=name)})
        )
        for name in ("zscore", "pooled", "nyul")
    }
    values = np.concatenate(everyone).astype(float)
    assert maps["zscore"] == ()
    assert maps["pooled"][0].center == pytest.approx(values.mean(), rel=1e-6)
    assert maps["pooled"][0].scale == pytest.approx(values.std(), rel=1e-5)
    standard = np.mean(scaled, axis=0)
    wanted = (standard - standard[1:-1].mean()) / standard[1:-1].std()
    np.testing.assert_allclose(maps["nyul"][0].landmarks, wanted, atol=2e-2)


def test_a_scan_without_the_peak_that_is_asked_for_is_named(tmp_path, tiny_config):
    manifest = read_manifest(write_cohort(tmp_path, ["train", "train"]))
    t1w, _ = brain_pair(0)
    array = t1w.array.copy()
    array[array != 0] = 100 + np.square(np.linspace(0, 20, np.count_nonzero(array)))
    write_image(manifest.rows[1].paths["t1w"], t1w.with_array(array))
    config = tiny_config.model_copy(
        update={"intensity": IntensityConfig(source_normalization="kde"), "space": SpaceConfig(spacing_mm=None)}
    )
    with pytest.raises(ManifestError, match=r"subject p1: t1w: the histogram .* has no peak"):
        read_pairs(manifest.rows, config, tmp_path / "cache", title="t")


def test_arrays_are_mapped_not_read_and_the_files_stay_as_they_are(pairs):
    target = pairs[0].target
    assert isinstance(target, np.memmap)
    target[:] = -1
    assert (pairs[0].target >= 0).all()


def _make_slowly(barrier, cache):
    def make():
        barrier.wait(timeout=20)  # all are inside before any is done
        return {"x": np.full(3, os.getpid())}

    cached(cache, "key", ["x"], make)


def test_processes_that_ask_at_once_end_with_one_whole_entry(tmp_path):
    context = multiprocessing.get_context("fork")
    barrier = context.Barrier(3)
    workers = [context.Process(target=_make_slowly, args=(barrier, tmp_path)) for _ in range(3)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(timeout=30)
    assert [worker.exitcode for worker in workers] == [0, 0, 0]
    assert mapped(tmp_path / "key", "x").tolist() in [[worker.pid] * 3 for worker in workers]
    assert [p.name for p in tmp_path.iterdir()] == ["key"]


def test_a_full_disk_is_said_and_leaves_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr("shutil.disk_usage", lambda _: type("Usage", (), {"free": 10})())
    with pytest.raises(CacheError, match=r"the disk is full.*--set cache=FOLDER"):
        cached(tmp_path, "key", ["x"], lambda: {"x": np.zeros(100)})
    assert list(tmp_path.iterdir()) == []


def test_every_unusable_pair_is_named_in_one_error(tmp_path, tiny_config):
    manifest = read_manifest(write_cohort(tmp_path, ["train"] * 3))
    t1w, _ = brain_pair(0)
    broken = t1w.array.copy()
    broken[3, 3, 3] = np.nan
    write_image(manifest.rows[0].paths["t1w"], t1w.with_array(broken))
    write_image(manifest.rows[2].paths["t2w"], t1w.with_array(t1w.array[1:]))
    with pytest.raises(ManifestError) as caught:
        read_pairs(manifest.rows, tiny_config, tmp_path / "cache", title="t")
    message = str(caught.value)
    assert "subject p0: " in message
    assert "NaN" in message
    assert "subject p2: `t2w` has shape (30, 37, 29)" in message
    assert "p1" not in message
    with pytest.raises(ManifestError):
        train([tmp_path / "manifest.csv"], tiny_config, tmp_path / "run")
    assert [p.name for p in (tmp_path / "run").iterdir()] == ["cache"]  # the good subject is not read again


@pytest.mark.parametrize("damage", ["missing", "truncated", "empty"])
def test_a_damaged_cache_folder_is_made_again(cohort, tiny_config, tmp_path, damage, caplog):
    rows = read_manifest(cohort).split("train")
    before = read_pairs(rows, tiny_config, tmp_path, title="t")
    files = {path: path.read_bytes() for path in before[0].folder.iterdir()}
    path = before[0].folder / "target.npy"
    if damage == "missing":
        path.unlink()
    else:
        path.write_bytes(files[path][:1000] if damage == "truncated" else b"")
    assert read_pairs(rows, tiny_config, tmp_path, title="t") == before
    assert {path: path.read_bytes() for path in before[0].folder.iterdir()} == files
    assert "damaged" in caplog.text
    assert not [folder for folder in tmp_path.iterdir() if folder.name.startswith(".")]


def test_a_scan_that_changes_while_it_is_read_is_not_kept_under_its_old_hash(tmp_path, tiny_config, monkeypatch):
    manifest = read_manifest(write_cohort(tmp_path, ["train"]))
    path = manifest.rows[0].path("t2w")

    def hash_and_replace(file):
        sha256 = hash_file(file)
        if file == path:
            image = read_image(path)
            write_image(path, image.with_array(image.array * 2))
        return sha256

    monkeypatch.setattr("volumetric.learning.reading.hash_file", hash_and_replace)
    with pytest.raises(
        ManifestError, match=r"subject p0: .*t2w\.nii\.gz changed while it was read; repeat the command"
    ):
        read_pairs(manifest.rows, tiny_config, tmp_path / "cache", title="t")
    assert not list((tmp_path / "cache").glob("*"))
