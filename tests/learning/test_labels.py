import csv
from pathlib import Path

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from tests.conftest import brain_pair, oblique_affine
from volumetric.cli import app
from volumetric.config.resolve import ConfigError, resolve
from volumetric.imaging.nifti import Image, read_image, write_image
from volumetric.learning.augmentation import augment
from volumetric.learning.train import train
from volumetric.manifest import ManifestRow, write_manifest
from volumetric.model.folder import load_model
from volumetric.model.space import model_space_of
from volumetric.model.units import LabelClassError, one_hot
from volumetric.outputs import hash_file
from volumetric.simulation.label_table import read_label_table
from volumetric.transforms.one_hot import OneHotLabelsd

LESION = 4


def tissues_and_lesion(number):
    """A T1w, a T2w and their label map: fluid 1, gray 2, white 3, and a lesion that the T2w alone shows."""
    t1w, t2w = brain_pair(number)
    relative = t1w.array / t1w.array.max()
    labels = np.select([relative > 0.78, relative > 0.45, relative > 0], [3, 2, 1], 0)
    lesion = np.zeros(labels.shape, bool)
    lesion[12:17, 16 + number : 21 + number, 11:15] = True
    labels[lesion & (labels > 1)] = LESION
    t2w.array[labels == LESION] = t2w.array.max()
    return {"t1w": t1w, "t2w": t2w, "labels": Image(labels.astype(np.uint8), t1w.affine)}


@pytest.fixture(scope="module")
def labeled(tmp_path_factory):
    """A manifest of such subjects."""
    folder, rows = tmp_path_factory.mktemp("labeled"), []
    for number, split in enumerate(["train", "train", "val", "test"]):
        images = tissues_and_lesion(number)
        paths = {name: folder / f"p{number}" / f"{name}.nii.gz" for name in images}
        for name, image in images.items():
            write_image(paths[name], image)
        rows.append(ManifestRow(f"p{number}", split=split, paths=paths))
    write_manifest(folder / "manifest.csv", rows)
    return folder / "manifest.csv"


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    path = tmp_path_factory.mktemp("table") / "mine.yaml"
    path.write_text("air: [0]\nfluid: [1]\ncortex: [2]\nwhite_matter: [3]\nwhite_matter_lesion: [4]\n")
    return path


def small(table):
    return [
        f"labels.table={table}", "space.spacing_mm=[4,4,4]", "network.channels=[4,6]", "network.hidden=4",
        "patch.size=[16,16,24]", "patch.batch_size=2", "patch.num_per_volume=2", "optim.num_steps=4",
        "validation.every_steps=2", "adversarial.num_layers=2", "adversarial.channels=4", "device=cpu",
    ]  # fmt: skip


def by_command(*arguments):
    result = CliRunner().invoke(app, list(map(str, arguments)), catch_exceptions=False)
    assert result.exit_code == 0, result.output


def sets(overrides):
    return [word for override in overrides for word in ("--set", override)]


def rows(path):
    with path.open() as file:
        return [{name: float(value) for name, value in row.items()} for row in csv.DictReader(file)]


@pytest.fixture(scope="module")
def run(labeled, table, tmp_path_factory):
    """A run of `labels_to_t1w` through the command line."""
    out = tmp_path_factory.mktemp("labels")
    by_command("train", labeled, "--config", "labels_to_t1w", "--out", out, *sets(small(table)))
    return out


def test_label_maps_train_by_the_command_line_along_their_golden_curve(run):
    golden = rows(Path(__file__).parent / "golden_labels.csv")
    for row, expected in zip(rows(run / "history.csv"), golden, strict=True):
        assert row == pytest.approx(expected, rel=1e-3)
    spec = load_model(run).spec
    assert spec.sources == ("labels",)
    assert spec.label_classes == {
        "cortex": (2,), "white_matter": (3,), "white_matter_lesion": (4,), "fluid": (1,), "air": (0,),
    }  # fmt: skip
    assert spec.training.source_quantiles == {}


def test_infer_and_evaluate_take_the_label_map_of_each_subject(run, labeled, tmp_path):
    by_command("infer", labeled, "--split", "test", "--model", run, "--out", tmp_path / "predictions")
    (path,) = (tmp_path / "predictions").rglob("*_T1w.nii.gz")
    labels, prediction = read_image(labeled.parent / "p3" / "labels.nii.gz"), read_image(path)
    np.testing.assert_array_equal(prediction.affine, labels.affine)
    assert ((prediction.array > 0) <= (labels.array > 0)).all()
    by_command("evaluate", tmp_path / "predictions", labeled, "--out", tmp_path / "metrics")
    assert "p3" in (tmp_path / "metrics" / "per_subject.csv").read_text()


def test_infer_makes_images_of_label_maps_with_added_lesions(run, labeled, table, tmp_path):
    by_command("add-lesions", labeled, "--table", table, "--copies", 2, "--out", tmp_path / "lesions")
    by_command("infer", tmp_path / "lesions" / "manifest.csv", "--model", run, "--out", tmp_path / "images")
    assert len(list((tmp_path / "images").rglob("*_T1w.nii.gz"))) == 8
    for path in (tmp_path / "lesions").rglob("lesions.nii.gz"):
        assert (read_image(path).array > 0).any()


