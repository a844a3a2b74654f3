import numpy as np
import pytest
import torch
import yaml

from tests.conftest import brain_pair, write_cohort
from volumetric.config.resolve import resolve
from volumetric.errors import InputError
from volumetric.imaging.nifti import write_image
from volumetric.learning.plan import Look, as_commented_yaml, auto_config, choose, choose_steps, look
from volumetric.manifest import read_manifest

CPU = torch.device("cpu")


def planned(found, tmp_path):
    choices = choose(found, CPU)
    (tmp_path / "auto.yaml").write_text(as_commented_yaml(choices))
    return resolve(tmp_path / "auto.yaml")


@pytest.mark.parametrize(
    ("spacing", "extent", "stem", "levels"),
    [
        ((2.0, 2.0, 2.0), (136.0, 170.0, 130.0), 1, 4),  # the simulated cohort
        ((1.0, 1.0, 1.0), (136.0, 172.0, 140.0), 2, 4),  # MNI grid
        ((0.9, 0.9, 5.0), (140.0, 175.0, 130.0), 1, 3),  # thick slices
        ((4.0, 4.0, 4.0), (60.0, 64.0, 62.0), 1, 2),  # a small animal on a coarse grid
    ],
)
def test_what_is_planned_fits_the_brain_and_resolves(spacing, extent, stem, levels, tmp_path):
    config = planned(Look(5, spacing, False, extent), tmp_path)
    assert config.space.spacing_mm == spacing
    assert (config.network.stem_stride, len(config.network.channels)) == (stem, levels)
    voxels = np.array(extent) / spacing
    assert (np.array(config.patch.size) < voxels + config.network.stride).all()
    assert max(config.patch.size) <= 96
    assert config.patch.batch_size in (1, 2)


def test_looking_measures_along_ras_axes(tmp_path):
    manifest = read_manifest(write_cohort(tmp_path, ["train", "train"], shape=(31, 37, 29)))
    found = look(manifest.rows, "t1w")
    np.testing.assert_allclose(found.spacing_mm, (4.0, 5.0, 4.5), atol=1e-3)
    # the ellipsoid fills 1 / 1.25 of each side
    np.testing.assert_allclose(np.array(found.extent_mm), np.array((31, 37, 29)) / 1.25 * (4.0, 5.0, 4.5), atol=10)
    assert (found.num_subjects, found.spacing_differs) == (2, False)
    t1w, _ = brain_pair(0)
    write_image(manifest.rows[1].path("t1w"), t1w.with_array(np.zeros_like(t1w.array)))
    with pytest.raises(InputError, match=r"subject p1: .*t1w"):
        look(manifest.rows, "t1w")


def test_every_choice_has_its_reason_and_an_edited_plan_is_kept(tmp_path):
    manifest = read_manifest(write_cohort(tmp_path / "cohort", ["train", "val"]))
    path = auto_config(manifest, "t1w", CPU, tmp_path / "run")
    lines = [line for line in path.read_text().splitlines() if not line.startswith("#")]
    assert all("  # " in line for line in lines if not line.endswith(":"))
    resolve(path)
    path.write_text("optim: {num_steps: 7}\n")
    assert auto_config(manifest, "t1w", CPU, tmp_path / "run") == path
    assert yaml.safe_load(path.read_text()) == {"optim": {"num_steps": 7}}


def test_a_slow_machine_takes_fewer_steps(monkeypatch):
    found = Look(1000, (2.0, 2.0, 2.0), False, (136.0, 170.0, 130.0))
    choices = choose(found, CPU)
    steps = {}
    for seconds in (0.5, 5.0):
        monkeypatch.setattr("volumetric.learning.plan.seconds_per_step", lambda config, s=seconds: s)
        steps[seconds] = choose_steps(found, choices, CPU)["optim.num_steps"][0]
    assert steps == {0.5: 3600, 5.0: 300}
    few = Look(1, (2.0, 2.0, 2.0), False, (136.0, 170.0, 130.0))
    monkeypatch.setattr("volumetric.learning.plan.seconds_per_step", lambda config: 0.01)
    assert choose_steps(few, choose(few, CPU), CPU)["optim.num_steps"][0] == 500
