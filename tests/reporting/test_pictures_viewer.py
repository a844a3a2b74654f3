import base64
import gzip
import io

import nibabel as nib
import numpy as np
import pytest
from PIL import Image as Picture

from tests.conftest import oblique_affine
from tests.reporting.conftest import write_images
from volumetric.imaging.nifti import Image, read_image, write_image
from volumetric.reporting import viewer
from volumetric.reporting.pictures import Drawing, PicturesError, read_head
from volumetric.reporting.results import read_results

SHAPE = (7, 8, 9)


def unpacked(text):
    return nib.Nifti1Image.from_bytes(gzip.decompress(base64.b64decode(text)))


def volumes(seed=0, low=0.0):
    rng = np.random.default_rng(seed)
    mask = np.zeros(SHAPE, bool)
    mask[1:6, 2:7, 1:8] = True
    return [np.where(mask, rng.uniform(low, 2.5, SHAPE), 0).astype(np.float32) for _ in range(3)], mask


@pytest.mark.parametrize("low", [0.0, -0.3])
def test_embedded_volumes_are_the_real_ones_to_half_a_step(low):
    (source, truth, prediction), mask = volumes(low=low)
    affine = oblique_affine()
    packed = viewer.pack(source, truth, prediction, mask, affine)
    step = packed.loss.step
    for real, text in ((source, packed.source), (truth, packed.truth), (prediction, packed.prediction)):
        image = unpacked(text)
        assert image.get_data_dtype() == np.uint8
        np.testing.assert_allclose(image.affine, affine, atol=1e-5)
        np.testing.assert_allclose(image.header.get_qform(), affine, atol=1e-4)
        values = image.get_fdata()
        assert np.abs(values - real).max() <= 0.501 * image.dataobj.slope
        np.testing.assert_allclose(values[~mask], 0, atol=1e-6)
    shown = [unpacked(text).get_fdata()[mask] for text in (packed.truth, packed.prediction)]
    real = [volume[mask] for volume in (truth, prediction)]
    apart = np.abs(np.concatenate(shown) - np.concatenate(real))
    assert packed.loss.largest == pytest.approx(apart.max(), rel=1e-4)
    assert packed.loss.mean == pytest.approx(apart.mean(), rel=1e-4)
    assert packed.loss.mae == pytest.approx(np.abs(real[1] - real[0]).mean(), rel=1e-6)
    assert packed.loss.mae_shown == pytest.approx(np.abs(shown[1] - shown[0]).mean(), rel=1e-5)
    assert packed.loss.clipped == 0
    assert step == pytest.approx((max(v.max() for v in real) - min(0, *(v.min() for v in real))) / 254, rel=1e-6)


def test_truth_and_prediction_share_their_levels_so_that_the_error_is_a_difference_of_levels():
    (source, real, other), mask = volumes()
    packed = viewer.pack(source, real, other * np.float32(0.3), mask, np.eye(4))
    truth, prediction = (unpacked(text).dataobj for text in (packed.truth, packed.prediction))
    assert (truth.slope, truth.inter) == (prediction.slope, prediction.inter)


def test_an_outlier_is_clipped_and_said_so_rather_than_making_all_steps_coarse():
    rng = np.random.default_rng(1)
    truth = rng.uniform(0.5, 1, (12, 13, 14)).astype(np.float32)
    prediction = truth.copy()
    prediction[3, 4, 5] = 400
    packed = viewer.pack(truth, truth, prediction, np.ones(truth.shape, bool), np.eye(4))
    assert packed.loss.step < 2 / 200
    assert packed.loss.clipped == pytest.approx(1 / (2 * truth.size))
    assert packed.loss.largest > 390


def test_equal_volumes_give_equal_text():
    (source, truth, prediction), mask = volumes()
    assert viewer.pack(source, truth, prediction, mask, np.eye(4)) != viewer.pack(
        truth, truth, prediction, mask, np.eye(4)
    )
    first, second = (viewer.pack(source, truth, prediction, mask, np.eye(4)) for _ in range(2))
    assert (first.source, first.truth, first.loss) == (second.source, second.truth, second.loss)