def test_trained_twice_it_has_the_same_bytes_and_lesions_can_be_left_out(run, labeled, table, tmp_path):
    train([labeled], resolve("labels_to_t1w", small(table)), tmp_path / "again")
    weights = "model/model.safetensors"
    assert hash_file(tmp_path / "again" / weights) == hash_file(run / weights)
    train([labeled], resolve("labels_to_t2w", [*small(table), "labels.lesions=false"]), tmp_path / "without")
    spec = load_model(tmp_path / "without").spec
    assert (spec.target, spec.in_channels) == ("t2w", 4)
    assert spec.label_classes["white_matter"] == (3, 4)


def test_a_label_without_a_class_is_named_with_its_subject(labeled, tmp_path):
    with pytest.raises(LabelClassError, match=r"subject p0: no class has the labels 4; .*labels\.table"):
        train([labeled], resolve("labels_to_t1w", small("three_tissues")), tmp_path)


def test_channels_by_hand():
    labels = np.array([[[0, 7, 2]], [[9, 2, 5]]], np.float32)
    mask = np.array([[[1, 1, 1]], [[1, 0, 0]]], bool)
    classes = {"first": [2, 9], "second": [0], "third": [7]}
    channels = one_hot(labels, mask, classes)
    assert channels.dtype == np.float32
    assert channels[:, ..., 0, :].tolist() == [[[0, 0, 1], [1, 0, 0]], [[1, 0, 0], [0, 0, 0]], [[0, 1, 0], [0, 0, 0]]]
    data = {"labels": torch.from_numpy(labels)[None], "mask": torch.from_numpy(mask)[None]}
    assert torch.equal(OneHotLabelsd("labels", classes)(data)["labels"], torch.from_numpy(channels))
    with pytest.raises(LabelClassError, match="the labels 5;"):
        one_hot(labels, np.ones_like(mask), classes)


@pytest.mark.parametrize("orientation", ["RAS", "LAS", "PIR"])
def test_a_label_map_in_model_space_holds_its_own_numbers_at_their_own_places(orientation):
    """Voxels of 3 mm, and model space of 1 mm: each voxel is the one of the scan that it lies in."""
    rng = np.random.default_rng(0)
    image = Image(rng.choice([3, 500, 60000], (9, 8, 7)).astype(np.float32), oblique_affine(orientation, (3, 3, 3)))
    brain = np.zeros(image.array.shape, bool)
    brain[2:7, 2:6, 2:5] = True
    same = model_space_of(image.space, brain, None)
    assert sorted(same.labels_to_model_space(image)[0][same.mask]) == sorted(image.array[brain])
    finer = model_space_of(image.space, brain, (1.0, 1.0, 1.0))
    inside = np.argwhere(finer.mask)
    world = inside @ finer.grid.affine[:3, :3].T + finer.grid.affine[:3, 3]
    voxels = (world - image.affine[:3, 3]) @ np.linalg.inv(image.affine[:3, :3]).T
    clear = np.abs(voxels - np.floor(voxels) - 0.5).min(axis=1) > 0.01  # of the border between two voxels
    found, expected = (
        finer.labels_to_model_space(image)[0][finer.mask],
        image.array[tuple(np.rint(voxels).astype(int).T)],
    )
    np.testing.assert_array_equal(found[clear], expected[clear])
    assert clear.sum() > 1000


def test_turned_and_stretched_label_maps_hold_no_number_between_labels():
    config = resolve("labels_to_t1w", ["augmentation.affine_probability=1", "augmentation.elastic_probability=1"])
    labels = torch.from_numpy(np.random.default_rng(0).choice([1.0, 9.0], (1, 24, 26, 28)).astype(np.float32))
    for is_map, expected in ((True, True), (False, False)):
        transform = augment(config.augmentation, (20, 22, 24), labels=is_map)
        transform.set_random_state(seed=3)
        moved = transform({"source": labels, "target": labels, "mask": torch.ones_like(labels)})["source"]
        assert (set(np.unique(moved)) <= {0.0, 1.0, 9.0}) == expected


def test_lesions_are_a_class_or_white_matter():
    with_lesions = read_label_table("freesurfer").classes()
    without = read_label_table("freesurfer").classes(lesions=False)
    assert with_lesions["white_matter_lesion"] == (25, 57, 78, 79)
    assert with_lesions.keys() - without.keys() == {"white_matter_lesion"}
    assert without["white_matter"] == tuple(sorted((*with_lesions["white_matter"], 25, 57, 78, 79)))


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("task.sources=[labels,t2w]", "`labels` is the only source, or none"),
        ("intensity.source_normalization=pooled", "leave intensity.source_normalization and mask.kind out"),
        ("mask.kind=head", "leave intensity.source_normalization and mask.kind out"),
        ("augmentation.gamma_probability=0.5", "no appearance to augment"),
    ],
)
def test_what_a_label_map_has_no_use_for_is_refused(override, message):
    with pytest.raises(ConfigError, match=message):
        resolve("labels_to_t1w", [override])
