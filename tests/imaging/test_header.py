"""A header is checked before its voxels are read: what it claims must be possible, small enough and meant."""

import gzip
import tracemalloc

import nibabel as nib
import numpy as np
import pytest

from tests.conftest import oblique_affine
from volumetric.imaging.header import ImageError
from volumetric.imaging.nifti import Image, read_image, read_space

SHAPE = (7, 9, 8)


def write_header(path, *, nifti=nib.Nifti1Image, voxels=None, **fields):
    """A file of int16 zeros whose header says otherwise in `fields`."""
    header = nifti.header_class()
    header.set_data_dtype(np.int16)
    image = nifti(np.zeros(SHAPE, np.int16), oblique_affine(), header)
    start = bytearray(image.to_bytes()[: nifti.header_class.single_vox_offset])
    changed = nifti.header_class(bytes(start[: header.structarr.nbytes]), check=False)
    for key, value in fields.items():
        changed[key] = value
    start[: header.structarr.nbytes] = changed.binaryblock
    content = bytes(start) + (bytes(2 * np.prod(SHAPE)) if voxels is None else voxels)
    path.write_bytes(gzip.compress(content, 1) if path.name.endswith(".gz") else content)
    return path


def refused(path, message):
    """Both readers give the same one-line error."""
    for read in (read_image, read_space):
        with pytest.raises(ImageError, match=message) as caught:
            read(path)
        assert str(caught.value).startswith(f"{path}: ")
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("ending", [".nii", ".nii.gz"])
@pytest.mark.parametrize("kind", [nib.Nifti1Image, nib.Nifti2Image])
def test_the_grid_is_read_without_the_voxels(tmp_path, kind, ending):
    path = tmp_path / f"scan{ending}"
    affine = oblique_affine("PIR")
    kind(np.zeros((7, 9, 8, 1), np.int16), affine).to_filename(path)
    space = read_space(path)
    assert space.shape == (7, 9, 8)
    np.testing.assert_allclose(space.affine, read_image(path).affine)


def test_the_grid_of_a_file_that_is_no_3d_image_is_refused(tmp_path):
    nib.Nifti1Image(np.zeros((7, 9, 8, 2), np.int16), np.eye(4)).to_filename(tmp_path / "4d.nii.gz")
    with pytest.raises(ImageError, match="expected a 3D image"):
        read_space(tmp_path / "4d.nii.gz")
    (tmp_path / "text.nii.gz").write_text("no image")
    with pytest.raises(ImageError, match="not a NIfTI file"):
        read_space(tmp_path / "text.nii.gz")
    with pytest.raises(ImageError, match="no such file"):
        read_space(tmp_path / "absent.nii.gz")


def test_extensions_between_header_and_voxels_are_passed_over(tmp_path):
    image = nib.Nifti1Image(np.arange(np.prod(SHAPE), dtype=np.int16).reshape(SHAPE), oblique_affine())
    image.header.extensions.append(nib.nifti1.Nifti1Extension("comment", b"x" * 5000))
    image.to_filename(tmp_path / "scan.nii.gz")
    assert read_space(tmp_path / "scan.nii.gz").shape == SHAPE
    np.testing.assert_array_equal(read_image(tmp_path / "scan.nii.gz").array, image.get_fdata())


@pytest.mark.parametrize("name", ["scan.nii", "scan.nii.gz"])
@pytest.mark.parametrize("side", [2**40, 2**62])
def test_absurd_dimensions_are_refused_before_voxels_are_read(tmp_path, side, name):
    path = write_header(tmp_path / name, nifti=nib.Nifti2Image, dim=[3, side, side, 8, 1, 1, 1, 1])
    refused(path, f"claims {side} x {side} x 8 voxels of 2 bytes, expected at most 2 GiB")


def test_a_header_of_1500_x_1500_x_1000_voxels_is_refused(tmp_path):
    path = write_header(tmp_path / "scan.nii.gz", dim=[3, 1500, 1500, 1000, 1, 1, 1, 1])
    refused(path, "claims 1500 x 1500 x 1000 voxels")


@pytest.mark.parametrize("side", [0, -5])
def test_a_side_without_voxels_is_refused(tmp_path, side):
    refused(write_header(tmp_path / "scan.nii", dim=[3, 4, side, 8, 1, 1, 1, 1]), "the image has no voxels")