def test_the_viewers_program_is_there_and_cannot_end_its_script():
    program = viewer.niivue_script()
    assert "Niivue" in program
    assert "</script" not in program.lower()
    assert "<!--" not in program


def test_without_the_viewers_program_the_way_out_is_named(monkeypatch, tmp_path):
    monkeypatch.setattr(viewer, "find_spec", lambda name: None)
    with pytest.raises(viewer.ViewerError, match="pip install"):
        viewer.niivue_script()
    spec = type("Spec", (), {"origin": str(tmp_path / "__init__.py")})
    monkeypatch.setattr(viewer, "find_spec", lambda name: spec)
    with pytest.raises(viewer.ViewerError, match="--viewer none"):
        viewer.niivue_script()


@pytest.mark.parametrize("orientation", ["RAS", "LAS", "PIR"])
def test_the_cropped_head_lies_where_the_scan_does(orientation, tmp_path):
    """A bright voxel keeps its place in the world, whatever order its axes had."""
    images = write_images(tmp_path, 3, orientation)
    truth = read_image(tmp_path / "truth.nii.gz")
    where = (11, 20, 13)
    truth.array[where] = 50 * truth.array.max()
    write_image(tmp_path / "truth.nii.gz", truth)
    head = read_head(images, name="a")
    assert nib.aff2axcodes(head.affine) == ("R", "A", "S")
    brightest = np.unravel_index(head.truth.argmax(), head.truth.shape)
    np.testing.assert_allclose(head.affine @ [*brightest, 1], truth.affine @ [*where, 1], atol=1e-6)
    assert head.mask.size < truth.array.size
    assert head.mask.sum() == (read_image(tmp_path / "source.nii.gz").array != 0).sum()
    for volume in (head.source, head.truth, head.prediction):
        assert volume.shape == head.mask.shape
        assert not volume[~head.mask].any()
    assert np.median(head.source[head.mask]) == pytest.approx(1)


def test_a_given_mask_decides_what_is_shown(tmp_path):
    images = write_images(tmp_path, 3)
    source = read_image(tmp_path / "source.nii.gz")
    mask = np.zeros(source.array.shape, np.uint8)
    mask[10:20, 12:20, 9:16] = 1
    write_image(tmp_path / "mask.nii.gz", Image(mask, source.affine))
    head = read_head(images | {"mask": str(tmp_path / "mask.nii.gz")}, name="a")
    assert head.mask.sum() == 10 * 8 * 7


def test_what_cannot_be_shown_says_why(tmp_path):
    images = write_images(tmp_path, 0)
    for broken, sentence in [
        (None, "names no images"),
        ({"source": images["source"]}, "names no images"),
        (images | {"truth": {"path": None, "divisor": 1}}, "has no path"),
        (images | {"truth": images["truth"] | {"divisor": 0}}, "expected a positive number"),
        (images | {"truth": images["truth"] | {"divisor": None}}, "expected a positive number"),
    ]:
        with pytest.raises(PicturesError, match=sentence):
            read_head(broken, name="a")
    truth = read_image(tmp_path / "truth.nii.gz")
    write_image(tmp_path / "truth.nii.gz", Image(truth.array[:-1], truth.affine))
    with pytest.raises(PicturesError, match="different grids"):
        read_head(images, name="a")


def test_a_drawing_is_a_montage_and_on_demand_volumes(evaluation):
    task = Drawing(read_results(evaluation), with_viewer=False)
    pictures = task.compute("a1", task.read("a1"))
    assert pictures.volumes is None
    with Picture.open(io.BytesIO(base64.b64decode(pictures.montage))) as montage:
        assert montage.format == "WEBP"
        assert montage.width > 900
        pixels = np.asarray(montage.convert("RGB")).astype(int)
    colored = np.abs(pixels[..., 0] - pixels[..., 2]) > 60
    assert colored[:, : montage.width // 2].mean() < 0.001  # source and truth are gray
    assert colored[:, 3 * montage.width // 4 :].mean() > 0.02  # the error is red and blue
