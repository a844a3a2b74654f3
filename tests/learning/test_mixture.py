import numpy as np
import pytest
import torch

from tests.conftest import write_cohort
from tests.simulation.label_maps import label_map
from volumetric.config.resolve import resolve
from volumetric.config.run import MixtureConfig
from volumetric.errors import InputError
from volumetric.imaging.nifti import write_image
from volumetric.learning import loop
from volumetric.learning.anatomies import read_anatomies
from volumetric.learning.data import PatchDraws
from volumetric.learning.mixture import is_simulated
from volumetric.learning.plan import plan_mixture
from volumetric.learning.reading import read_pairs
from volumetric.learning.train import train
from volumetric.manifest import ManifestError, ManifestRow, read_manifest
from volumetric.model.folder import load_model

TABLE = "air: [0]\nwhite_matter: [2]\ncortex: [3]\nfluid: [24]\nventricle: [4]\nputamen: [12]\n"
SETTINGS = ["space.spacing_mm=[2,2,2.5]", "optim.num_steps=4", "validation.every_steps=4"]


@pytest.fixture(scope="module")
def labeled(tmp_path_factory):
    """A manifest of one label map of a brain, and its table."""
    folder = tmp_path_factory.mktemp("labeled")
    image = label_map(outside=False)
    write_image(folder / "map.nii.gz", image.with_array(image.array.astype(np.uint8)))
    (folder / "labels.csv").write_text("subject_id,split,labels\nmap1,train,map.nii.gz\n")
    (folder / "table.yaml").write_text(TABLE)
    return folder


@pytest.fixture
def mixed(labeled, tiny_config):
    """The tiny configuration, half of its draws simulated."""
    return configured(tiny_config, labeled, simulated=0.5)


def configured(config, labeled, **mixture):
    simulation = config.simulation.model_copy(update={"table": str(labeled / "table.yaml")})
    space = config.space.model_copy(update={"spacing_mm": (2.0, 2.0, 2.5)})
    update = {"simulation": simulation, "space": space, "mixture": MixtureConfig(**mixture)}
    return config.model_copy(update=update)


def test_the_share_of_simulated_draws_is_the_configured_one(mixed):
    kinds = [is_simulated(draw, mixed) for draw in range(2000)]
    assert np.mean(kinds) == pytest.approx(0.5, abs=0.04)
    assert kinds == [is_simulated(draw, mixed) for draw in range(2000)]


def test_simulated_first_draws_all_of_them_before_the_first_scan(tiny_config, labeled):
    config = configured(tiny_config, labeled, simulated=0.25, simulated_first=True)
    config = config.model_copy(update={"optim": config.optim.model_copy(update={"num_steps": 40})})
    draws = 40 * config.patch.batch_size // config.patch.num_per_volume
    num = round(0.25 * draws)
    assert [is_simulated(draw, config) for draw in range(draws)] == [True] * num + [False] * (draws - num)


def test_a_simulated_draw_is_the_same_in_any_order_and_any_process(cohort, labeled, mixed, spec, tmp_path):
    pairs = read_pairs(read_manifest(cohort).split("train"), mixed, tmp_path / "cache", title="t")
    anatomies = read_anatomies(read_manifest(labeled / "labels.csv").rows, mixed, tmp_path / "cache")
    first = PatchDraws(pairs, mixed, spec, anatomies)
    forward = [first[draw] for draw in range(6)]
    second = PatchDraws(pairs, mixed, spec, anatomies)
    for draw in (5, 2, 4, 0):
        for a, b in zip(forward[draw], second[draw], strict=True):
            assert all(torch.equal(a[key], b[key]) for key in ("source", "target", "mask"))
    assert {is_simulated(draw, mixed) for draw in range(6)} == {True, False}


def test_scanned_draws_are_what_they_are_without_a_mixture(cohort, labeled, mixed, tiny_config, spec, tmp_path):
    plain = configured(tiny_config, labeled)
    pairs = read_pairs(read_manifest(cohort).split("train"), mixed, tmp_path / "cache", title="t")
    anatomies = read_anatomies(read_manifest(labeled / "labels.csv").rows, mixed, tmp_path / "cache")
    scanned = [draw for draw in range(8) if not is_simulated(draw, mixed)]
    with_mixture, without = PatchDraws(pairs, mixed, spec, anatomies), PatchDraws(pairs, plain, spec)
    for draw in scanned:
        for a, b in zip(with_mixture[draw], without[draw], strict=True):
            assert torch.equal(a["source"], b["source"])


