import numpy as np
import pytest
import torch
from monai.data import get_track_meta

from tests.conftest import brain_pair, write_cohort
from volumetric.imaging.intensity import reference_scale
from volumetric.imaging.mask import brain_mask
from volumetric.imaging.nifti import read_image, write_image
from volumetric.learning.data import CohortStatistics, PatchDraws, patch_batches, read_pairs
from volumetric.learning.losses import masked_l1
from volumetric.learning.train import train
from volumetric.manifest import ManifestError, read_manifest
from volumetric.model.space import view_in_model_space
from volumetric.model.spec import AffineMap

UNIT = AffineMap(center=0, scale=1)


@pytest.fixture
def pairs(cohort, tiny_config):
    return read_pairs(read_manifest(cohort).split("train"), tiny_config, title="t")


def test_masked_l1_by_hand():
    target, prediction = torch.tensor([1.0, 2, 3, 4]), torch.tensor([1.5, 0, 3, 99])
    mask = torch.tensor([True, True, True, False])
    shaped = [x.reshape(1, 1, 2, 2, 1) for x in (target, prediction, mask)]
    assert masked_l1(*shaped).item() == pytest.approx(2.5 / 3)
    assert masked_l1(shaped[0], shaped[1], torch.zeros_like(shaped[2])).item() == 0


def test_training_sees_what_inference_sees(cohort, tiny_config, pairs):
    row = read_manifest(cohort).rows[0]
    t1w = read_image(row.path("t1w"))
    view = view_in_model_space(t1w.space, brain_mask(t1w).array, tiny_config.space.spacing_mm)
    np.testing.assert_array_equal(pairs[0].sources, view.bring(t1w))
    np.testing.assert_array_equal(pairs[0].mask[0], view.mask)


def test_statistics_are_those_of_the_raw_voxels(cohort, tiny_config):
    rows = read_manifest(cohort).split("train")
    statistics = CohortStatistics()
    read_pairs(rows, tiny_config, title="t", statistics=statistics)
    values = []
    for row in rows:
        t1w, t2w = read_image(row.path("t1w")).array, read_image(row.path("t2w")).array
        inside = t1w != 0
        values.append(t2w[inside] / reference_scale(t2w, inside))
    everyone = np.concatenate(values).astype(float)
    target_map = statistics.target_map()
    assert target_map.center == pytest.approx(everyone.mean(), rel=1e-6)
    assert target_map.scale == pytest.approx(everyone.std(), rel=1e-5)
    assert statistics.target.data_range() == pytest.approx(np.quantile(everyone, 0.995), abs=1e-3)


