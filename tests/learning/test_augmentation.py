import numpy as np
import pytest
import torch

from volumetric.config.run import AugmentationConfig
from volumetric.learning.augmentation import augment, size_with_margin
from volumetric.learning.data import PatchDraws

SIZE = (24, 16, 20)
GEOMETRY = ("flip", "affine", "elastic")
APPEARANCE = ("bias", "gamma", "noise", "blur", "low_resolution")


def only(name, **ranges):
    return AugmentationConfig.model_validate({"flip_probability": 0, f"{name}_probability": 1, **ranges})


def volume(config, seed=0):
    """A smooth image, its double as target, and an ellipsoid."""
    shape = size_with_margin(config, SIZE)
    x, y, z = np.meshgrid(*(np.linspace(-1, 1, n) for n in shape), indexing="ij")
    image = 1 + 0.5 * np.sin(3 * x + seed) * np.cos(2 * y) + 0.3 * z + 0.1 * x
    source = torch.from_numpy(image[None].astype(np.float32))
    mask = torch.from_numpy((x**2 + y**2 + z**2 < 0.9)[None])
    return {"source": source, "target": 2 * source, "mask": mask}


@pytest.mark.parametrize("name", GEOMETRY)
def test_geometry_moves_source_and_target_alike_and_each_draw_differs(name):
    config = only(name)
    transform = augment(config, SIZE)
    still = augment(AugmentationConfig(flip_probability=0), SIZE)
    seen = []
    for seed in range(3):
        transform.set_random_state(seed=seed)
        patch = transform(volume(config))
        assert patch["source"].shape == patch["target"].shape == patch["mask"].shape == (1, *SIZE)
        torch.testing.assert_close(patch["target"], 2 * patch["source"], rtol=1e-5, atol=1e-5)
        seen.append(patch["source"].as_tensor())
    if name != "flip":
        assert not torch.allclose(seen[0], seen[1], atol=1e-3)
        assert not torch.allclose(seen[1], seen[2], atol=1e-3)
    assert not torch.allclose(seen[0], still(volume(config))["source"][:, : SIZE[0], : SIZE[1], : SIZE[2]], atol=1e-3)


@pytest.mark.parametrize("name", APPEARANCE)
def test_appearance_changes_the_source_alone(name):
    config = only(name)
    transform = augment(config, SIZE)
    before = volume(config)
    transform.set_random_state(seed=1)
    after = transform(volume(config))
    assert after["source"].shape == before["source"].shape
    assert not torch.allclose(after["source"].as_tensor(), before["source"], atol=1e-4)
    assert torch.equal(torch.as_tensor(after["target"]), before["target"])
    assert torch.equal(torch.as_tensor(after["mask"]), before["mask"])


def test_displacements_stay_within_what_the_configuration_says():
    """An image of coordinates tells where each voxel came from."""
    config = only("elastic", elastic_vox=2)
    shape = size_with_margin(config, SIZE)
    where = torch.from_numpy(np.stack(np.meshgrid(*(np.arange(n, dtype=np.float32) for n in shape), indexing="ij")))
    transform = augment(config, SIZE)
    largest = 0.0
    for seed in range(10):
        transform.set_random_state(seed=seed)
        moved = transform({"source": where, "target": where[:1], "mask": torch.ones_like(where[:1])})["source"]
        margin = [(a - b) // 2 for a, b in zip(shape, SIZE, strict=True)]
        still = where[(slice(None), *(slice(m, m + n) for m, n in zip(margin, SIZE, strict=True)))]
        largest = max(largest, float((moved.as_tensor() - still).abs().max()))
    assert 0.5 < largest < 2.5


def test_an_affine_of_no_range_is_the_middle_of_the_cut():
    config = only("affine", rotation_deg=0, scaling=0, shear=0)
    before = volume(config)
    after = augment(config, SIZE)(volume(config))
    margin = [(a - b) // 2 for a, b in zip(size_with_margin(config, SIZE), SIZE, strict=True)]
    middle = tuple(slice(m, m + n) for m, n in zip(margin, SIZE, strict=True))
    torch.testing.assert_close(after["source"].as_tensor(), before["source"][(slice(None), *middle)], rtol=0, atol=1e-5)


def test_everything_at_once_is_reproducible_by_number_and_dark_outside_the_mask(make_pair, tiny_config, spec):
    everything = AugmentationConfig.model_validate({f"{n}_probability": 1 for n in (*GEOMETRY, *APPEARANCE)})
    config = tiny_config.model_copy(update={"augmentation": everything})
    whole = volume(only("blur"))
    pair = make_pair("p", *(whole[key][0].numpy() for key in ("source", "target", "mask")))
    draws = [PatchDraws([pair], config, spec) for _ in range(2)]
    for number in (3, 0):
        first, again = (d[number][0] for d in draws)
        assert torch.equal(first["source"], again["source"])
        assert first["source"].shape == (1, *config.patch.size)
        assert (first["source"][~first["mask"]] == 0).all()
        assert first["mask"].any()
        assert torch.isfinite(first["source"]).all()
    assert not torch.equal(draws[0][0][0]["source"], draws[0][1][0]["source"])
