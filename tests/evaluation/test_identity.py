import numpy as np
import pytest

from tests.conftest import brain_pair, oblique_affine
from volumetric.evaluation.identity import BlockMeans, _correlation, _correlations, block_means, find_swaps


def test_blocks_hold_the_mean_of_what_lies_in_them_in_any_orientation():
    affine = np.diag([4.0, 4, 4, 1])
    affine[:3, 3] = 2 - 160  # voxel centers off the blocks' walls: 2 x 2 x 2 voxels a block
    image = np.arange(6 * 4 * 8, dtype=np.float32).reshape(6, 4, 8)
    mask = np.ones(image.shape, bool)
    found = block_means(image, -image, mask, affine)
    blocks = image.reshape(3, 2, 2, 2, 4, 2).mean(axis=(1, 3, 5))
    assert found.truth == pytest.approx(blocks.ravel())
    assert found.prediction == pytest.approx(-blocks.ravel())
    flipped = affine @ np.diag([-1, 1, 1, 1])
    flipped[:3, 3] += affine[:3, :3] @ [5, 0, 0]
    again = block_means(image[::-1], -image[::-1], mask, flipped)
    assert again.truth == pytest.approx(found.truth)
    assert np.array_equal(again.blocks, found.blocks)


def test_packing_loses_nothing():
    _, truth = brain_pair(2)
    made = block_means(truth.array, 2 * truth.array, truth.array != 0, oblique_affine())
    back = BlockMeans.unpack(made.pack())
    assert all(np.array_equal(a, b) for a, b in zip(made, back, strict=True))


def test_only_a_clear_resemblance_to_another_subject_is_a_swap():
    rng = np.random.default_rng(0)
    blocks = np.arange(200, dtype=np.int32)
    a, b, noise = rng.normal(size=(3, 200)).astype(np.float32)
    cohort = {"a": BlockMeans(blocks, a, 0.9 * b + 0.1 * noise), "b": BlockMeans(blocks, b, b + 3 * noise)}
    swaps = find_swaps(cohort)
    assert list(swaps) == ["a"]
    assert "the truth of b (r = 0.9" in swaps["a"]
    cohort["b"] = BlockMeans(blocks, b, noise)
    assert list(find_swaps(cohort)) == ["a"]  # like no truth: poor, not swapped
    cohort["b"] = BlockMeans(blocks, b, np.ones_like(b))
    assert list(find_swaps(cohort)) == ["a"]


def test_all_correlations_at_once_are_those_of_pairs(monkeypatch):
    monkeypatch.setattr("volumetric.evaluation.identity._ROWS", 3)
    rng = np.random.default_rng(1)
    cohort = []
    for number in range(8):
        blocks = np.sort(rng.choice(90, 60, replace=False)).astype(np.int32)
        truth, prediction = (1000 + rng.normal(size=(2, 60))).astype(np.float32)
        cohort.append(BlockMeans(blocks, truth, prediction * (number != 5)))
    cohort.append(BlockMeans(np.arange(7, dtype=np.int32), *rng.normal(size=(2, 7)).astype(np.float32)))
    one_by_one = np.array([[_correlation(a, b) for b in cohort] for a in cohort])
    assert not one_by_one[5].any()  # flat
    assert not one_by_one[8].any()  # too few blocks
    assert _correlations(cohort, cohort) == pytest.approx(one_by_one, abs=1e-4)


def test_a_swap_in_a_large_cohort_is_found_across_the_chunks(monkeypatch):
    monkeypatch.setattr("volumetric.evaluation.identity._ROWS", 4)
    rng = np.random.default_rng(2)
    blocks = np.arange(300, dtype=np.int32)
    truths = rng.normal(size=(11, 300)).astype(np.float32)
    cohort = {f"s{n}": BlockMeans(blocks, truth, truth) for n, truth in enumerate(truths)}
    for own, other in ((1, 9), (9, 1), (10, 0)):
        cohort[f"s{own}"] = BlockMeans(blocks, truths[own], truths[other])
    swaps = find_swaps(cohort)
    assert {name: sentence.split("truth of ")[1].split()[0] for name, sentence in swaps.items()} == {
        "s1": "s9", "s9": "s1", "s10": "s0",
    }  # fmt: skip