@pytest.mark.parametrize("offset", [np.inf, np.nan, 1e30, -352])
def test_an_impossible_voxel_offset_is_refused(tmp_path, offset):
    refused(write_header(tmp_path / "scan.nii.gz", vox_offset=offset), "says that voxels begin at byte")


@pytest.mark.parametrize(
    ("size", "message"),
    [
        (1e15, "voxel size 1e\\+15 mm"),
        (2000, "voxel size 2000 mm, expected 0.05 to 50 mm"),
        (0.001, "voxel size 0.001 mm"),
        (0, "voxel size 0 mm"),
        (np.nan, "voxel size nan mm"),
        (np.inf, "voxel size inf mm"),
    ],
)
@pytest.mark.parametrize("code", [0, 1])
def test_an_impossible_voxel_size_is_named(tmp_path, size, message, code):
    pixdim = [1, size, size, size, 1, 1, 1, 1]
    refused(write_header(tmp_path / "scan.nii.gz", pixdim=pixdim, sform_code=0, qform_code=code), message)


def test_one_impossible_side_of_a_voxel_is_named_with_the_others(tmp_path):
    path = write_header(tmp_path / "scan.nii", srow_x=[2000, 0, 0, 0], srow_y=[0, 1, 0, 0], srow_z=[0, 0, 1, 0])
    refused(path, "voxel size 2000 x 1 x 1 mm")


def peak_bytes(call):
    """The most memory that Python allocated at once during a call."""
    tracemalloc.start()
    try:
        call()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_a_gzip_bomb_is_refused_without_decompressing_it(tmp_path):
    path = write_header(tmp_path / "scan.nii.gz", voxels=bytes(2**27))

    def read():
        with pytest.raises(ImageError, match="decompresses to more than the 1360 bytes that its header claims"):
            read_image(path)

    assert peak_bytes(read) < 2**23


def test_a_header_that_claims_more_than_its_compressed_bytes_can_hold_is_refused(tmp_path):
    path = write_header(tmp_path / "scan.nii.gz", dim=[3, 900, 900, 900, 1, 1, 1, 1], datatype=2, bitpix=8)
    with pytest.raises(ImageError, match="claims 900 x 900 x 900"):
        read_image(path)
    path = write_header(tmp_path / "scan.nii.gz", dim=[3, 500, 500, 500, 1, 1, 1, 1])

    def read():
        with pytest.raises(ImageError, match=r"the file is damaged \(the header claims 250000352 bytes, which"):
            read_image(path)

    assert peak_bytes(read) < 2**23


def test_padding_after_the_voxels_is_passed_over(tmp_path):
    path = write_header(tmp_path / "scan.nii.gz", voxels=bytes(2 * np.prod(SHAPE) + 5000))
    assert read_image(path).array.shape == SHAPE


def test_a_scale_that_overflows_is_refused_as_infinite(tmp_path):
    voxels = np.full(SHAPE, 1000, np.int16).tobytes()
    with pytest.raises(ImageError, match="504 of 504 voxels are NaN or infinite"):
        read_image(write_header(tmp_path / "scan.nii", voxels=voxels, scl_slope=3e38, scl_inter=0))


def test_complex_voxels_do_not_lose_their_imaginary_part_without_a_word(tmp_path):
    nib.Nifti1Image(np.full((5, 6, 7), 1 + 2j, np.complex64), np.eye(4)).to_filename(tmp_path / "complex.nii.gz")
    with pytest.raises(ImageError, match="the voxels hold complex numbers"):
        read_image(tmp_path / "complex.nii.gz")


def test_colors_are_one_clear_error(tmp_path):
    rgb = np.zeros((5, 6, 7), np.dtype([("R", "u1"), ("G", "u1"), ("B", "u1")]))
    nib.Nifti1Image(rgb, np.eye(4)).to_filename(tmp_path / "rgb.nii.gz")
    with pytest.raises(ImageError, match=r"the voxels hold colors \(RGB\)"):
        read_image(tmp_path / "rgb.nii.gz")


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"datatype": 511}, "the header's datatype is 511, none of NIfTI's"),
        ({"datatype": -5}, "the header's datatype is -5, none of NIfTI's"),
        ({"datatype": 0}, "the voxels hold values of the datatype 0, expected real numbers"),
        ({"scl_slope": np.inf}, "voxels are scaled by inf"),
        ({"srow_x": [1, 0, 0, 1e30]}, "the first voxel lies at 1e\\+30 x .* mm, expected at most 10000 mm"),
    ],
)
def test_item_9_a_header_that_nibabel_has_no_word_for_is_one_sentence(tmp_path, fields, message):
    refused(write_header(tmp_path / "scan.nii.gz", **fields), message)


