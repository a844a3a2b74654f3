"""`volumetric add-lesions`, by the command line, on three small label maps."""

from dataclasses import replace

import numpy as np
import pytest

from tests.conftest import write_raw_cohort
from tests.simulation.label_maps import label_map
from tests.simulation.test_given_lesions import EDEMA, MS, TABLE, TUMOR, ball
from volumetric.cohort.add_lesions import AddedLesionsError, add_lesions
from volumetric.errors import FailedSubjectsError
from volumetric.imaging.nifti import read_labels, write_image
from volumetric.manifest import ManifestRow, read_manifest, write_manifest
from volumetric.records.settings import RunSettings

OPTIONS = ("--table", "freesurfer_tumor")
LESIONS = {
    "a": [],
    "b": [(MS, (30, 20, 10), 8), (MS, (-25, 0, 20), 7)],
    "c": [(EDEMA, (20, -30, 0), 15), (TUMOR, (20, -30, 0), 8)],
}
SPLITS = {"a": "train", "b": "train", "c": "test"}


@pytest.fixture
def maps(tmp_path):
    """A manifest of a healthy subject, one with white-matter lesions and one with a tumor."""
    rows = []
    for name, lesions in LESIONS.items():
        image = label_map()
        for label, offset, radius in lesions:
            image = ball(image, label, offset, radius, over=(2, EDEMA))
        path = tmp_path / "maps" / name / "labels.nii.gz"
        write_image(path, image)
        rows.append(ManifestRow(name, split=SPLITS[name], paths={"labels": path}, covariates={"age": "40"}))
    write_manifest(tmp_path / "maps" / "manifest.csv", rows)
    return tmp_path / "maps" / "manifest.csv"


def labels(folder):
    return read_labels(folder / "labels.nii.gz", 65535)


def content(folder):
    return {path.relative_to(folder): path.read_bytes() for path in sorted(folder.rglob("*.nii.gz"))}


def refused(command):
    """What a command that did not end well said."""
    assert command.returncode == (1 if "subjects failed" in command.stderr else 2), command.stderr
    return command.stderr


def test_each_map_gets_the_lesions_of_another_subject(maps, tmp_path, volumetric):
    out = tmp_path / "out"
    volumetric("add-lesions", maps, "--out", out, "--copies", "4", *OPTIONS)
    manifest = read_manifest(out / "manifest.csv")
    assert [row.name for row in manifest.rows] == [f"{name}/lesions{k}" for name in "abc" for k in range(1, 5)]
    for row in manifest.rows:
        assert (row.split, row.covariates) == (SPLITS[row.subject_id], {"age": "40"})
        before, after, truth = (
            labels(maps.parent / row.subject_id),
            labels(row.path("labels").parent),
            row.path("lesions"),
        )
        np.testing.assert_array_equal(after.affine, before.affine)
        new = set(np.unique(after.array[after.array != before.array]))
        others = {label for name in set("abc") - {row.subject_id} for label, *_ in LESIONS[name]}
        assert new
        assert new <= others
        np.testing.assert_array_equal(read_labels(truth).array, np.isin(after.array, [MS, EDEMA, TUMOR]))
    drawn = {labels(row.path("labels").parent).array.tobytes() for row in manifest.rows}
    assert len(drawn) == 12


def test_random_lesions_need_no_donor(maps, tmp_path, volumetric):
    out = tmp_path / "out"
    volumetric("add-lesions", maps, "--out", out, "--random", *OPTIONS)
    for name in "abc":
        before, after = labels(maps.parent / name), labels(out / name / "lesions1")
        changed = after.array != before.array
        assert set(np.unique(after.array[changed])) == {min(TABLE.classes()["white_matter_lesion"])}
        assert set(np.unique(before.array[changed])) == {2}
        assert (read_labels(out / name / "lesions1" / "lesions.nii.gz").array[changed] == 1).all()


def test_lesions_come_from_the_donors_that_are_named(maps, tmp_path):
    rows = {row.subject_id: row for row in read_manifest(maps).rows}
    write_manifest(maps.with_name("donors.csv"), [rows["c"]])
    write_manifest(maps.with_name("healthy.csv"), [rows["a"]])
    out = tmp_path / "out"
    add_lesions([maps.with_name("healthy.csv")], out, donors=[maps.with_name("donors.csv")], table="freesurfer_tumor")
    assert {EDEMA, TUMOR} <= set(np.unique(labels(out / "a" / "lesions1").array))
    assert read_manifest(out / "manifest.csv").rows[0].name == "a/lesions1"


def test_repeating_makes_only_what_is_missing_and_more_copies_leave_the_others(maps, tmp_path, volumetric):
    out = tmp_path / "out"
    volumetric("add-lesions", maps, "--out", out, *OPTIONS)
    first = content(out)
    (out / "b" / "lesions1" / "lesions.nii.gz").write_bytes(first[next(path for path in first)][:40])
    kept = (out / "a" / "lesions1" / "labels.nii.gz").stat().st_mtime_ns
    volumetric("add-lesions", maps, "--out", out, "--copies", "2", *OPTIONS)
    assert (out / "a" / "lesions1" / "labels.nii.gz").stat().st_mtime_ns == kept
    assert content(out).items() >= first.items()
    assert len(content(out)) == 12


