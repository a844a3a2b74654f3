import numpy as np
import pytest
from scipy.ndimage import shift as move

from tests.conftest import brain_pair, oblique_affine
from volumetric.evaluation.health import Likeness, clipped_fraction, likeness, resembled, shift_mm

SPACING = np.array([1.0, 2.0, 1.5])


@pytest.mark.parametrize("offset", [(0, 0, 0), (1, 0, 0), (0, -2, 0), (0.5, 0, -1), (-0.4, 0.3, 1.2)])
def test_a_known_shift_is_found(offset):
    _, truth = brain_pair(1, shape=(41, 45, 43))
    mask = truth.array != 0
    moved = move(truth.array, offset, order=3)
    found = shift_mm(truth.array, moved, mask, SPACING)
    assert found == pytest.approx(np.linalg.norm(np.array(offset) * SPACING), abs=0.2)


def test_other_intensities_are_no_shift():
    _, truth = brain_pair(1, shape=(41, 45, 43))
    mask = truth.array != 0
    noisy = truth.array**1.2 + np.random.default_rng(0).normal(0, 0.05 * truth.array[mask].mean(), mask.shape)
    assert shift_mm(truth.array, noisy.astype(np.float32), mask, SPACING) < 0.2


def test_no_edges_or_no_room_is_no_number():
    _, truth = brain_pair(1, shape=(41, 45, 43))
    mask = truth.array != 0
    assert np.isnan(shift_mm(truth.array, np.ones_like(truth.array), mask, SPACING))
    small = np.zeros_like(mask)
    small[20:24, 20:24, 20:24] = True
    assert np.isnan(shift_mm(truth.array, truth.array, small, SPACING))


def test_blocks_hold_the_mean_of_what_lies_in_them_in_any_orientation():
    affine = np.diag([4.0, 4, 4, 1])
    affine[:3, 3] = 2 - 160  # voxel centers off the blocks' walls: 2 x 2 x 2 voxels a block
    image = np.arange(6 * 4 * 8, dtype=np.float32).reshape(6, 4, 8)
    mask = np.ones(image.shape, bool)
    found = likeness(image, -image, mask, affine)
    blocks = image.reshape(3, 2, 2, 2, 4, 2).mean(axis=(1, 3, 5))
    assert found.truth == pytest.approx(blocks.ravel())
    assert found.prediction == pytest.approx(-blocks.ravel())
    flipped = affine @ np.diag([-1, 1, 1, 1])
    flipped[:3, 3] += affine[:3, :3] @ [5, 0, 0]
    again = likeness(image[::-1], -image[::-1], mask, flipped)
    assert again.truth == pytest.approx(found.truth)
    assert np.array_equal(again.blocks, found.blocks)


def test_packing_loses_nothing():
    _, truth = brain_pair(2)
    made = likeness(truth.array, 2 * truth.array, truth.array != 0, oblique_affine())
    back = Likeness.unpack(made.pack())
    assert all(np.array_equal(a, b) for a, b in zip(made, back, strict=True))


def test_only_a_clear_likeness_to_another_is_a_swap():
    rng = np.random.default_rng(0)
    blocks = np.arange(200, dtype=np.int32)
    a, b, noise = rng.normal(size=(3, 200)).astype(np.float32)
    people = {"a": Likeness(blocks, a, 0.9 * b + 0.1 * noise), "b": Likeness(blocks, b, b + 3 * noise)}
    assert "the truth of b (r = 0.9" in resembled("a", people)
    assert resembled("b", people) is None
    people["b"] = Likeness(blocks, b, noise)
    assert resembled("b", people) is None  # like nobody: poor, not swapped
    people["b"] = Likeness(blocks, b, np.ones_like(b))
    assert resembled("b", people) is None


def test_clipped_voxels_are_counted_at_both_ends():
    prediction = np.arange(1, 25, dtype=np.float32).reshape(2, 3, 4)
    mask = prediction > 4
    assert clipped_fraction(prediction, mask) == 0
    assert clipped_fraction(prediction.clip(max=22), mask) == 3 / 20
    assert clipped_fraction(prediction - 6, mask) == 2 / 20
    assert clipped_fraction((prediction - 6).clip(0, 16), mask) == 5 / 20
