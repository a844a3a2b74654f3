"""Images of a subject: where they lie, which mask applies, and why they cannot be shown."""

import base64
import io

import nibabel as nib
import numpy as np
import pytest
from PIL import Image as PillowImage

from tests.reporting.conftest import key_of, write_images, write_subject
from volumetric.errors import InputError
from volumetric.imaging.nifti import Image, read_image, write_image
from volumetric.records.evaluation import ScoredImages
from volumetric.records.table import SessionKey
from volumetric.reporting.images import MakeFigures, read_images


def read(images):
    return read_images(ScoredImages.model_validate(images), SessionKey("a"))


@pytest.mark.parametrize("orientation", ["RAS", "LAS", "PIR"])
def test_the_cropped_images_lie_where_the_scan_does(orientation, tmp_path):
    """A bright voxel keeps its place in the world, whatever order its axes had."""
    images = write_images(tmp_path, 3, orientation)
    truth = read_image(tmp_path / "truth.nii.gz")
    where = (11, 20, 13)
    truth.array[where] = 50 * truth.array.max()
    write_image(tmp_path / "truth.nii.gz", truth)
    cropped = read(images)
    assert nib.aff2axcodes(cropped.affine) == ("R", "A", "S")
    brightest = np.unravel_index(cropped.truth.argmax(), cropped.truth.shape)
    np.testing.assert_allclose(cropped.affine @ [*brightest, 1], truth.affine @ [*where, 1], atol=1e-6)
    assert cropped.mask.size < truth.array.size
    assert cropped.mask.sum() == (read_image(tmp_path / "source.nii.gz").array != 0).sum()
    for volume in (cropped.source, cropped.truth, cropped.prediction):
        assert volume.shape == cropped.mask.shape
        assert not volume[~cropped.mask].any()
    assert np.median(cropped.source[cropped.mask]) == pytest.approx(1)


def test_a_given_mask_decides_what_is_shown(tmp_path):
    images = write_images(tmp_path, 3)
    source = read_image(tmp_path / "source.nii.gz")
    mask = np.zeros(source.array.shape, np.uint8)
    mask[10:20, 12:20, 9:16] = 1
    write_image(tmp_path / "mask.nii.gz", Image(mask, source.affine))
    cropped = read(images | {"mask": str(tmp_path / "mask.nii.gz")})
    assert cropped.mask.sum() == 10 * 8 * 7


def test_what_cannot_be_shown_says_why(tmp_path):
    images = write_images(tmp_path, 0)
    with pytest.raises(InputError, match="subject a: the divisor of the truth is 0, expected a positive number"):
        read(images | {"truth": images["truth"] | {"divisor": 0}})
    truth = read_image(tmp_path / "truth.nii.gz")
    write_image(tmp_path / "truth.nii.gz", Image(truth.array[:-1], truth.affine))
    with pytest.raises(InputError, match="subject a: `truth` has shape"):
        read(images)


def test_the_figure_is_a_montage_and_volumes_only_for_a_viewer(evaluation):
    task = MakeFigures(evaluation, with_viewer=False)
    figures = task.compute(key_of("a1"), task.read(key_of("a1")))
    assert figures.volumes is None
    with PillowImage.open(io.BytesIO(base64.b64decode(figures.montage))) as montage:
        assert montage.format == "WEBP"
        assert montage.width > 900
        pixels = np.asarray(montage.convert("RGB")).astype(int)
    colored = np.abs(pixels[..., 0] - pixels[..., 2]) > 60
    assert colored[:, : montage.width // 2].mean() < 0.001  # source and truth are gray
    assert colored[:, 3 * montage.width // 4 :].mean() > 0.02  # the error is red and blue


def test_subject_a_session_b_and_subject_a_b_have_images_of_their_own(tmp_path):
    for seed, name in enumerate(("a/b", "a_b")):
        write_subject(tmp_path, name, write_images(tmp_path / str(seed), seed))
    task = MakeFigures(tmp_path, with_viewer=False)
    first, second = (task.read(key_of(name)).source for name in ("a/b", "a_b"))
    assert not np.array_equal(first, second)
    for seed, name in enumerate(("a/b", "a_b")):
        own = read_images(ScoredImages.model_validate(write_images(tmp_path / str(seed), seed)), key_of(name))
        np.testing.assert_array_equal(task.read(key_of(name)).source, own.source)