def test_item_9_a_number_of_axes_that_turns_the_byte_order_is_one_sentence(tmp_path):
    refused(
        write_header(tmp_path / "scan.nii", dim=[8, *SHAPE, 1, 1, 1, 1], datatype=16),
        "datatype is 4096, none of NIfTI's",
    )


@pytest.mark.parametrize(("nifti", "size"), [(nib.Nifti1Image, 348), (nib.Nifti2Image, 540)])
def test_item_9_a_header_that_is_cut_short_is_one_sentence(tmp_path, nifti, size):
    path = write_header(tmp_path / "scan.nii", nifti=nifti)
    path.write_bytes(path.read_bytes()[:200])
    refused(path, rf"the file is damaged \(a header has {size} bytes, there are 200\)")


def test_a_side_that_a_prediction_cannot_be_written_with_is_refused(tmp_path):
    nib.save(nib.Nifti2Image(np.zeros((32768, 2, 3), np.uint8), np.eye(4)), tmp_path / "scan.nii.gz")
    refused(tmp_path / "scan.nii.gz", "claims 32768 x 2 x 3 voxels, expected at most 32767 a side")


def test_forms_that_disagree_are_measured():
    affine = oblique_affine()
    header = nib.Nifti1Image(np.zeros((5, 6, 7), np.float32), affine).header
    header.set_sform(affine, 1)
    header.set_qform(affine, 1)
    image = Image(np.zeros((5, 6, 7), np.float32), affine, header)
    assert image.warnings == []
    shifted = affine.copy()
    shifted[:3, 3] += [3, 0, 4]
    header.set_qform(shifted, 1)
    (warning,) = image.warnings
    assert "up to 5.0 mm apart" in warning
    assert Image(image.array, affine).warnings == []


def test_a_header_without_codes_does_not_say_where_left_is():
    header = nib.Nifti1Header()
    header.set_data_shape((5, 6, 7))
    (warning,) = Image(np.zeros((5, 6, 7), np.float32), oblique_affine(), header).warnings
    assert "codes are 0, so left and right may be swapped" in warning
    header.set_qform(oblique_affine(), 1)
    assert Image(np.zeros((5, 6, 7), np.float32), oblique_affine(), header).warnings == []


def test_a_damaged_quaternion_beside_a_good_sform_is_one_warning():
    header = nib.Nifti1Header()
    header.set_sform(oblique_affine(), 1)
    header.set_qform(oblique_affine(), 1)
    header["quatern_b"] = 5
    (warning,) = Image(np.zeros((5, 6, 7), np.float32), oblique_affine(), header).warnings
    assert "damaged qform" in warning


@pytest.mark.parametrize(("kind", "offset"), [(nib.Nifti1Image, 0), (nib.Nifti1Image, 348), (nib.Nifti2Image, 352)])
@pytest.mark.parametrize("magic", ["n+1", "ni1"])
def test_voxels_that_would_begin_inside_the_header_are_refused(tmp_path, kind, offset, magic):
    path = write_header(tmp_path / "scan.nii", nifti=kind, vox_offset=offset, magic=magic)
    refused(path, f"voxels begin at byte {offset}, expected .* mend vox_offset")


@pytest.mark.parametrize(("code", "unit"), [(1, "meters"), (3, "micrometers"), (2, ""), (0, "")])
def test_a_unit_but_millimeters_is_a_warning(code, unit):
    header = nib.Nifti1Header()
    header.set_sform(oblique_affine(), 1)
    header["xyzt_units"] = code + 8  # and seconds
    warnings = Image(np.zeros((5, 6, 7), np.float32), oblique_affine(), header).warnings
    assert [f"header names {unit} as its unit" in warning for warning in warnings] == [True] * bool(unit)
