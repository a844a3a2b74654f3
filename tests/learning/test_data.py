from typing import get_args

import numpy as np
import pytest
import torch
from monai.data import get_track_meta

from volumetric.config.run import AugmentationConfig, IntensityConfig, SourceNormalization
from volumetric.imaging.intensity import standard_units, standardize
from volumetric.learning.data import PatchDraws, patch_batches
from volumetric.learning.reading import read_pairs
from volumetric.learning.statistics import intensities, source_maps
from volumetric.manifest import read_manifest
from volumetric.model.spec import AffineMap
from volumetric.model.units import in_network_units


def test_patches_are_crops_of_the_pair_and_share_each_flip(pairs, make_pair, tiny_config, spec):
    """Volumes whose values are their own addresses tell where a patch comes from."""
    shape = pairs[0].mask.shape[1:]
    address = np.arange(1, np.prod(shape) + 1, dtype=np.float32).reshape(shape)
    draws = PatchDraws([make_pair("p", address, 2 * address)], tiny_config, spec)
    steps = set()
    for number in range(12):
        for patch in draws[number]:
            assert patch["source"].shape == patch["target"].shape == (1, *tiny_config.patch.size)
            torch.testing.assert_close(patch["target"], 2 * patch["source"], rtol=0, atol=0)
            _, j, k = shape
            steps.add(int(patch["source"][0, 1, 0, 0] - patch["source"][0, 0, 0, 0]) // (j * k))
            assert patch["source"][0, 0, 1, 0] - patch["source"][0, 0, 0, 0] == k
    assert steps == {1, -1}  # left-right is mirrored in some and in no other axis


@pytest.mark.parametrize("name", get_args(SourceNormalization))
def test_the_network_sees_the_same_in_training_and_in_inference(cohort, tiny_config, spec, tmp_path, name):
    config = tiny_config.model_copy(
        update={
            "intensity": IntensityConfig(source_normalization=name),
            "patch": tiny_config.patch.model_copy(update={"size": (48, 64, 48)}),
            "augmentation": AugmentationConfig(flip_probability=0),
        }
    )
    pairs = read_pairs(read_manifest(cohort).split("train"), config, tmp_path / "cache", title="t")
    own = spec.model_copy(
        update={"source_normalization": name, "source_maps": source_maps(intensities(pairs, (), config), config)}
    )
    draws = PatchDraws(pairs, config, own)
    wanted = [in_network_units(own, pair.sources, pair.mask[0]) for pair in pairs]
    for number in range(2):  # a patch that holds the whole brain
        patch = draws[number][0]["source"][0].numpy()
        assert any(np.array_equal(patch[crop(patch)], one[0][crop(one[0])]) for one in wanted)


def crop(array):
    """The box of what is not 0."""
    return tuple(slice(i.min(), i.max() + 1) for i in np.nonzero(array))


def test_zscored_sources_are_what_they_were_before_there_were_others(pairs, spec):
    for pair in pairs:
        source, mask = pair.sources[0], pair.mask[0]
        wanted = standardize(source, mask, *standard_units(source, mask))
        np.testing.assert_array_equal(in_network_units(spec, pair.sources, mask)[0], wanted)


def test_volumes_smaller_than_a_patch_are_padded_by_nothing(pairs, tiny_config, spec):
    config = tiny_config.model_copy(update={"patch": tiny_config.patch.model_copy(update={"size": (48, 64, 48)})})
    patch = PatchDraws(pairs, config, spec)[0][0]
    assert patch["source"].shape == (1, 48, 64, 48)
    assert int(patch["mask"].sum()) in {int(pair.mask.sum()) for pair in pairs}
    assert (patch["source"][~patch["mask"].bool()] == 0).all()


def test_a_draw_depends_on_its_number_alone(pairs, tiny_config, spec):
    first, second = (PatchDraws(pairs, tiny_config, spec) for _ in range(2))
    wanted = [first[number] for number in range(6)]
    for number in (4, 1, 5, 0, 3, 2):
        for ours, theirs in zip(second[number], wanted[number], strict=True):
            torch.testing.assert_close(ours["source"], theirs["source"], rtol=0, atol=0)
    other = PatchDraws(pairs, tiny_config.model_copy(update={"seed": 1}), spec)
    assert any(not torch.equal(other[n][0]["source"], wanted[n][0]["source"]) for n in range(6))


def test_cutting_patches_leaves_monais_global_settings_alone(pairs, tiny_config, spec):
    """Switching its metadata off for everybody broke other MONAI code in the same process."""
    patch = PatchDraws(pairs, tiny_config, spec)[0][0]
    assert get_track_meta()
    assert type(patch["source"]) is torch.Tensor


def test_every_volume_comes_up_once_an_epoch(make_pair, tiny_config, spec):
    marked = [make_pair(f"p{n}", np.ones((20, 24, 18)), np.full((20, 24, 18), n + 1)) for n in range(4)]
    draws = PatchDraws(marked, tiny_config, spec)
    seen = [int(draws[number][0]["target"].max()) for number in range(8)]
    assert sorted(seen[:4]) == sorted(seen[4:]) == [1, 2, 3, 4]


@pytest.mark.parametrize("num_workers", [0, 2])
def test_batches_go_on_from_any_step_and_ranks_share_none(pairs, tiny_config, spec, num_workers):
    config = tiny_config.model_copy(update={"num_workers": num_workers})
    whole = list(patch_batches(pairs, config, spec, first_step=0))
    rest = list(patch_batches(pairs, config, spec, first_step=4))
    assert len(whole) == config.optim.num_steps
    for a, b in zip(whole[4:], rest, strict=True):
        assert a["source"].shape == (config.patch.batch_size, 1, *config.patch.size)
        torch.testing.assert_close(a["source"], b["source"], rtol=0, atol=0)
    split = config.model_copy(update={"patch": config.patch.model_copy(update={"num_per_volume": 1})})
    whole = list(patch_batches(pairs, split, spec, first_step=3))
    ranks = [list(patch_batches(pairs, split, spec, first_step=3, rank=r, world_size=2)) for r in (0, 1)]
    for step, batch in enumerate(whole):
        shared = torch.cat([ranks[rank][step]["source"] for rank in (0, 1)])
        torch.testing.assert_close(shared, batch["source"], rtol=0, atol=0)


def test_pooled_sources_go_by_the_map_of_the_training_subjects(pairs, tiny_config, spec):
    pooled = spec.model_copy(
        update={"source_normalization": "pooled", "source_maps": (AffineMap(center=0.9, scale=0.25),)}
    )
    raw = spec.model_copy(update={"source_normalization": "pooled", "source_maps": (AffineMap(center=0, scale=1),)})
    ours, reference = (PatchDraws(pairs, tiny_config, s)[0][0] for s in (pooled, raw))
    inside = ours["mask"]
    torch.testing.assert_close(ours["source"][inside], (reference["source"][inside] - 0.9) / 0.25)
    assert (ours["source"][~inside] == 0).all()
