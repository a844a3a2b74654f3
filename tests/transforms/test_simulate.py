import numpy as np
import pytest
import torch

from tests.simulation.label_maps import label_map
from volumetric.config.simulation import SimulationConfig
from volumetric.imaging.nifti import write_image
from volumetric.simulation.label_map import prepare_label_map
from volumetric.simulation.label_table import LabelTable, LabelTableError, read_label_table
from volumetric.transforms import PrepareLabelMapd, RandSimulatePaird
from volumetric.transforms.tensors import to_tensor

NARROW = LabelTable("narrow", {0: "air", 2: "white_matter", 3: "cortex", 24: "fluid", 4: "ventricle", 12: "putamen"})
SIZE = (24, 32, 28)


@pytest.fixture(scope="module")
def prepared():
    image = label_map(outside=False)
    return prepare_label_map(image, NARROW, name="map")


def patches(prepared, seed, config=None, **options):
    options = {"spacing_mm": (2.0, 2.0, 2.0), "size": SIZE, **options}
    transform = RandSimulatePaird(config=config or SimulationConfig(), **options)
    transform.set_random_state(seed=seed)
    return transform({"labels": prepared, "subject_id": "a"})


def test_one_state_is_one_pair_and_another_is_another(prepared):
    (a,), (b,), (c,) = (patches(prepared, seed) for seed in (1, 1, 2))
    for key in ("source", "target", "mask"):
        assert torch.equal(a[key], b[key])
    assert not torch.equal(a["target"], c["target"])


def test_patches_are_in_reference_units_and_0_outside_the_mask(prepared):
    transform = RandSimulatePaird(spacing_mm=(4.0, 4.0, 4.0), size=(40, 48, 44))
    transform.set_random_state(seed=3)
    (patch,) = transform({"labels": prepared})
    for key in ("source", "target"):
        assert patch[key].dtype == torch.float32
        assert patch[key].shape == patch["mask"].shape == (1, 40, 48, 44)
        assert (patch[key][~patch["mask"]] == 0).all()
        assert float(patch[key][patch["mask"]].median()) == pytest.approx(1, abs=0.06)
    assert float(patch["whole_source"][patch["whole_mask"]].median()) == pytest.approx(1, abs=1e-5)


def test_patches_of_one_draw_are_of_one_subject_and_lie_in_its_brain(prepared):
    several = patches(prepared, 4, num_samples=5)
    assert len(several) == 5
    assert all(patch["subject_id"] == "a" for patch in several)
    assert all(patch["mask"].float().mean() > 0.2 for patch in several)
    assert torch.equal(several[0]["whole_source"], several[4]["whole_source"])
    assert not torch.equal(several[0]["source"], several[1]["source"])


def test_a_random_contrast_changes_the_source_alone(prepared):
    (physics,), (random,) = (patches(prepared, 5, SimulationConfig(random_contrast_probability=p)) for p in (0.0, 1.0))
    assert torch.equal(physics["target"], random["target"])
    assert not torch.equal(physics["source"], random["source"])


def test_motion_of_the_source_leaves_the_clean_target_and_the_measured_whole(prepared):
    (still,), (moving,) = (patches(prepared, 5, SimulationConfig(motion_probability=p)) for p in (0.0, 1.0))
    assert torch.equal(still["target"], moving["target"])
    assert torch.equal(still["whole_source"], moving["whole_source"])
    assert not torch.equal(still["source"], moving["source"])
    (again,) = patches(prepared, 5, SimulationConfig(motion_probability=1.0))
    assert torch.equal(moving["source"], again["source"])


def test_the_face_of_a_defaced_head_is_air_in_source_and_target():
    head = prepare_label_map(label_map(), read_label_table("freesurfer"), name="map")
    options = {"region": "head", "spacing_mm": (6.0, 5.0, 5.0), "size": (32, 40, 36)}
    (whole,), (defaced,) = (patches(head, 7, SimulationConfig(deface_probability=p), **options) for p in (0.0, 1.0))
    taken = whole["mask"] & ~defaced["mask"]
    assert taken.sum() > 20
    assert torch.equal(whole["brain"], defaced["brain"])
    for key in ("source", "target"):
        assert (defaced[key][taken] == 0).all()
        assert (whole[key][taken] > 0).float().mean() > 0.9


def test_a_file_and_a_tensor_give_the_same_label_map(tmp_path):
    image = label_map()
    small = image.with_array(np.where(image.array > 255, 0, image.array))
    path = tmp_path / "labels.nii.gz"
    write_image(path, small)
    prepare = PrepareLabelMapd("labels")
    from_file = prepare({"labels": path})["labels"]
    from_tensor = prepare({"labels": to_tensor(small.array[None].astype(np.int32), small.affine)})["labels"]
    np.testing.assert_array_equal(from_file.tissues, from_tensor.tissues)
    np.testing.assert_allclose(from_file.space.affine, from_tensor.space.affine, atol=1e-5)


def test_labels_without_a_tissue_are_refused_with_the_file(tmp_path):
    path = tmp_path / "labels.nii.gz"
    write_image(path, label_map().with_array(np.full((9, 9, 9), 200, np.uint8)))
    with pytest.raises(
        LabelTableError, match=r"labels\.nii\.gz: the table `three_tissues` has no tissue for label 200"
    ):
        PrepareLabelMapd("labels", "three_tissues")({"labels": path})
