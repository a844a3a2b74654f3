import json

import numpy as np
import pytest

from volumetric.cohort import phantom as module
from volumetric.cohort import simulated
from volumetric.cohort.phantom import PhantomError, PhantomRecord, PhantomTask, phantom
from volumetric.cohort.simulated import split_of
from volumetric.errors import FailedSubjectsError, InputError
from volumetric.imaging.nifti import read_image, write_image
from volumetric.manifest import read_manifest
from volumetric.outputs import OutputError

FILES = [f"{image}.nii.gz" for image in ("lesions", "mask", "t1w", "t2w", "tissues")]


@pytest.fixture(scope="module")
def five(tmp_path_factory):
    out = tmp_path_factory.mktemp("five")
    phantom(out, subjects=5, seed=3, spacing_mm=4.0)
    return out


def content(folder):
    return {p.relative_to(folder): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def test_cohort_has_all_files_and_a_manifest(five):
    manifest = read_manifest(five / "manifest.csv")
    assert [row.subject_id for row in manifest.rows] == [f"sim00{k}" for k in range(5)]
    assert [row.split for row in manifest.rows] == ["train", "test", "train", "val", "train"]
    assert {row.covariates["field_strength"] for row in manifest.rows} <= {"1.5", "3.0"}
    for row in manifest.rows:
        assert sorted(path.name for path in row.paths.values()) == FILES
        images = {column: read_image(row.path(column)) for column in row.paths}
        for image in images.values():
            np.testing.assert_array_equal(image.affine, images["t1w"].affine)
            assert image.array.shape == images["t1w"].array.shape
        np.testing.assert_array_equal(images["t1w"].affine[:3, :3], 4 * np.eye(3))
        inside = images["mask"].array > 0
        assert set(np.unique(images["tissues"].array)) == {0, 1, 2, 3}
        np.testing.assert_array_equal(images["tissues"].array > 0, inside)
        assert (images["t2w"].array[~inside] == 0).all()


def test_manifest_paths_are_relative(five):
    assert "sim000/t1w.nii.gz" in (five / "manifest.csv").read_text()
    assert str(five) not in (five / "manifest.csv").read_text()


def test_numbers_that_were_drawn_are_kept(five):
    drawn = json.loads((five / "phantom.json").read_text())
    assert drawn["settings"] == {"format_version": 1, "seed": 3, "spacing_mm": 4.0, "recipe": module.RECIPE}
    assert json.loads((five / "settings.json").read_text()) == drawn["settings"]  # not a word of label maps
    one = drawn["subjects"]["sim001"]
    assert one["field_strength"] in (1.5, 3.0)
    assert one["t2w"]["protocol"]["sequence"] == "spin_echo"
    assert one["num_lesions"] == len(one["lesions"]["centers_mm"])
    assert one["tissues"]["wm"].keys() == {"t1_ms", "t2_ms", "pd"}


def test_subject_is_the_same_in_a_smaller_cohort(five, tmp_path):
    phantom(tmp_path, subjects=2, seed=3, spacing_mm=4.0)
    assert content(tmp_path / "sim001") == content(five / "sim001")
    assert read_manifest(tmp_path / "manifest.csv").rows[1].split == "test"


def test_another_seed_gives_another_subject(five, tmp_path):
    phantom(tmp_path, subjects=1, seed=4, spacing_mm=4.0)
    assert content(tmp_path / "sim000") != content(five / "sim000")


def test_repeating_makes_only_what_is_missing(tmp_path):
    phantom(tmp_path, subjects=2, seed=3, spacing_mm=4.0)
    before = content(tmp_path)
    kept = (tmp_path / "sim000" / "t1w.nii.gz").stat().st_mtime_ns
    (tmp_path / "sim001" / "lesions.nii.gz").unlink()
    phantom(tmp_path, subjects=2, seed=3, spacing_mm=4.0)
    assert content(tmp_path) == before
    assert (tmp_path / "sim000" / "t1w.nii.gz").stat().st_mtime_ns == kept


@pytest.mark.parametrize("damage", [lambda data: b"", lambda data: data[: len(data) // 2], lambda data: b"no image"])
def test_an_image_that_was_emptied_or_truncated_is_made_again(tmp_path, damage):
    phantom(tmp_path, subjects=1, seed=3, spacing_mm=4.0)
    path = tmp_path / "sim000" / "t2w.nii.gz"
    before = path.read_bytes()
    path.write_bytes(damage(before))
    phantom(tmp_path, subjects=1, seed=3, spacing_mm=4.0)
    assert path.read_bytes() == before


def test_other_settings_are_refused_unless_fresh(tmp_path):
    phantom(tmp_path, subjects=2, seed=3, spacing_mm=4.0)
    with pytest.raises(InputError, match=r"seed was 3, is 4.*--fresh"):
        phantom(tmp_path, subjects=1, seed=4, spacing_mm=4.0)
    with pytest.raises(InputError, match=r"spacing_mm was 4\.0, is 3\.5"):
        phantom(tmp_path, subjects=1, seed=3, spacing_mm=3.5)
    phantom(tmp_path, subjects=1, seed=4, spacing_mm=4.0, fresh=True)
    # nobody of the old seed is left to pass for finished later
    assert sorted(p.parent.name for p in tmp_path.glob("sim*/*")) == ["sim000"] * 5
    assert json.loads((tmp_path / "settings.json").read_text())["seed"] == 4


def test_splits_repeat_after_eight_and_serve_small_cohorts():
    assert {split_of(k) for k in range(4)} == {"train", "val", "test"}
    counts = [[split_of(k) for k in range(16)].count(split) for split in ("train", "val", "test")]
    assert counts == [8, 2, 6]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"subjects": 0}, "expected 1 to"),
        ({"seed": -1}, "from 0 on"),
        ({"spacing_mm": 0.2}, "expected 0.5 to 4"),
        ({"spacing_mm": 9.0}, "expected 0.5 to 4"),
        ({"spacing_mm": float("nan")}, "expected 0.5 to 4"),
    ],
)
def test_nonsense_is_refused_before_anything_is_written(tmp_path, options, message):
    with pytest.raises(PhantomError, match=message):
        phantom(tmp_path / "out", **options)
    assert not (tmp_path / "out").exists()


