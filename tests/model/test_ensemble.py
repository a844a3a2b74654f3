"""Means over mirrored windows, models and weights, each against its definition."""

import json

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from tests.conftest import brain_pair
from volumetric.cli import app
from volumetric.config.inference import InferenceOptions
from volumetric.config.resolve import with_values
from volumetric.learning.train import train
from volumetric.model.average import average
from volumetric.model.ensemble import load_models, mixture_half_width
from volumetric.model.flips import over_flips
from volumetric.model.folder import load_model, save_model
from volumetric.model.spec import ModelError
from volumetric.outputs import OutputError, hash_file
from volumetric.synthesis.infer import infer

TORCH = InferenceOptions(device="cpu", engine="torch", whole_volume=True)


@pytest.fixture(scope="module")
def other_run(cohort, tiny_config, tmp_path_factory):
    """Another seed, and so other weights."""
    out = tmp_path_factory.mktemp("other")
    train([cohort], with_values(tiny_config, {"seed": 1, "optim": {"num_steps": 1}}), out)
    return out


def test_the_half_width_of_an_ensemble_grows_with_what_its_members_disagree():
    """In the second voxel the targets 1 and 3 have the variance 1, and each width b = 1 the variance 2."""
    ln10 = np.log(10)
    targets = [np.array([2, 1, 0], np.float32), np.array([2, 3, 0], np.float32)]
    widths = [np.array([ln10, ln10, ln10], np.float32), np.array([ln10, ln10, 7 * ln10], np.float32)]
    expected = ln10 * np.sqrt([1, 1.5, (1 + 49) / 2])
    np.testing.assert_allclose(mixture_half_width(targets, widths), expected, rtol=1e-6)


@pytest.mark.parametrize(("axes", "number"), [("x", 2), ("xz", 4), ("xyz", 8)])
def test_flips_are_the_mean_over_all_mirrorings_mirrored_back(axes, number):
    """The network adds the first coordinate's index along each axis, so that mirroring shows."""
    shape = (3, 4, 5)
    index = sum(
        10.0**place * torch.arange(side).reshape([-1 if a == place else 1 for a in range(3)])
        for place, side in enumerate(shape)
    )
    calls = []

    def network(windows):
        calls.append(windows)
        return windows[:, :1] + index

    volume = torch.randn(1, 2, *shape, generator=torch.Generator().manual_seed(0))
    result = over_flips(network, axes)(volume)
    assert len(calls) == number
    dims = ["xyz".index(axis) for axis in axes]
    middle = index.clone()
    for dim in dims:  # i and side - 1 - i have the mean (side - 1) / 2
        middle = (middle + middle.flip(dim)) / 2
    torch.testing.assert_close(result, volume[:, :1] + middle)
    assert over_flips(network, "") is network


def test_flips_of_an_engine_that_writes_into_one_memory_are_the_same():
    memory = torch.empty(1, 1, 4, 2, 2)

    def network(windows):
        return memory.copy_(windows.cumsum(2))

    volume = torch.arange(16.0).reshape(1, 1, 4, 2, 2)
    expected = (volume.cumsum(2) + volume.flip(2).cumsum(2).flip(2)) / 2
    torch.testing.assert_close(over_flips(network, "x")(volume), expected)


def test_flips_make_a_prediction_mirror_with_its_scan(run_folder):
    t1w, _ = brain_pair(4, shape=(32, 32, 32), affine=np.diag([4.0, 4, 4, 1]))
    mirrored = t1w.with_array(np.ascontiguousarray(t1w.array[::-1]))
    differences = {}
    for flips in ("", "x"):
        model = load_model(run_folder, options=TORCH.model_copy(update={"flips": flips}))
        first, second = (model.predict(scan).image.array for scan in (t1w, mirrored))
        differences[flips] = np.abs(first - second[::-1]).max() / first.max()
    assert differences["x"] < 1e-5 < 1e-3 < differences[""]


