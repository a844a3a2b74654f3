import numpy as np
import pytest
import torch
import yaml

from tests.conftest import brain_pair, write_cohort, write_heads
from volumetric.config.resolve import resolve
from volumetric.config.run import RunConfig
from volumetric.errors import InputError
from volumetric.imaging.nifti import write_image
from volumetric.learning.plan import (
    CohortSummary,
    plan_batch,
    plan_network,
    plan_spacing,
    plan_steps,
    summarize,
    values,
    write_plan,
)
from volumetric.learning.train import plan
from volumetric.manifest import read_manifest

CPU = torch.device("cpu")


def settings_of(cohort):
    settings = {**plan_spacing(cohort), **plan_network(cohort, CPU)}
    return {**settings, **plan_batch(cohort, settings["patch.size"].value, CPU)}


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
    settings = settings_of(CohortSummary(5, spacing, False, extent))
    write_plan(tmp_path / "auto.yaml", settings)
    config = resolve(tmp_path / "auto.yaml")
    assert config == RunConfig.model_validate(values(settings))
    assert config.space.spacing_mm == spacing
    assert (config.network.stem_stride, len(config.network.channels)) == (stem, levels)
    voxels = np.array(extent) / spacing
    assert (np.array(config.patch.size) < voxels + config.network.stride).all()
    assert max(config.patch.size) <= 96
    assert config.patch.batch_size in (1, 2)


def test_a_cohort_is_measured_along_ras_axes(tmp_path):
    manifest = read_manifest(write_cohort(tmp_path, ["train", "train"], shape=(31, 37, 29)))
    measured = summarize(manifest.rows, "t1w")
    np.testing.assert_allclose(measured.spacing_mm, (4.0, 5.0, 4.5), atol=1e-3)
    # the ellipsoid fills 1 / 1.25 of each side
    np.testing.assert_allclose(np.array(measured.extent_mm), np.array((31, 37, 29)) / 1.25 * (4.0, 5.0, 4.5), atol=10)
    assert (measured.num_subjects, measured.spacing_differs) == (2, False)
    t1w, _ = brain_pair(0)
    write_image(manifest.rows[1].path("t1w"), t1w.with_array(np.zeros_like(t1w.array)))
    with pytest.raises(InputError, match=r"subject p1: .*t1w"):
        summarize(manifest.rows, "t1w")


def test_a_head_is_measured_to_its_scalp(tmp_path):
    rows = read_manifest(write_heads(tmp_path, ["train"])).rows
    brain, head = (summarize(rows, "t1w", kind).extent_mm for kind in ("brain", "head"))
    np.testing.assert_allclose(brain, 110, atol=5)
    np.testing.assert_allclose(head[:2], 150, atol=5)  # from left to right and back to front; the neck is cut


def test_every_choice_has_its_reason_and_an_edited_plan_is_kept(tmp_path):
    manifest, overrides = write_cohort(tmp_path / "cohort", ["train", "val"]), ["seed=3", "network.num_blocks=2"]
    path = tmp_path / "run" / "auto.yaml"
    config = plan([manifest], overrides, tmp_path / "run")
    lines = [line for line in path.read_text().splitlines() if not line.startswith("#")]
    assert all("  # " in line for line in lines if not line.endswith(":"))
    assert config == resolve(path, overrides) == plan([manifest], overrides, tmp_path / "run")
    assert (config.seed, config.network.num_blocks) == (3, 2)
    path.write_text("optim: {num_steps: 7}\n")
    assert plan([manifest], overrides, tmp_path / "run") == resolve(path, overrides)
    assert yaml.safe_load(path.read_text()) == {"optim": {"num_steps": 7}}


def test_a_slow_machine_takes_fewer_steps(monkeypatch):
    cohort = CohortSummary(1000, (2.0, 2.0, 2.0), False, (136.0, 170.0, 130.0))
    settings = settings_of(cohort)
    steps = {}
    for seconds in (0.5, 5.0):
        monkeypatch.setattr("volumetric.learning.plan.seconds_per_step", lambda config, s=seconds: s)
        steps[seconds] = plan_steps(cohort, settings, CPU)["optim.num_steps"].value
    assert steps == {0.5: 3600, 5.0: 300}
    few = CohortSummary(1, (2.0, 2.0, 2.0), False, (136.0, 170.0, 130.0))
    monkeypatch.setattr("volumetric.learning.plan.seconds_per_step", lambda config: 0.01)
    assert plan_steps(few, settings_of(few), CPU)["optim.num_steps"].value == 500
