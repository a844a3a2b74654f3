import gzip
import hashlib

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk

from tests.conftest import brain_pair, oblique_affine
from volumetric.imaging.header import ImageError
from volumetric.imaging.nifti import Image, read_image, read_labels, stem, write_image


@pytest.fixture
def volume():
    return np.random.default_rng(3).uniform(0, 900, (7, 8, 9)).astype(np.float32)


def test_round_trip_is_exact_and_seen_alike_by_nibabel_and_simpleitk(tmp_path, volume):
    affine = oblique_affine("PIR", spacing=(0.7, 3.0, 1.1))
    write_image(tmp_path / "a.nii.gz", Image(volume, affine))
    image = read_image(tmp_path / "a.nii.gz")
    np.testing.assert_array_equal(image.array, volume)
    np.testing.assert_allclose(image.affine, affine, atol=1e-5)
    np.testing.assert_array_equal(nib.load(tmp_path / "a.nii.gz").get_fdata(dtype=np.float32), volume)
    other = sitk.ReadImage(str(tmp_path / "a.nii.gz"))
    lps = np.diag([-1, -1, 1]) @ (affine[:3, :3] @ [2, 3, 4] + affine[:3, 3])
    np.testing.assert_allclose(other.TransformIndexToPhysicalPoint((2, 3, 4)), lps, atol=1e-4)
    assert other.GetPixel(2, 3, 4) == volume[2, 3, 4]


def test_writing_with_a_header_keeps_both_forms_codes_and_units(tmp_path, volume):
    source = nib.Nifti1Image(volume.astype(np.int16), oblique_affine("LAS"))
    source.set_qform(oblique_affine("LAS"), code=1)
    source.set_sform(oblique_affine("LAS", degrees=11.2), code=4)
    source.header.set_xyzt_units("mm", "sec")
    source.header["descrip"] = b"Jane Doe"
    source.header["scl_slope"], source.header["scl_inter"] = 2, 5
    nib.save(source, tmp_path / "source.nii.gz")
    image = read_image(tmp_path / "source.nii.gz")
    write_image(tmp_path / "copy.nii.gz", image.with_array(volume))
    header, before = nib.load(tmp_path / "copy.nii.gz").header, nib.load(tmp_path / "source.nii.gz").header
    assert (int(header["qform_code"]), int(header["sform_code"])) == (1, 4)
    np.testing.assert_array_equal(header.get_qform(), before.get_qform())
    np.testing.assert_array_equal(header.get_sform(), before.get_sform())
    assert header.get_xyzt_units() == ("mm", "sec")
    assert header.get_data_dtype() == np.float32
    assert header.get_slope_inter() == (1, 0) or header.get_slope_inter() == (None, None)
    assert b"Jane" not in gzip.decompress((tmp_path / "copy.nii.gz").read_bytes())


def test_slope_and_intercept_are_applied(tmp_path):
    nifti = nib.Nifti1Image(np.arange(24, dtype=np.int16).reshape(2, 3, 4), np.eye(4))
    nifti.header.set_slope_inter(2, 5)
    nib.save(nifti, tmp_path / "a.nii")
    stored = np.asarray(nib.load(tmp_path / "a.nii").dataobj.get_unscaled())
    np.testing.assert_allclose(read_image(tmp_path / "a.nii").array, stored * 2 + 5)


def test_equal_volumes_are_equal_bytes_under_any_name(tmp_path, volume):
    write_image(tmp_path / "a.nii.gz", Image(volume, np.eye(4)))
    write_image(tmp_path / "b.nii.gz", Image(volume.copy(order="F"), np.eye(4)))
    assert (tmp_path / "a.nii.gz").read_bytes() == (tmp_path / "b.nii.gz").read_bytes()


def test_nifti2_and_trailing_axes_of_one_are_read(tmp_path, volume):
    nib.save(nib.Nifti2Image(volume[..., None], oblique_affine()), tmp_path / "a.nii.gz")
    np.testing.assert_array_equal(read_image(tmp_path / "a.nii.gz").array, volume)


def test_masks_become_uint8_and_labels_are_checked(tmp_path, volume):
    write_image(tmp_path / "mask.nii.gz", Image(volume > 400, np.eye(4)))
    labels = read_labels(tmp_path / "mask.nii.gz")
    assert labels.array.dtype == np.uint8
    np.testing.assert_array_equal(labels.array, volume > 400)
    write_image(tmp_path / "scan.nii.gz", Image(volume, np.eye(4)))
    with pytest.raises(ImageError, match=r"scan\.nii\.gz.*whole numbers"):
        read_labels(tmp_path / "scan.nii.gz")


def test_a_4d_image_is_refused_by_name_and_shape(tmp_path):
    nib.save(nib.Nifti1Image(np.zeros((4, 5, 6, 2), np.float32), np.eye(4)), tmp_path / "bold.nii.gz")
    with pytest.raises(ImageError, match=r"bold\.nii\.gz: expected a 3D image, got shape \(4, 5, 6, 2\).*split"):
        read_image(tmp_path / "bold.nii.gz")