def test_an_ensemble_is_the_mean_of_its_models_in_any_order(run_folder, other_run):
    t1w, _ = brain_pair(3)
    single = [load_model(run, options=TORCH).predict(t1w).image.array for run in (run_folder, other_run)]
    assert np.abs(single[0] - single[1]).max() > 10
    models = [load_models(runs, options=TORCH) for runs in ([run_folder, other_run], [other_run, run_folder])]
    first, second = (model.predict(t1w).image.array for model in models)
    np.testing.assert_array_equal(first, second)
    np.testing.assert_allclose(first, (single[0] + single[1]) / 2, atol=0.5)  # cut at 0 after the mean, not before
    assert models[0].sha256 == models[1].sha256
    assert len(set(models[0].member_sha256)) == 2


def test_models_that_cannot_be_averaged_are_refused(run_folder, tmp_path):
    model = load_model(run_folder, options=TORCH)
    save_model(tmp_path / "other", model.network, model.spec.model_copy(update={"spacing_mm": (3.0, 3.0, 3.0)}))
    with pytest.raises(ModelError, match=r"differ in spacing_mm \(\(4.0, 4.0, 4.0\) and \(3.0, 3.0, 3.0\)\)"):
        load_models([run_folder, tmp_path / "other"])
    with pytest.raises(ModelError, match="differ in spacing_mm"):
        average([run_folder, tmp_path / "other"], tmp_path / "out")
    with pytest.raises(ModelError, match="the same; name each once"):
        load_models([run_folder, run_folder / "model"])
    with pytest.raises(ModelError, match="two different models"):
        average([run_folder, run_folder], tmp_path / "out")


def test_infer_names_every_model_and_the_flips_and_knows_them_again(run_folder, other_run, cohort, tmp_path):
    words = ["infer", cohort, "--split", "val", "--engine", "torch", "--out", tmp_path]
    both = ["--model", run_folder, "--model", other_run, "--flips", "x"]

    def call(*options):
        result = CliRunner().invoke(app, [str(word) for word in (*words, *options)], catch_exceptions=False)
        assert result.exit_code == 0, result.output
        (sidecar,) = tmp_path.rglob("sub-*.json")
        (image,) = tmp_path.rglob("*.nii.gz")
        return json.loads(sidecar.read_text()), image.stat().st_mtime_ns

    sidecar, made = call(*both)
    hashes = sorted(load_model(run).sha256 for run in (run_folder, other_run))
    assert sidecar["member_sha256"] == hashes
    assert sidecar["model_sha256"] not in hashes
    assert sidecar["settings"]["flips"] == "x"
    assert call(*both[2:], *both[:2]) == (sidecar, made)
    alone, again = call(*both[:2])
    assert again > made
    assert "member_sha256" not in alone
    assert "flips" not in alone["settings"]
    outcomes = infer([cohort], model=[run_folder, other_run], out=tmp_path, split="val", options=TORCH, jobs=2)
    assert [outcome.status for outcome in outcomes] == ["ok"]


def test_average_is_the_mean_of_the_weights(run_folder, other_run, tmp_path, caplog):
    model, other = load_model(run_folder), load_model(other_run)
    save_model(tmp_path / "other", other.network, model.spec)
    result = CliRunner().invoke(
        app,
        ["average", str(run_folder), str(tmp_path / "other"), "--out", str(tmp_path / "soup")],
        catch_exceptions=False,
    )
    assert result.output.strip().endswith("soup")
    assert "the mean is noise" in caplog.text
    states = [one.network.state_dict() for one in (model, other, load_model(tmp_path / "soup"))]
    for name, mean in states[2].items():
        torch.testing.assert_close(mean, (states[0][name] + states[1][name]) / 2)
    before = hash_file(tmp_path / "soup" / "model.safetensors")
    with pytest.raises(OutputError, match="there is a model already"):
        average([tmp_path / "other", run_folder], tmp_path / "soup")
    average([tmp_path / "other", run_folder], tmp_path / "soup", fresh=True)
    assert hash_file(tmp_path / "soup" / "model.safetensors") == before