def test_patches_are_crops_of_the_pair_and_share_each_flip(pairs, tiny_config):
    """Volumes whose values are their own addresses tell where a patch comes from."""
    pair = pairs[0]
    address = np.arange(1, pair.mask.size + 1, dtype=np.float32).reshape(pair.mask.shape)
    marked = type(pair)("p", address, address, np.ones_like(pair.mask), pair.spacing_mm)
    draws = PatchDraws([marked], tiny_config, UNIT)
    steps = set()
    for number in range(12):
        for patch in draws[number]:
            assert patch["source"].shape == patch["target"].shape == (1, *tiny_config.patch.size)
            # the source is z-scored, the target is not: the same crop up to one affine map
            undone = patch["source"] * address.std() + address.mean()
            torch.testing.assert_close(patch["target"], undone, rtol=0, atol=0.1)
            _, j, k = pair.mask.shape[1:]
            steps.add(int(patch["target"][0, 1, 0, 0] - patch["target"][0, 0, 0, 0]) // (j * k))
            assert patch["target"][0, 0, 1, 0] - patch["target"][0, 0, 0, 0] == k
    assert steps == {1, -1}  # left-right is mirrored in some and in no other axis


def test_volumes_smaller_than_a_patch_are_padded_by_nothing(pairs, tiny_config):
    config = tiny_config.model_copy(update={"patch": tiny_config.patch.model_copy(update={"size": (48, 64, 48)})})
    patch = PatchDraws(pairs, config, UNIT)[0][0]
    assert patch["source"].shape == (1, 48, 64, 48)
    assert int(patch["mask"].sum()) in {int(pair.mask.sum()) for pair in pairs}
    assert (patch["source"][~patch["mask"].bool()] == 0).all()


def test_a_draw_depends_on_its_number_alone(pairs, tiny_config):
    first, second = (PatchDraws(pairs, tiny_config, UNIT) for _ in range(2))
    wanted = [first[number] for number in range(6)]
    for number in (4, 1, 5, 0, 3, 2):
        for ours, theirs in zip(second[number], wanted[number], strict=True):
            torch.testing.assert_close(ours["source"], theirs["source"], rtol=0, atol=0)
    other = PatchDraws(pairs, tiny_config.model_copy(update={"seed": 1}), UNIT)
    assert any(not torch.equal(other[n][0]["source"], wanted[n][0]["source"]) for n in range(6))


def test_cutting_patches_leaves_monais_global_settings_alone(pairs, tiny_config):
    """Switching its metadata off for everybody broke other MONAI code in the same process."""
    patch = PatchDraws(pairs, tiny_config, UNIT)[0][0]
    assert get_track_meta()
    assert type(patch["source"]) is torch.Tensor


def test_every_volume_comes_up_once_an_epoch(pairs, tiny_config):
    marked = [
        type(p)(str(n), p.sources, np.full_like(p.target, n + 1), np.ones_like(p.mask), p.spacing_mm)
        for n, p in enumerate([*pairs, *pairs])
    ]
    draws = PatchDraws(marked, tiny_config, UNIT)
    seen = [int(draws[number][0]["target"].max()) for number in range(8)]
    assert sorted(seen[:4]) == sorted(seen[4:]) == [1, 2, 3, 4]


@pytest.mark.parametrize("num_workers", [0, 2])
def test_batches_go_on_from_any_step_and_ranks_share_none(pairs, tiny_config, num_workers):
    config = tiny_config.model_copy(update={"num_workers": num_workers})
    whole = list(patch_batches(pairs, config, UNIT, first_step=0))
    rest = list(patch_batches(pairs, config, UNIT, first_step=4))
    assert len(whole) == config.optim.num_steps
    for a, b in zip(whole[4:], rest, strict=True):
        assert a["source"].shape == (config.patch.batch_size, 1, *config.patch.size)
        torch.testing.assert_close(a["source"], b["source"], rtol=0, atol=0)
    ranks = [next(iter(patch_batches(pairs, config, UNIT, first_step=0, rank=r, world_size=2))) for r in (0, 1)]
    torch.testing.assert_close(ranks[0]["source"], whole[0]["source"], rtol=0, atol=0)
    torch.testing.assert_close(ranks[1]["source"], whole[1]["source"], rtol=0, atol=0)


def test_every_unusable_pair_is_named_in_one_error(tmp_path, tiny_config):
    manifest = read_manifest(write_cohort(tmp_path, ["train"] * 3))
    t1w, _ = brain_pair(0)
    broken = t1w.array.copy()
    broken[3, 3, 3] = np.nan
    write_image(manifest.rows[0].paths["t1w"], t1w.with_array(broken))
    write_image(manifest.rows[2].paths["t2w"], t1w.with_array(t1w.array[1:]))
    with pytest.raises(ManifestError) as caught:
        read_pairs(manifest.rows, tiny_config, title="t")
    message = str(caught.value)
    assert "subject p0: " in message
    assert "NaN" in message
    assert "subject p2: `t2w` has shape (30, 37, 29)" in message
    assert "p1" not in message
    with pytest.raises(ManifestError):
        train([tmp_path / "manifest.csv"], tiny_config, tmp_path / "run")
    assert not (tmp_path / "run").exists()
