import shutil

import pytest
from safetensors.torch import load_file, save_file
from typer.testing import CliRunner

from volumetric.cli import app
from volumetric.model.files import MAX_HEADER_BYTES, read_weights, verify_model
from volumetric.model.folder import ModelError, load_model
from volumetric.outputs import hash_file
from volumetric.records.shipped_model import ShippedModel


@pytest.fixture
def model(run_folder, tmp_path):
    return shutil.copytree(run_folder / "model", tmp_path / "model", ignore=shutil.ignore_patterns("engines"))


def exchange_weights(folder):
    """Other weights of the same shapes."""
    tensors = load_file(folder / "model.safetensors")
    save_file({name: tensor * 1.5 for name, tensor in tensors.items()}, folder / "model.safetensors")


def test_issue_17_23_exchanged_weights_are_noticed(model):
    load_model(model)
    exchange_weights(model)
    with pytest.raises(ModelError, match="not the weights that model\\.yaml names"):
        load_model(model)


def test_a_model_without_a_stated_hash_is_still_read(model):
    text = (model / "model.yaml").read_text()
    (model / "model.yaml").write_text(
        "".join(f"{line}\n" for line in text.splitlines() if "weights_sha256" not in line)
    )
    load_model(model)
    assert [check.status for check in verify_model(model)] == ["not stated", "not stated"]


def test_verify_prints_each_hash_and_fails_where_one_has_changed(model):
    result = CliRunner().invoke(app, ["verify", str(model)])
    assert result.exit_code == 0
    assert hash_file(model / "model.safetensors") in result.stdout
    exchange_weights(model)
    result = CliRunner().invoke(app, ["verify", str(model)])
    assert result.exit_code == 1
    assert "changed" in result.stdout


def test_verify_knows_the_hash_of_a_shipped_model(shipped):
    assert [check.status for check in verify_model(shipped)] == ["ok", "ok"]
    listing = ShippedModel.read(shipped / "shipped.json")
    listing.model_copy(update={"sha256": 64 * "0"}).write(shipped / "shipped.json")
    assert [check.status for check in verify_model(shipped)] == ["ok", "changed"]


@pytest.mark.parametrize("length", [0, MAX_HEADER_BYTES + 1, 2**40, 2**64 - 1])
def test_the_header_of_weights_is_bounded_before_it_is_parsed(model, length):
    (model / "model.safetensors").write_bytes(length.to_bytes(8, "little") + bytes(MAX_HEADER_BYTES + 99))
    with pytest.raises(ModelError, match="header claims"):
        read_weights(model)


def test_an_endless_model_yaml_is_refused(model):
    (model / "model.yaml").write_bytes(b" " * 500_000)
    with pytest.raises(ModelError, match="larger than"):
        load_model(model)
