import numpy as np
import pytest
import torch

from tests.conftest import TINY, write_cohort
from volumetric.config.document import ConfigError
from volumetric.config.resolve import resolve
from volumetric.learning.train import train
from volumetric.model.folder import ModelError, load_model
from volumetric.outputs import OutputError, hash_file

STILL = ["optim.lr=1e-12", "optim.weight_decay=0"]
"""A rate at which float32 weights do not move."""


@pytest.fixture
def others(tmp_path):
    """Subjects whose intensities are unlike those of the shared cohort."""
    return write_cohort(tmp_path / "others", ["train", "val"], shape=(33, 29, 38))


def fine_tune(base, manifest, out, *overrides):
    return load_model(train([manifest], resolve(TINY, [f"pretrained={base}", *overrides]), out))


def test_training_starts_from_the_weights_and_units_of_the_model(run_folder, others, tmp_path):
    base, tuned = load_model(run_folder), fine_tune(run_folder, others, tmp_path / "run", *STILL)
    fresh = load_model(train([others], resolve(TINY, STILL), tmp_path / "fresh"))
    for before, after in zip(base.network.parameters(), tuned.network.parameters(), strict=True):
        assert torch.allclose(after, before, atol=1e-7)
    assert (tuned.spec.target_map, tuned.spec.data_range) == (base.spec.target_map, base.spec.data_range)
    assert fresh.spec.target_map != base.spec.target_map
    assert tuned.spec.training.num_subjects == 1
    assert tuned.spec.pretrained_sha256 == base.sha256


def test_a_training_at_a_rate_moves_the_weights_and_repeats_to_the_byte(run_folder, others, tmp_path):
    tuned = fine_tune(run_folder, others, tmp_path / "one")
    weight = next(iter(load_model(run_folder).network.state_dict()))
    assert not torch.equal(tuned.network.state_dict()[weight], load_model(run_folder).network.state_dict()[weight])
    fine_tune(run_folder, others, tmp_path / "two")
    files = [tmp_path / run / "model" / "model.safetensors" for run in ("one", "two")]
    assert hash_file(files[0]) == hash_file(files[1])


def test_network_and_spacing_are_those_of_the_model(run_folder, others, tmp_path):
    other = ["network.channels=[4,8]", "space.spacing_mm=[2,2,2]", "intensity.source_normalization=robust"]
    base, tuned = load_model(run_folder).spec, fine_tune(run_folder, others, tmp_path / "run", *STILL, *other).spec
    assert (tuned.network, tuned.spacing_mm) == (base.network, base.spacing_mm)
    assert tuned.source_normalization == base.source_normalization
    assert "channels: [4, 8]" not in (tmp_path / "run" / "config.yaml").read_text()


def test_a_fine_tuned_model_predicts(run_folder, others, tmp_path):
    tuned = fine_tune(run_folder, others, tmp_path / "run")
    array = tuned.predict(others.parent / "p1" / "t1w.nii.gz").image.array
    assert np.isfinite(array).all()
    assert array.max() > 0


def test_what_cannot_be_started_from_is_named(run_folder, others, tmp_path):
    with pytest.raises(ModelError, match="nowhere"):
        fine_tune(tmp_path / "nowhere", others, tmp_path / "run")
    deeper = train([others], resolve(TINY, ["network.channels=[4,4,4]", "optim.num_steps=1"]), tmp_path / "deeper")
    with pytest.raises(ConfigError, match="multiples of 4"):
        fine_tune(deeper, others, tmp_path / "run", "patch.size=[18,18,18]")
    assert not (tmp_path / "run").exists()


def test_another_start_is_another_run(run_folder, others, tmp_path):
    fine_tune(run_folder, others, tmp_path / "run")
    with pytest.raises(OutputError, match=r"pretrained was .*, is absent"):
        train([others], resolve(TINY), tmp_path / "run")
