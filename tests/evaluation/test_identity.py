import numpy as np
import pytest

from tests.conftest import brain_pair, oblique_affine
from volumetric.evaluation.identity import BlockMeans, block_means, find_swap


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
    assert "the truth of b (r = 0.9" in find_swap("a", cohort)
    assert find_swap("b", cohort) is None
    cohort["b"] = BlockMeans(blocks, b, noise)
    assert find_swap("b", cohort) is None  # like no truth: poor, not swapped
    cohort["b"] = BlockMeans(blocks, b, np.ones_like(b))
    assert find_swap("b", cohort) is None
