"""From a row of the manifest to voxels: one reader, whose answers are the bytes that were read."""

import hashlib

import numpy as np
import pytest

from tests.conftest import brain_pair, oblique_affine
from volumetric.imaging.mask import brain_mask
from volumetric.imaging.nifti import Image, write_image
from volumetric.manifest import ManifestError, ManifestRow
from volumetric.subject import SubjectError, check_one_grid, read_raw_subject, read_subject


@pytest.fixture
def row(tmp_path):
    t1w, t2w = brain_pair(0)
    mask = brain_mask(t1w).array
    mask[:5] = False
    images = {"t1w": t1w, "t2w": t2w, "mask": t1w.with_array(mask), "tissues": t1w.with_array(mask * np.uint8(2))}
    for column, image in images.items():
        write_image(tmp_path / f"{column}.nii.gz", image)
    return ManifestRow("p1", "s2", paths={column: tmp_path / f"{column}.nii.gz" for column in images})


def test_a_subject_has_the_images_the_given_mask_and_the_hashes_of_its_files(row):
    subject = read_subject(row, ["t1w", "t2w"], ["mask", "tissues", "lesions"])
    t1w, t2w = brain_pair(0)
    assert subject.name == "p1/s2"
    assert list(subject.images) == ["t1w", "t2w"]
    np.testing.assert_array_equal(subject.images["t2w"].array, t2w.array)
    assert subject.mask.rule == "given"
    assert not subject.mask.array[:5].any()
    assert set(subject.labels) == {"mask", "tissues"}
    assert subject.sha256 == {
        column: hashlib.sha256(row.path(column).read_bytes()).hexdigest()
        for column in ("t1w", "t2w", "mask", "tissues")
    }
    np.testing.assert_array_equal(subject.images["t1w"].array, t1w.array)


def test_without_a_mask_the_first_contrast_decides(row):
    unmasked = ManifestRow("p1", paths={"t1w": row.path("t1w"), "t2w": row.path("t2w")})
    subject = read_subject(unmasked, ["t2w", "t1w"])
    assert subject.mask.rule == "nonzero"
    np.testing.assert_array_equal(subject.mask.array, brain_mask(subject.images["t2w"]).array)


def test_a_raw_subject_may_lie_on_several_grids(row, tmp_path):
    write_image(tmp_path / "t2w.nii.gz", brain_pair(0, shape=(33, 35, 31))[1])
    raw = read_raw_subject(row, ["t1w", "t2w"])
    assert raw.images["t2w"].array.shape == (33, 35, 31)
    with pytest.raises(SubjectError, match=r"subject p1/s2: `t2w` has shape \(33, 35, 31\)"):
        read_subject(row, ["t1w", "t2w"])


def test_a_missing_contrast_is_named(row):
    with pytest.raises(ManifestError, match="subject p1/s2: no `flair` is given"):
        read_subject(row, ["t1w", "flair"])


def test_images_on_different_grids_name_the_difference():
    t1w, t2w = brain_pair(0)
    check_one_grid({"t1w": t1w, "t2w": t2w}, name="p1")
    with pytest.raises(SubjectError, match=r"subject p1: `t2w` has shape \(31, 37, 28\) and `t1w` \(31, 37, 29\)"):
        check_one_grid({"t1w": t1w, "t2w": t2w.with_array(t2w.array[..., 1:])}, name="p1")
    with pytest.raises(SubjectError, match="another affine"):
        check_one_grid({"t1w": t1w, "t2w": Image(t2w.array, oblique_affine(degrees=12))}, name="p1")
