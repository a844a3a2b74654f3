import json

import pytest
import yaml

from tests.conftest import REPOSITORY
from volumetric.config.resolve import ConfigError, as_yaml, resolve
from volumetric.config.run import RunConfig
from volumetric.config.simulation import SimulationConfig


@pytest.mark.parametrize(
    "path", sorted((REPOSITORY / "volumetric" / "configs").glob("*.yaml")), ids=lambda path: path.stem
)
def test_shipped_configurations_resolve_and_state_purpose_command_and_time(path):
    resolve(path)
    head = path.read_text()
    for word in ("# Purpose:", "# Command:", "# Expected", "time"):
        assert word in head


def test_the_recipe_of_the_shipped_model_simulates_what_it_learned_from():
    """Parts of the generator that came later are not in its pairs."""
    config = resolve(REPOSITORY / "volumetric" / "models" / "t1w_to_t2w" / "training.yaml")
    assert config.mixture.simulated == 0.5
    assert config.simulation == SimulationConfig(motion_probability=0)


def test_what_resolves_resolves_again_to_itself(tmp_path):
    config = resolve(REPOSITORY / "volumetric" / "configs" / "t2w_to_t1w.yaml", ["optim.num_steps=7"])
    (tmp_path / "again.yaml").write_text(as_yaml(config))
    assert resolve(tmp_path / "again.yaml") == config
    assert (config.task.sources, config.task.target, config.optim.num_steps) == (("t2w",), "t1w", 7)


def test_extends_is_relative_to_the_file_and_merges_sections(tmp_path):
    (tmp_path / "base.yaml").write_text("optim: {lr: 0.01, num_steps: 5}\nseed: 3\n")
    (tmp_path / "top.yaml").write_text("extends: base.yaml\noptim: {num_steps: 9}\n")
    config = resolve(tmp_path / "top.yaml")
    assert (config.optim.lr, config.optim.num_steps, config.seed) == (0.01, 9, 3)


def test_a_number_that_yaml_reads_as_text_is_a_number():
    assert yaml.safe_load("3e-4") == "3e-4"
    assert resolve(None, ["optim.lr=3e-4"]).optim.lr == 3e-4


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("optim.lrr=1", r"unknown key `optim\.lrr`; did you mean `optim\.lr`\?"),
        ("netwrok.norm=none", "unknown key `netwrok`; did you mean `network`"),
        ("optim.lr=fast", r"`optim\.lr` = 'fast'"),
        ("optim.lr=-1", r"`optim\.lr` = -1: input should be greater than 0"),
        ("optim.lr", "expected key=value"),
        ("seed.value=1", r"`seed`"),
        ("task.target=t1w", "must all differ"),
        ("patch.size=[90,96,96]", r"multiples of 8.*such as \[88, 96, 96\]"),
        ("network.name=resnet", "`name` must be one of unet, seed_unet, segresnet, dynunet, swinunetr"),
        ("network.width=8", r"unknown key `network\.width`"),
        ("patch.size=[8,8,8]", "leaves one voxel on the coarsest level"),
        ("patch.num_per_volume=3", "multiple of patch.num_per_volume 3"),
        ("network.norm=layer", "'instance', 'batch', 'group', 'fixed_group' or 'none'"),
    ],
)
def test_mistakes_name_the_key_and_the_way_out(override, message):
    with pytest.raises(ConfigError, match=message):
        resolve(None, [override])


@pytest.mark.parametrize(
    ("text", "message"),
    [("- 1\n", "expected keys and values"), ("a: [", "not valid YAML"), ("extends: m.yaml\n", "circle")],
)
def test_files_that_are_no_configuration(tmp_path, text, message):
    (tmp_path / "m.yaml").write_text(text)
    with pytest.raises(ConfigError, match=message):
        resolve(tmp_path / "m.yaml")


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(ConfigError, match=r"none\.yaml: there is no such"):
        resolve(tmp_path / "none.yaml")


def test_the_schema_describes_every_section():
    schema = json.dumps(RunConfig.model_json_schema())
    assert all(name in schema for name in ("patches in an optimizer step", "stem_stride", "clip_norm"))


def test_another_network_starts_its_section_anew(tmp_path):
    (tmp_path / "base.yaml").write_text("network: {channels: [8, 16], norm: batch}\n")
    assert resolve(tmp_path / "base.yaml", ["network.name=seed_unet"]).network.name == "seed_unet"
    (tmp_path / "top.yaml").write_text("extends: base.yaml\nnetwork: {name: dynunet, norm: group}\n")
    network = resolve(tmp_path / "top.yaml", ["network.channels=[16,32]"]).network
    assert (network.name, network.channels, network.norm) == ("dynunet", (16, 32), "group")
    same = resolve(tmp_path / "base.yaml", ["network.name=unet", "network.num_blocks=3"]).network
    assert (same.channels, same.norm, same.num_blocks) == ((8, 16), "batch", 3)


@pytest.mark.parametrize("override", ["seed=true", "optim.lr=no", "optim.num_steps=yes"])
def test_a_truth_is_no_number(override):
    key = override.partition("=")[0].rpartition(".")[2]
    with pytest.raises(ConfigError, match=f"`{key}` is (true|false), expected a number"):
        resolve(None, [override])


def test_steps_that_no_machine_can_do_are_refused():
    with pytest.raises(ConfigError, match="num_steps"):
        resolve(None, ["optim.num_steps=99999999999999999999"])
