"""Volumes of 8 bits: their error, and the program that shows them."""

import base64
import gzip

import nibabel as nib
import numpy as np
import pytest

from tests.conftest import oblique_affine
from volumetric.reporting import viewer

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
    step = packed.error.step
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
    assert packed.error.largest == pytest.approx(apart.max(), rel=1e-4)
    assert packed.error.mean == pytest.approx(apart.mean(), rel=1e-4)
    assert packed.error.mae == pytest.approx(np.abs(real[1] - real[0]).mean(), rel=1e-6)
    assert packed.error.mae_shown == pytest.approx(np.abs(shown[1] - shown[0]).mean(), rel=1e-5)
    assert packed.error.clipped == 0
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
    assert packed.error.step < 2 / 200
    assert packed.error.clipped == pytest.approx(1 / (2 * truth.size))
    assert packed.error.largest > 390


def test_equal_volumes_give_equal_text():
    (source, truth, prediction), mask = volumes()
    assert viewer.pack(source, truth, prediction, mask, np.eye(4)) != viewer.pack(
        truth, truth, prediction, mask, np.eye(4)
    )
    first, second = (viewer.pack(source, truth, prediction, mask, np.eye(4)) for _ in range(2))
    assert (first.source, first.truth, first.error) == (second.source, second.truth, second.error)


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
