import numpy as np
import pytest
import torch
from monai.transforms import Compose

from tests.conftest import brain_pair, head_pair
from volumetric.imaging.intensity import reference_scale
from volumetric.imaging.mask import MaskError, brain_mask, head_mask
from volumetric.model.space import model_space_of
from volumetric.subject import SubjectError
from volumetric.transforms import NormalizeInMaskd, RegionMaskd, ToModelSpaced
from volumetric.transforms.tensors import to_tensor


@pytest.fixture
def loaded():
    t1w, t2w = brain_pair(0)
    mask = brain_mask(t1w).array
    return {
        name: to_tensor(a[None], t1w.affine) for name, a in {"t1w": t1w.array, "t2w": t2w.array, "mask": mask}.items()
    }


def test_it_is_the_model_space_of_inference(loaded):
    t1w, t2w = brain_pair(0)
    space = model_space_of(t1w.space, brain_mask(t1w).array, (4.0, 4.0, 4.0))
    volume = ToModelSpaced(["t1w", "t2w"], (4.0, 4.0, 4.0))(loaded)
    for name, expected in zip(("t1w", "t2w"), space.to_model_space(t1w, t2w), strict=True):
        np.testing.assert_array_equal(volume[name].numpy()[0], expected)
        np.testing.assert_array_equal(volume[name].affine.numpy(), space.grid.affine)
    np.testing.assert_array_equal(volume["mask"].numpy()[0], space.mask)


def test_the_way_back_is_exact_at_the_scans_own_spacing_after_normalization_too(loaded):
    transform = Compose([ToModelSpaced(["t1w", "t2w"]), NormalizeInMaskd("t1w", "robust")])
    back = transform.inverse(transform(loaded))
    inside = loaded["mask"].numpy()
    scale = reference_scale(loaded["t2w"].numpy(), inside)
    np.testing.assert_array_equal(back["t2w"].numpy(), np.where(inside, loaded["t2w"].numpy() / np.float32(scale), 0))
    np.testing.assert_array_equal(back["mask"].numpy(), inside)
    np.testing.assert_array_equal(back["t2w"].affine.numpy(), loaded["t2w"].affine.numpy())
    scale = reference_scale(loaded["t1w"].numpy(), inside)
    np.testing.assert_allclose(back["t1w"].numpy() * scale, np.where(inside, loaded["t1w"].numpy(), 0), rtol=1e-4)


def test_the_way_back_from_another_spacing_is_onto_the_scans_grid(loaded):
    transform = ToModelSpaced("t1w", (5.0, 5.0, 5.0))
    volume = transform(loaded)
    space = model_space_of(brain_pair(0)[0].space, loaded["mask"].numpy()[0], (5.0, 5.0, 5.0))
    back = transform.inverse(volume)
    np.testing.assert_array_equal(back["t1w"].numpy()[0], space.from_model_space(volume["t1w"].numpy()[0]))
    assert torch.equal(back["mask"].as_tensor(), loaded["mask"].as_tensor())


def test_volumes_on_two_grids_are_refused(loaded):
    moved = to_tensor(loaded["t2w"].numpy(), loaded["t2w"].affine.numpy() + np.diag([0, 0, 0.5, 0]))
    with pytest.raises(SubjectError, match="subject a: `t2w` has the shape of `t1w` but another affine"):
        ToModelSpaced(["t1w", "t2w"])({**loaded, "t2w": moved, "subject_id": "a"})


@pytest.fixture
def heads():
    names = ("t1w", "t2w", "mask")
    return {name: to_tensor(image.array[None], image.affine) for name, image in zip(names, head_pair(0), strict=True)}


def test_a_head_and_its_brain_come_along_and_back(heads):
    contrasts = ["t1w", "t2w"]
    transform = Compose([RegionMaskd("t1w"), ToModelSpaced(contrasts, (5.0, 4.0, 6.0), region_key="region")])
    volume = transform(heads)
    t1w, _, mask = head_pair(0)
    brain = mask.array > 0
    head = head_mask(t1w, brain)
    space = model_space_of(t1w.space, brain, (5.0, 4.0, 6.0), head)
    np.testing.assert_array_equal(volume["mask"].numpy()[0], space.brain)
    np.testing.assert_array_equal(volume["region"].numpy()[0], space.mask)
    np.testing.assert_array_equal(volume["t2w"].numpy()[0], space.to_model_space(head_pair(0)[1])[0])
    back = transform.inverse(volume)
    np.testing.assert_array_equal(back["mask"].numpy()[0], brain)
    np.testing.assert_array_equal(back["region"].numpy()[0], head)


def test_a_head_ends_where_the_target_does_and_keeps_its_brain(heads):
    heads["t2w"][..., :12] = 0
    region = RegionMaskd("t1w", target_key="t2w")(heads)["region"].numpy()[0]
    t1w, _, mask = head_pair(0)
    head = head_mask(t1w, mask.array > 0)
    np.testing.assert_array_equal(region[..., :12], mask.array[..., :12] > 0)
    np.testing.assert_array_equal(region[..., 12:], head[..., 12:])


def test_a_brain_extracted_scan_has_no_head(loaded):
    np.testing.assert_array_equal(RegionMaskd("t1w", "brain")(loaded)["region"], loaded["mask"])
    with pytest.raises(
        MaskError, match=r"t1w: the image is brain-extracted, and mask\.kind is head; .* mask\.kind=brain"
    ):
        RegionMaskd("t1w")(loaded)
