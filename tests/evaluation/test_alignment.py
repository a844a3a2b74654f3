import numpy as np
import pytest
from scipy.ndimage import shift as move

from tests.conftest import brain_pair
from volumetric.evaluation.alignment import shift_mm

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
