"""Shipped models: found by name, checked by hash, half the size, and a cache that is not in the package."""

import configparser
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from tests.conftest import REPOSITORY, brain_pair
from volumetric.config.inference import InferenceOptions
from volumetric.config.network import UNetConfig
from volumetric.config.preparation import PreparationConfig
from volumetric.errors import InputError
from volumetric.model import shipped as shipped_models
from volumetric.model.folder import ModelError, load_model, save_model
from volumetric.model.networks import build_network
from volumetric.model.shipped import CARD, LISTING, MODELS, engine_cache, find_model, read_card, read_shipped
from volumetric.model.spec import SPEC, WEIGHTS
from volumetric.outputs import hash_bytes, hash_file
from volumetric.records.record import RecordError

TORCH = InferenceOptions(device="cpu", engine="torch")
FILES = {CARD, LISTING, SPEC, WEIGHTS}


def without_engines(source, target):
    return shutil.copytree(source, target, ignore=shutil.ignore_patterns("engines"))


def content(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


# Half the size.


def test_weights_in_float16_are_rounded_once_and_run_in_float32(run_folder, tmp_path):
    model = load_model(run_folder, options=TORCH)
    save_model(tmp_path, model.network, model.spec, half=True)
    whole, half = run_folder / "model" / WEIGHTS, tmp_path / WEIGHTS
    exact, stored = load_file(whole), load_file(half)
    loaded = load_model(tmp_path, options=TORCH)
    assert {tensor.dtype for tensor in stored.values()} == {torch.float16}
    assert {tensor.dtype for tensor in loaded.network.state_dict().values()} == {torch.float32}
    for name, tensor in loaded.network.state_dict().items():
        np.testing.assert_array_equal(tensor.numpy(), exact[name].numpy().astype(np.float16).astype(np.float32))
    num_bytes = sum(tensor.numel() for tensor in exact.values())
    assert whole.stat().st_size - half.stat().st_size == pytest.approx(2 * num_bytes, rel=0.05)
    images = [m.predict(brain_pair(9)[0]).image.array for m in (model, loaded)]
    assert not np.array_equal(*images)
    np.testing.assert_allclose(*images, atol=2e-3 * images[0].std(), rtol=0)


def test_whole_numbers_of_a_network_stay_whole_in_a_folder_of_float16(run_folder, tmp_path):
    spec = load_model(run_folder).spec
    network = UNetConfig(channels=(8, 16), num_blocks=1, norm="batch")
    net = build_network(network, 1)
    counts = [name for name, tensor in net.state_dict().items() if not tensor.is_floating_point()]
    net.load_state_dict({name: torch.tensor(70_001) for name in counts}, strict=False)
    save_model(tmp_path, net, spec.model_copy(update={"network": network}), half=True)
    state = load_model(tmp_path).network.state_dict()
    assert counts
    assert {int(state[name]) for name in counts} == {70_001}


def test_weights_beyond_float16_are_refused_and_not_shipped(run_folder, shipped, shipping, tmp_path):
    model = load_model(run_folder)
    with torch.no_grad():
        next(model.network.parameters()).fill_(70_000)
    save_model(tmp_path / "huge", model.network, model.spec)
    sheet = shipping.Sheet(summary="", training_data="", weights_license="", training_data_license="", scores=())
    with pytest.raises(ModelError, match="NaN or infinite"):
        shipping.ship(tmp_path / "huge", shipped.parent / "huge", sheet, tmp_path / "card.md")
    assert shipped_models.shipped_names() == ["t1w_to_t2w"]


# By name.


def test_a_shipped_name_means_the_package_and_a_path_the_folder(shipped, run_folder, tmp_path, monkeypatch, caplog):
    monkeypatch.chdir(tmp_path)
    assert find_model("t1w_to_t2w") == shipped
    assert not caplog.text
    without_engines(run_folder / "model", tmp_path / "t1w_to_t2w" / "model")
    folder = Path("t1w_to_t2w", "model")
    assert [find_model(written) for written in ("./t1w_to_t2w", Path("t1w_to_t2w"), "t1w_to_t2w/model")] == [folder] * 3
    assert not caplog.text
    assert find_model("t1w_to_t2w") == shipped
    assert "the folder here is ./t1w_to_t2w" in caplog.text
    assert load_model().sha256 == load_model("t1w_to_t2w").sha256 == read_shipped("t1w_to_t2w").about.sha256
    assert load_model("./t1w_to_t2w").sha256 == load_model(run_folder).sha256


def test_an_unknown_name_is_answered_by_the_shipped_ones(shipped, tmp_path, monkeypatch):
    for call in (load_model, read_shipped, read_card):
        with pytest.raises(ModelError, match=r"^t1w_to_flair: .*there are: t1w_to_t2w"):
            call("t1w_to_flair")
    monkeypatch.setattr(shipped_models, "MODELS", tmp_path / "nothing")
    with pytest.raises(ModelError, match="the package holds none"):
        load_model()


# As shipped.


@pytest.mark.parametrize("name", [WEIGHTS, SPEC])
def test_a_shipped_model_that_was_changed_is_refused(shipped, name):
    changed = bytearray((shipped / name).read_bytes())
    changed[-1] ^= 1
    (shipped / name).write_bytes(changed)
    with pytest.raises(ModelError, match=r"not as they were shipped .*; reinstall the package$"):
        load_model("t1w_to_t2w")
    with pytest.raises(ModelError, match="not as they were shipped"):
        load_model(shipped)  # by its path as well


def test_a_damaged_entry_says_to_reinstall(shipped):
    (shipped / LISTING).write_text("{")
    for call in (load_model, read_shipped):
        with pytest.raises(RecordError, match=r"shipped\.json: not readable JSON .* reinstall the package"):
            call("t1w_to_t2w")


@pytest.mark.parametrize("name", shipped_models.shipped_names())
def test_each_model_of_the_package_is_whole_small_and_licensed(name):
    model = load_model(name, options=TORCH)
    files = {path.name for path in (MODELS / name).iterdir()}
    assert files >= FILES
    assert "engines" not in files
    assert read_shipped(name).num_bytes < 20_000_000
    assert model.spec.weights_license
    assert model.spec.training_data_license
    assert read_card(name).startswith("# ")


def test_a_wheel_holds_every_file_of_a_shipped_model(shipped):
    """The patterns of setup.cfg, matched as setuptools does: `*` stops at a slash."""
    config = configparser.ConfigParser()
    config.read(REPOSITORY / "setup.cfg")
    patterns = [pattern.strip() for pattern in config["options.package_data"]["volumetric"].split(",")]
    for package in (shipped.parents[1], MODELS.parent):
        packed = {path for pattern in patterns for path in package.glob(pattern)}
        assert {path for path in (package / "models").rglob("*") if path.is_file()} <= packed
    assert {path.name for path in shipped.iterdir()} == FILES


# The cache.


def test_the_cache_is_the_users_and_can_be_moved(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("VOLUMETRIC_CACHE", raising=False)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    assert engine_cache() == tmp_path / ".cache" / "volumetric" / "engines"
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert engine_cache() == tmp_path / "xdg" / "volumetric" / "engines"
    monkeypatch.setenv("VOLUMETRIC_CACHE", str(tmp_path / "own"))
    assert engine_cache() == tmp_path / "own" / "engines"


def test_without_a_home_there_is_no_cache(monkeypatch):
    def no_home():
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("VOLUMETRIC_CACHE", raising=False)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr(Path, "home", no_home)
    assert engine_cache() is None


def test_the_conversion_of_a_shipped_model_is_kept_outside_the_package(shipped, tmp_path):
    pytest.importorskip("openvino")
    before, (t1w, _) = content(shipped), brain_pair(9)
    options = InferenceOptions(device="cpu", engine="openvino")
    image = load_model("t1w_to_t2w", options=options).predict(t1w).image.array
    assert content(shipped) == before
    (kept,) = (tmp_path / "cache" / "engines").iterdir()
    assert kept.name.startswith("openvino-")
    shutil.rmtree(tmp_path / "cache")
    (tmp_path / "cache").write_text("in the way: nothing can be written")
    np.testing.assert_array_equal(load_model("t1w_to_t2w", options=options).predict(t1w).image.array, image)


# Made of a run.


def test_shipping_fills_in_what_the_run_did_not_know_and_nothing_else(shipped, shipping, run_folder, tmp_path):
    own, spec = load_model(run_folder).spec, load_model(shipped).spec
    licenses = {"weights_license": "Apache-2.0", "training_data_license": "CC0-1.0"}
    weights = {"weights_sha256": hash_file(shipped / "model.safetensors")}
    assert spec == own.model_copy(update=licenses | weights)
    entry = read_shipped("t1w_to_t2w")
    assert entry.about.scores[0].ssim == 0.8714
    assert entry.about.sha256 == hash_bytes((shipped / WEIGHTS).read_bytes(), (shipped / SPEC).read_bytes())
    before = content(shipped)
    sheet = shipping.Sheet(**licenses, summary="from tests", training_data="ellipsoids", scores=entry.about.scores)
    shipping.ship(shipped, shipped, sheet, tmp_path / "card.md")  # float16 of float16 is the same
    assert content(shipped) == before
    shipping.ship(run_folder, shipped, sheet, tmp_path / "card.md", recipe=PreparationConfig())
    assert load_model(shipped).spec.preparation == PreparationConfig()
    assert (shipped / WEIGHTS).read_bytes() == before[WEIGHTS]


def test_a_model_too_large_for_the_package_is_not_shipped(shipped, shipping, run_folder, tmp_path, monkeypatch):
    monkeypatch.setattr(shipping, "MAX_BYTES", 1000)
    sheet = shipping.Sheet(summary="", training_data="", weights_license="", training_data_license="", scores=())
    with pytest.raises(InputError, match="at most 1000 are shipped"):
        shipping.ship(run_folder, shipped.parent / "large", sheet, tmp_path / "card.md")
    assert shipped_models.shipped_names() == ["t1w_to_t2w"]


def test_the_script_ships_by_the_files_of_its_command_line(shipped, shipping, run_folder, tmp_path, monkeypatch):
    monkeypatch.setattr(shipping, "MODELS", shipped.parent)
    (tmp_path / "sheet.yaml").write_text(
        "{summary: a, training_data: b, weights_license: MIT, training_data_license: CC0-1.0, "
        "scores: [{cohort: c, num_subjects: 2, psnr_db: 20, ssim: 0.8}]}"
    )
    (tmp_path / "recipe.yaml").write_text("interpolation: linear")
    files = ["--sheet", tmp_path / "sheet.yaml", "--card", tmp_path / "card.md", "--recipe", tmp_path / "recipe.yaml"]
    monkeypatch.setattr("sys.argv", [str(word) for word in ["ship_model.py", run_folder, "--name", "other", *files]])
    shipping.main()
    other = read_shipped("other")
    assert (other.about.summary, other.spec.weights_license) == ("a", "MIT")
    assert other.spec.preparation == PreparationConfig(interpolation="linear")
    assert load_model("other").sha256 == other.about.sha256