def test_a_subject_that_cannot_be_written_is_named(tmp_path, monkeypatch):
    def full(path, image):
        raise OSError("no space left")

    monkeypatch.setattr(simulated, "write_image", full)
    with pytest.raises(FailedSubjectsError, match=r"1 of 1 subjects failed: sim000 \(no space left\)"):
        phantom(tmp_path, subjects=1, spacing_mm=4.0)


def test_the_other_subjects_are_kept_where_one_fails(tmp_path, monkeypatch):
    def full(path, image):
        if path.parent.name == "sim000":
            raise OSError("no space left")
        write_image(path, image)

    monkeypatch.setattr(simulated, "write_image", full)
    with pytest.raises(FailedSubjectsError, match=r"1 of 2 subjects failed: sim000"):
        phantom(tmp_path, subjects=2, spacing_mm=4.0)
    assert [row.subject_id for row in read_manifest(tmp_path / "manifest.csv").rows] == ["sim001"]


def test_the_preview_is_drawn_from_the_files(five):
    before = content(five)
    phantom(five, subjects=5, seed=3, spacing_mm=4.0, preview=True)
    assert (five / "preview.png").read_bytes().startswith(b"\x89PNG")
    (five / "preview.png").unlink()
    assert content(five) == before


def test_the_record_reads_back_the_numbers_that_were_drawn(five):
    record = PhantomRecord.read(five / "phantom.json")
    assert sorted(record.subjects) == [f"sim00{k}" for k in range(5)]
    assert record.subjects["sim002"] == PhantomTask(five, seed=3, spacing_mm=4.0).finished(2)


def test_a_cohort_that_no_disk_holds_is_refused_at_once(tmp_path):
    with pytest.raises(PhantomError, match="expected 1 to 1000000"):
        phantom(tmp_path / "out", subjects=10**12)


@pytest.mark.parametrize("name", ["manifest.csv", "phantom.json", "sim007/t1w.nii.gz"])
def test_attack_10_files_of_others_are_not_replaced(tmp_path, name):
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_text("mine")
    with pytest.raises(OutputError, match=f"{tmp_path / name}: it was there before"):
        phantom(tmp_path, subjects=1, spacing_mm=4.0)
    assert {str(path): text.decode() for path, text in content(tmp_path).items()} == {name: "mine"}
