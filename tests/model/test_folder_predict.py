import shutil

import numpy as np
import pytest
import torch
import yaml
from safetensors.torch import load_file, save_file

from tests.conftest import ORIENTATIONS, brain_pair, oblique_affine
from volumetric.errors import InputError
from volumetric.imaging.geometry import same_space
from volumetric.imaging.intensity import IntensityError
from volumetric.imaging.nifti import Image, write_image
from volumetric.model.device import DeviceError, pick_device
from volumetric.model.folder import ModelError, load_model, save_model
from volumetric.model.plausibility import PredictionError
from volumetric.model.predict import Model
from volumetric.model.spec import AffineMap


class Constant(torch.nn.Module):
    """Network units that are the same everywhere."""

    def __init__(self, value):
        super().__init__()
        self.value = value

    def forward(self, volume):
        return torch.full_like(volume[:, :1], self.value)


class Identity(torch.nn.Module):
    """The first source."""

    def forward(self, volume):
        return volume[:, :1]


@pytest.fixture
def spec(run_folder):
    return load_model(run_folder).spec


def test_a_model_folder_reads_back_as_written(run_folder, tmp_path):
    model = load_model(run_folder)
    save_model(tmp_path, model.network, model.spec)
    assert (tmp_path / "model.safetensors").read_bytes() == (run_folder / "model" / "model.safetensors").read_bytes()
    again = load_model(tmp_path)
    assert again.spec == model.spec
    assert again.sha256 == model.sha256
    t1w, _ = brain_pair(9)
    np.testing.assert_array_equal(again.predict(t1w).image.array, model.predict(t1w).image.array)


@pytest.mark.parametrize("orientation", ORIENTATIONS)
@pytest.mark.parametrize("shape", [(31, 37, 29), (12, 50, 20)])
def test_a_prediction_lies_on_the_scans_grid_and_is_zero_outside_the_brain(spec, orientation, shape):
    t1w, _ = brain_pair(3, shape=shape, affine=oblique_affine(orientation))
    model = Model(spec, Constant(0.5))
    model_input = model.preprocess(t1w)
    prediction = model.postprocess(model_input, model.forward(model_input))
    assert same_space(prediction.image.space, t1w.space, tolerance_mm=0)
    assert prediction.image.array.dtype == np.float32
    brain = t1w.array != 0
    value = 1000 * (0.5 * spec.target_map.scale + spec.target_map.center)
    np.testing.assert_allclose(prediction.image.array[brain], value, rtol=1e-4)
    assert (prediction.image.array[~brain] == 0).all()


@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_an_identity_network_at_the_scans_spacing_returns_the_scan(spec, orientation):
    t1w, _ = brain_pair(4, affine=oblique_affine(orientation))
    brain = t1w.array != 0
    units = t1w.array / np.median(t1w.array[brain])
    undo_zscore = AffineMap(center=float(units[brain].mean()), scale=float(units[brain].std()))
    own = spec.model_copy(update={"spacing_mm": None, "target_map": undo_zscore})
    prediction = Model(own, Identity()).predict(t1w)
    expected = 1000 * units
    np.testing.assert_allclose(prediction.image.array[brain], expected[brain], rtol=1e-5)


def test_negative_network_output_is_no_negative_signal(spec):
    t1w, _ = brain_pair(4)
    model = Model(spec, Constant(-50.0))
    model_input = model.preprocess(t1w)
    units = model.forward(model_input)
    assert units.min() < 0
    assert model.postprocess(model_input, units).image.array.max() == 0


@pytest.mark.parametrize("value", [0.5, -50.0, np.nan, np.inf])
def test_a_network_that_says_nothing_gives_no_prediction(spec, value):
    t1w, _ = brain_pair(4)
    with pytest.raises(PredictionError, match="constant" if np.isfinite(value) else "NaN"):
        Model(spec, Constant(value)).predict(t1w)