def test_a_model_is_trained_on_label_maps_alone(labeled, tmp_path):
    table = f"simulation.table={labeled / 'table.yaml'}"
    config = resolve("tiny", [*SETTINGS, table, "mixture.simulated=1"])
    model = load_model(train([labeled / "labels.csv"], config, tmp_path / "run"))
    assert model.spec.training.num_subjects == 0
    assert model.spec.training.num_label_maps == 1
    assert 1 < model.spec.data_range < 8
    assert model.spec.target_map.scale > 0.05


def test_an_interrupted_mixture_goes_on_to_the_same_weights(cohort, labeled, tmp_path, monkeypatch):
    table = f"simulation.table={labeled / 'table.yaml'}"
    config = resolve("tiny", [SETTINGS[0], table, "mixture.simulated=0.5", *SETTINGS[1:2], "validation.every_steps=2"])
    manifests = [cohort, labeled / "labels.csv"]
    whole = train(manifests, config, tmp_path / "whole")
    save = loop._save

    def save_and_stop(*args):
        save(*args)
        raise KeyboardInterrupt

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(loop, "_save", save_and_stop)
        train(manifests, config, tmp_path / "broken")
    resumed = train(manifests, config, tmp_path / "broken")
    assert (whole / "model.safetensors").read_bytes() == (resumed / "model.safetensors").read_bytes()


@pytest.mark.parametrize(
    ("rows", "share", "problem"),
    [
        ("a,train,map.nii.gz", 0.5, "no training row has scans, only label maps"),
        ("a,train,gone.nii.gz", 1, "the `labels` file .*gone.nii.gz does not exist"),
        ("a,val,map.nii.gz", 1, "no row has split `train`"),
    ],
)
def test_a_manifest_that_lacks_what_the_mixture_needs_is_one_sentence(labeled, tmp_path, rows, share, problem):
    manifest = labeled / "rows.csv"
    manifest.write_text(f"subject_id,split,labels\n{rows}\n")
    config = resolve("tiny", [*SETTINGS, f"mixture.simulated={share}"])
    with pytest.raises(InputError, match=problem):
        train([manifest], config, tmp_path / "run")


def test_pairs_without_label_maps_cannot_be_mixed(cohort, tmp_path):
    with pytest.raises(InputError, match="no training row has a label map alone; add rows whose `labels`"):
        train([cohort], resolve("tiny", [*SETTINGS, "mixture.simulated=0.5"]), tmp_path / "run")


def test_label_maps_that_are_not_mixed_in_are_named(labeled, tmp_path, caplog):
    scans = write_cohort(tmp_path / "scans", ["train", "train"])
    config = resolve("tiny", SETTINGS[1:])
    with caplog.at_level("WARNING"):
        train([scans, labeled / "labels.csv"], config, tmp_path / "run")
    assert "1 rows with label maps alone are not used; set mixture.simulated" in caplog.text


def test_every_unusable_label_map_is_listed(labeled, mixed, tmp_path):
    (labeled / "text.nii.gz").write_text("no image")
    rows = [
        ManifestRow(name, split="train", paths={"labels": labeled / file})
        for name, file in (("a", "text.nii.gz"), ("b", "map.nii.gz"), ("c", "gone.nii.gz"))
    ]
    with pytest.raises(ManifestError) as caught:
        read_anatomies(rows, mixed, tmp_path / "cache")
    assert "subject a: " in str(caught.value)
    assert "subject c: " in str(caught.value)
    assert "subject b" not in str(caught.value)


@pytest.mark.parametrize("settings", [["task.sources=[flair]"], ["task.sources=[t1w,flair]"]])
def test_contrasts_without_a_protocol_cannot_be_simulated(settings):
    with pytest.raises(InputError, match="only pairs of t1w and t2w are simulated"):
        resolve("tiny", [*SETTINGS, *settings, "mixture.simulated=0.5"])


def test_a_mixture_needs_a_voxel_size():
    with pytest.raises(InputError, match=r"needs a voxel size; give space\.spacing_mm"):
        resolve("tiny", ["mixture.simulated=0.5", "space.spacing_mm=null"])


def test_auto_plans_a_share_for_label_maps():
    row = ManifestRow("a")
    assert plan_mixture([row], []) == {}
    assert plan_mixture([], [row])["mixture.simulated"].value == 1
    assert plan_mixture([row], [row])["mixture.simulated"].value == 0.5