def test_nan_is_refused_with_count_and_place(tmp_path, volume):
    volume[1, 2, 3] = np.nan
    volume[6, 7, 8] = np.inf
    nib.save(nib.Nifti1Image(volume, np.eye(4)), tmp_path / "a.nii.gz")
    with pytest.raises(ImageError, match=r"2 of 504 voxels.*first at \(1, 2, 3\)"):
        read_image(tmp_path / "a.nii.gz")


def test_a_singular_affine_is_refused(tmp_path, volume):
    nifti = nib.Nifti1Image(volume, None)
    nifti.header["sform_code"] = 1
    nifti.header["srow_x"], nifti.header["srow_y"], nifti.header["srow_z"] = [1, 0, 0, 0], [1, 0, 0, 0], [0, 0, 1, 0]
    (tmp_path / "a.nii").write_bytes(nifti.to_bytes())
    with pytest.raises(ImageError, match="singular"):
        read_image(tmp_path / "a.nii")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.nii.gz", gzip.compress(b"not an image" * 100, mtime=0), "not a NIfTI file"),
        ("a.nii.gz", b"\x1f\x8b\x08\x00junk", "damaged"),
        ("a.nii", b"", "not a NIfTI file"),
        ("a.png", b"", r"ends in \.nii"),
    ],
)
def test_what_is_no_nifti_is_named(tmp_path, name, content, message):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ImageError, match=message):
        read_image(tmp_path / name)


def test_a_truncated_file_is_damaged_and_a_missing_one_is_missing(tmp_path, volume):
    write_image(tmp_path / "a.nii.gz", Image(volume, np.eye(4)))
    whole = (tmp_path / "a.nii.gz").read_bytes()
    (tmp_path / "half.nii.gz").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "half.nii").write_bytes(gzip.decompress(whole)[:900])
    for half in ("half.nii.gz", "half.nii"):
        with pytest.raises(ImageError, match="damaged"):
            read_image(tmp_path / half)
    with pytest.raises(ImageError, match="no such file"):
        read_image(tmp_path / "none.nii.gz")


def test_stem_drops_the_whole_ending(tmp_path):
    assert stem(tmp_path / "sub-1_T1w.nii.gz") == "sub-1_T1w"
    assert stem(tmp_path / "a.b.nii") == "a.b"


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize(("dtype", "written"), [(np.float64, np.float32), (bool, np.uint8)])
@pytest.mark.parametrize("name", ["x.nii", "x.nii.gz"])
def test_the_file_is_what_nibabel_writes(tmp_path, order, dtype, written, name):
    array = np.arange(5 * 7 * 3).reshape(5, 7, 3) % 11
    array = np.asarray(array > 4 if dtype is bool else array / 3, dtype, order)
    write_image(tmp_path / name, Image(array, oblique_affine()))
    header = nib.Nifti1Header()
    header.set_data_dtype(written)
    expected = nib.Nifti1Image(array.astype(written), oblique_affine(), header)
    expected.set_qform(oblique_affine(), 1)
    expected.set_sform(oblique_affine(), 1)
    expected.header.set_xyzt_units("mm")
    content = (tmp_path / name).read_bytes()
    assert (gzip.decompress(content) if name.endswith(".gz") else content) == expected.to_bytes()


def test_labels_above_255_are_not_wrapped(tmp_path):
    labels = np.array([0, 1, 255, 256, 2035, 65535]).reshape(1, 2, 3)
    write_image(tmp_path / "labels.nii.gz", Image(labels, np.eye(4)))
    assert read_labels(tmp_path / "labels.nii.gz", highest=65535).array.tolist() == labels.tolist()
    write_image(tmp_path / "labels.nii.gz", Image(labels.clip(max=255), np.eye(4)))
    assert nib.load(tmp_path / "labels.nii.gz").get_data_dtype() == np.uint8
    for beyond in (-1, 65536):
        with pytest.raises(ValueError, match=f"{beyond}"):
            write_image(tmp_path / "labels.nii.gz", Image(np.array([[[0, beyond]]]), np.eye(4)))


def test_the_hash_is_of_the_bytes_that_were_read(tmp_path):
    path = tmp_path / "scan.nii.gz"
    write_image(path, brain_pair(0)[0])
    image = read_image(path)
    assert image.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert image.with_array(image.array * 2).sha256 == image.sha256


@pytest.mark.parametrize("sign", [1, -1])
def test_attack_10_an_intercept_that_swallows_the_voxels_is_refused(tmp_path, sign):
    """Steps of float32 are 64 at 1e9 and 0.06 at 1e6."""
    voxels = np.arange(120, dtype=np.int16).reshape(4, 5, 6)
    image = nib.Nifti1Image(voxels, np.diag([2.0, 3, 4, 1]))
    for intercept, is_read in ((1e9, False), (1e7, False), (1e4, True)):
        image.header.set_slope_inter(1, sign * intercept)
        nib.save(image, tmp_path / "scan.nii.gz")
        if is_read:
            np.testing.assert_allclose(read_image(tmp_path / "scan.nii.gz").array, voxels + sign * intercept)
        else:
            with pytest.raises(ImageError, match=r"scan.nii.gz: the voxels lie between .* mend scl_inter"):
                read_image(tmp_path / "scan.nii.gz")