def test_files_paths_and_mappings_are_the_same_input(run_folder, tmp_path):
    model, (t1w, _) = load_model(run_folder), brain_pair(5)
    write_image(tmp_path / "t1w.nii.gz", t1w)
    results = [model.predict(source).image.array for source in (t1w, tmp_path / "t1w.nii.gz", {"t1w": t1w})]
    np.testing.assert_allclose(results[0], results[1], rtol=1e-4, atol=0.05)  # the file's affine is float32
    np.testing.assert_array_equal(results[0], results[2])
    with pytest.raises(InputError, match="needs t1w; t1w not given"):
        model.predict({"t2w": t1w})


def test_scans_unlike_the_training_scans_are_warned_about(spec):
    t1w, t2w = brain_pair(0)
    model = Model(spec, Identity())
    assert model.predict(t1w).warnings == ()
    coarse = Image(t1w.array, oblique_affine(spacing=(4.0, 5.0, 9.0)))
    assert "far outside those of the training scans" in model.predict(coarse).warnings[0]
    assert any("intensities" in warning for warning in model.predict(t2w).warnings)


def test_folders_without_a_usable_model_say_what_is_wrong(run_folder, tmp_path):
    with pytest.raises(ModelError, match=r"no model\.yaml there"):
        load_model(tmp_path)
    folder = tmp_path / "model"
    shutil.copytree(run_folder / "model", folder)
    text = (folder / "model.yaml").read_text()
    (folder / "model.yaml").write_text(text.replace("format_version: 1", "format_version: 9"))
    with pytest.raises(ModelError, match=r"format_version is 9, this version of volumetric reads 1"):
        load_model(folder)
    (folder / "model.yaml").write_text(text.replace("channels: [8, 16]", "channels: [8, 24]"))
    with pytest.raises(ModelError, match="do not fit"):
        load_model(folder)
    (folder / "model.yaml").write_text(text.replace("target: t2w", "target: t3w"))
    with pytest.raises(ModelError, match="`target`"):
        load_model(folder)
    for broken in ("[" * 5000, "{a: &x [1], b: *x}", "a: [", "x" * 200_000):
        (folder / "model.yaml").write_text(broken)
        with pytest.raises(ModelError, match="not a YAML file of a model"):
            load_model(folder)
    (folder / "model.yaml").write_text(text)
    (folder / "model.safetensors").write_bytes((folder / "model.safetensors").read_bytes()[:100])
    with pytest.raises(ModelError, match="damaged"):
        load_model(folder)
    (folder / "model.safetensors").unlink()
    with pytest.raises(ModelError, match=r"model\.safetensors is missing"):
        load_model(tmp_path)


def test_weights_of_another_kind_of_number_are_refused(run_folder, tmp_path):
    """Complex weights would lose their imaginary part, whole numbers their fraction."""
    folder = tmp_path / "model"
    shutil.copytree(run_folder / "model", folder)
    tensors = load_file(folder / "model.safetensors")
    for dtype in (torch.complex64, torch.int32):
        save_file({name: tensor.to(dtype) for name, tensor in tensors.items()}, folder / "model.safetensors")
        with pytest.raises(ModelError, match=rf"holds {dtype} numbers, expected torch\.float32"):
            load_model(folder)


def test_a_source_without_signal_is_named_by_its_contrast(spec):
    t1w = brain_pair(0)[0]
    with pytest.raises(IntensityError, match="the t1w image: the median inside the brain mask is -"):
        Model(spec, Identity()).predict(t1w.with_array(-t1w.array))


def test_the_model_file_holds_no_training_key(run_folder):
    content = yaml.safe_load((run_folder / "model" / "model.yaml").read_text())
    assert not {"optim", "augmentation", "validation", "seed"} & content.keys()
    assert content["data_range"] > 1


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_a_device_that_is_not_there_is_named():
    assert pick_device("auto").type == "cpu"
    with pytest.raises(DeviceError, match="no CUDA device"):
        pick_device("cuda")