def test_a_copy_depends_on_its_own_subject_and_the_donors_alone(maps, tmp_path):
    rows = read_manifest(maps).rows
    write_manifest(maps.with_name("one.csv"), rows[2:])
    for name in ("one", "manifest"):
        add_lesions([maps.with_name(f"{name}.csv")], tmp_path / name, donors=[maps], table="freesurfer_tumor", seed=5)
    assert content(tmp_path / "one" / "c") == content(tmp_path / "manifest" / "c")


def test_other_settings_are_refused_and_fresh_starts_over(maps, tmp_path, volumetric):
    out = tmp_path / "out"
    volumetric("add-lesions", maps, "--out", out, "--copies", "2", *OPTIONS)
    said = refused(volumetric("add-lesions", maps, "--out", out, "--seed", "1", *OPTIONS))
    assert "seed was 0, is 1" in said
    write_image(maps.parent / "a" / "labels.nii.gz", labels(maps.parent / "b"))
    assert "maps.a was" in refused(volumetric("add-lesions", maps, "--out", out, *OPTIONS))
    volumetric("add-lesions", maps, "--out", out, "--fresh", *OPTIONS)
    assert {path.parts[1] for path in content(out)} == {"lesions1"}


def test_files_of_others_are_not_replaced(maps, volumetric):
    before = content(maps.parent), maps.read_bytes()
    said = refused(volumetric("add-lesions", maps, "--out", maps.parent, *OPTIONS))
    assert "would be replaced" in said
    assert (content(maps.parent), maps.read_bytes()) == before


def test_a_damaged_map_costs_itself_alone(maps, tmp_path, volumetric, caplog):
    path = maps.parent / "b" / "labels.nii.gz"
    path.write_bytes(path.read_bytes()[:300])
    said = refused(volumetric("add-lesions", maps, "--out", tmp_path / "out", *OPTIONS))
    assert "subject b gives no lesions" in caplog.text
    assert "2 of 3 subjects failed: b/lesions1" in said  # c has nobody but itself
    assert "no other subject has a lesion" in said
    assert [row.name for row in read_manifest(tmp_path / "out" / "manifest.csv").rows] == ["a/lesions1"]


@pytest.mark.parametrize(
    "words, said",
    [
        (("--table", "three_tissues"), "none of 3 label maps has a lesion by the table `three_tissues`"),
        (("--table", "three_tissues", "--random"), "no label for `white_matter_lesion`; add a line"),
        (("--copies", "0"), "--copies 0: expected 1 to 1000"),
        (("--seed", "-1"), "--seed -1: expected a whole number from 0 on"),
        (("--random", "--donors", "MAPS"), "leave it out, or --donors"),
        (("--donors", "absent.csv"), "absent.csv"),
        (("--table", "absent.yaml"), "no table `absent.yaml`"),
    ],
)
def test_a_call_that_cannot_be_meant_is_one_sentence_and_leaves_nothing(words, said, maps, tmp_path, volumetric):
    words = [str(maps) if word == "MAPS" else word for word in words]
    assert said in refused(volumetric("add-lesions", maps, "--out", tmp_path / "out", *words))
    assert not (tmp_path / "out").exists()


def test_rows_that_would_share_a_folder_are_an_error_before_any_work(maps, tmp_path):
    path = read_manifest(maps).rows[0].path("labels")
    write_manifest(maps, [ManifestRow(name, paths={"labels": path}) for name in ("a b", "a.b")])
    with pytest.raises(AddedLesionsError, match=r"a b/lesions1 and a\.b/lesions1 would share the folder a_b/lesions1"):
        add_lesions([maps], tmp_path / "out", random=True)


def test_a_map_without_brain_is_named(maps, tmp_path):
    path = maps.parent / "a" / "labels.nii.gz"
    write_image(path, label_map().with_array(np.zeros(label_map().array.shape, np.uint8)))
    with pytest.raises(FailedSubjectsError, match=r"a/lesions1 \(.*a/labels.nii.gz: no voxel is brain by the table"):
        add_lesions([maps], tmp_path / "out", table="freesurfer_tumor")


@pytest.mark.parametrize(
    "command",
    [("phantom", "--subjects", "1", "--out"), ("prepare", "RAW", "--out"), ("add-lesions", "RAW", "--random", "--out")],
)
def test_fresh_deletes_nothing_of_others(command, maps, tmp_path, volumetric):
    """`--fresh` deleted the manifest of a folder that the command had not begun."""
    raw = write_raw_cohort(tmp_path / "raw", ["train"])
    rows = [
        replace(row, paths={**row.paths, "labels": maps.parent / "a" / "labels.nii.gz"})
        for row in read_manifest(raw).rows
    ]
    write_manifest(raw, rows)
    words = [str(raw) if word == "RAW" else word for word in command]
    mine, made = tmp_path / "mine", tmp_path / "made"
    mine.mkdir()
    (mine / "manifest.csv").write_text("subject_id\nms01\n")
    assert "manifest.csv: it was there before" in refused(volumetric(*words, mine, "--fresh"))
    assert (mine / "manifest.csv").read_text() == "subject_id\nms01\n"
    RunSettings(training_manifest_sha256="").begin(made)
    (made / "manifest.csv").write_text("subject_id\nms01\n")
    assert "was begun by another command" in refused(volumetric(*words, made, "--fresh"))
    assert (made / "manifest.csv").read_text() == "subject_id\nms01\n"
