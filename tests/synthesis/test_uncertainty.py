import json
import math

import nibabel as nib
import numpy as np
import pytest
import torch

from tests.conftest import oblique_affine, write_cohort
from volumetric.config.inference import InferenceOptions
from volumetric.errors import InputError
from volumetric.model.folder import load_model, save_model
from volumetric.model.networks import build_network
from volumetric.model.predict import Model
from volumetric.model.uncertainty import Calibration, UncertaintySpec
from volumetric.outputs import hash_file
from volumetric.synthesis.infer import infer

WITH = InferenceOptions(device="cpu", uncertainty=True)
FACTOR = 2.5


@pytest.fixture(scope="module")
def model_folder(run_folder, tmp_path_factory):
    """The model of that run with a second output, which learned nothing, and a factor."""
    spec = load_model(run_folder).spec
    calibration = Calibration(factor=FACTOR, num_subjects=4, coverage=0.91)
    uncertain = spec.model_copy(update={"uncertainty": UncertaintySpec(calibration=calibration)})
    folder = tmp_path_factory.mktemp("uncertain")
    torch.manual_seed(0)
    save_model(folder, build_network(spec.network, 1, 2), uncertain)
    return folder


class Steady(torch.nn.Module):
    """The source, and the same logarithm of a width everywhere."""

    def forward(self, volume):
        return torch.cat([volume[:, :1], torch.full_like(volume[:, :1], math.log(0.5))], 1)


def only(folder, pattern):
    (path,) = folder.rglob(pattern)
    return path


@pytest.mark.parametrize("engine", ["torch", "openvino"])
def test_the_volume_lies_beside_the_prediction_on_the_same_grid(model_folder, tmp_path, engine):
    if engine == "openvino":
        pytest.importorskip("openvino")
    cohort = write_cohort(tmp_path / "cohort", ["test"], affine=oblique_affine("PIR"))
    options = WITH.model_copy(update={"engine": engine})
    infer([cohort], model=model_folder, out=tmp_path / "out", options=options)
    image, half = (nib.load(only(tmp_path, f"sub-p0_desc-{name}_T2w.nii.gz")) for name in ("synth", "synthUncertainty"))
    assert half.shape == image.shape
    np.testing.assert_array_equal(half.affine, image.affine)
    brain = nib.load(only(tmp_path, "t1w.nii.gz")).get_fdata() != 0
    assert (half.get_fdata()[brain] > 0).all()
    assert not half.get_fdata()[~brain].any()
    record = json.loads(only(tmp_path, "sub-*.json").read_text())["uncertainty"]
    assert record == {
        "path": "sub-p0_desc-synthUncertainty_T2w.nii.gz",
        "sha256": hash_file(tmp_path / "out" / "sub-p0" / "anat" / "sub-p0_desc-synthUncertainty_T2w.nii.gz"),
        "nominal_coverage": 0.9, "factor": FACTOR, "num_calibration_subjects": 4,
    }  # fmt: skip


def test_the_engines_agree(model_folder, tmp_path):
    pytest.importorskip("openvino")
    cohort = write_cohort(tmp_path / "cohort", ["test"])
    found = []
    for engine in ("torch", "openvino"):
        infer([cohort], model=model_folder, out=tmp_path / engine, options=WITH.model_copy(update={"engine": engine}))
        found.append(nib.load(only(tmp_path / engine, "*Uncertainty*.nii.gz")).get_fdata())
    np.testing.assert_allclose(found[0], found[1], rtol=1e-3)


def test_the_half_width_is_the_factor_times_the_width_in_the_images_unit(model_folder, tmp_path):
    spec = load_model(model_folder).spec
    cohort = write_cohort(tmp_path, ["test"])
    scan = cohort.parent / "p0" / "t1w.nii.gz"
    prediction = Model(spec, Steady(), options=WITH).predict(scan)
    brain = nib.load(scan).get_fdata() != 0
    expected = 1000 * FACTOR * 0.5 * spec.target_map.scale
    np.testing.assert_allclose(prediction.uncertainty.array[brain], expected, rtol=1e-4)
    assert Model(spec, Steady()).predict(scan).uncertainty is None


def test_without_validation_subjects_the_factor_is_that_of_the_distribution():
    """90 % of a Laplace distribution of width 1 lie within 2.3026 of its middle."""
    assert UncertaintySpec().factor == pytest.approx(math.log(10))


def test_the_option_is_a_setting_like_the_others(model_folder, tmp_path):
    cohort = write_cohort(tmp_path / "cohort", ["test"])
    without = InferenceOptions(device="cpu")
    for options, status, num in ((WITH, "ok", 1), (WITH, "skipped", 1), (without, "ok", 0), (WITH, "ok", 1)):
        outcomes = infer([cohort], model=model_folder, out=tmp_path / "out", options=options)
        assert [outcome.status for outcome in outcomes] == [status]
        assert len(list((tmp_path / "out").rglob("*Uncertainty*"))) == num
    path = only(tmp_path, "*Uncertainty*.nii.gz")
    path.write_bytes(path.read_bytes()[:-9])
    assert infer([cohort], model=model_folder, out=tmp_path / "out", options=WITH)[0].status == "ok"


def test_a_model_without_says_the_way_out(run_folder, cohort, tmp_path):
    with pytest.raises(InputError, match=r"leave it out, or train with --set uncertainty\.weight=0\.25"):
        infer([cohort], model=run_folder, out=tmp_path / "out", options=WITH)
    assert not (tmp_path / "out").exists()
