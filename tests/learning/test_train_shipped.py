import numpy as np
import torch

from tests.conftest import TINY, load_script, write_cohort
from tests.learning.test_mixture import TABLE
from tests.simulation.label_maps import label_map
from volumetric.config.resolve import resolve
from volumetric.imaging.nifti import write_image
from volumetric.model.folder import load_model

script = load_script("train_shipped")


def test_the_average_of_two_models_has_the_mean_of_their_weights_and_the_second_ones_specification(
    run_folder, tmp_path, cohort
):
    from volumetric.learning.train import train

    tuned = train([cohort], resolve(TINY, [f"pretrained={run_folder}", "seed=3"]), tmp_path / "tuned")
    script.average(run_folder, tuned, tmp_path / "average")
    first, second, mean = (load_model(path) for path in (run_folder, tuned, tmp_path / "average"))
    weights = [dict(model.network.named_parameters()) for model in (first, second, mean)]
    for name in weights[0]:
        expected = (weights[0][name] + weights[1][name]) / 2
        assert torch.allclose(weights[2][name], expected, atol=1e-7)
    assert mean.spec == second.spec


def test_two_trainings_and_their_average_come_of_label_maps_and_pairs(tmp_path, monkeypatch):
    recipes, maps = tmp_path / "models" / "mine", tmp_path / "maps"
    image = label_map(outside=False)
    write_image(maps / "one.nii.gz", image.with_array(image.array.astype(np.uint8)))
    (maps / "table.yaml").write_text(TABLE)
    common = f"space: {{spacing_mm: [2, 2, 2.5]}}\nsimulation: {{table: {maps / 'table.yaml'}}}\n"
    common += "extends: tiny\noptim: {num_steps: 2}\n"
    recipes.mkdir(parents=True)
    (recipes / "pretraining.yaml").write_text(common + "mixture: {simulated: 1}\n")
    (recipes / "fine_tuning.yaml").write_text(common + "mixture: {simulated: 0.5}\n")
    monkeypatch.setattr(script, "MODELS", recipes.parent)
    pairs, out = write_cohort(tmp_path / "pairs", ["train", "test"]), tmp_path / "out"
    script.train_shipped("mine", maps, pairs, out)
    pretrained, tuned, average = (load_model(out / name) for name in ("pretrained", "fine_tuned", "average"))
    assert (pretrained.spec.training.num_subjects, tuned.spec.training.num_subjects) == (0, 1)
    assert tuned.spec.target_map == pretrained.spec.target_map
    assert average.spec.pretrained_sha256 == pretrained.sha256
