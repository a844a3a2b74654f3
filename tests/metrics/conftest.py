"""A pair of volumes with unequal sides, and a mask of it, for the metric tests."""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pytest
from scipy import ndimage

SHAPE = (17, 23, 19)
DATA_RANGE = 1.7


class Case(NamedTuple):
    truth: npt.NDArray[np.float32]
    prediction: npt.NDArray[np.float32]
    mask: npt.NDArray[np.bool_]
    data_range: float


@pytest.fixture
def case() -> Case:
    """Truth with structure, a prediction that is noisy, dimmer and offset, an uneven mask, all `(17, 23, 19)`."""
    rng = np.random.default_rng(20240607)
    truth = ndimage.gaussian_filter(rng.normal(size=SHAPE), 1.2) * 2 + 0.8
    prediction = 0.9 * truth + 0.07 + 0.08 * rng.normal(size=SHAPE)
    mask = np.zeros(SHAPE, bool)
    mask[2:9, 4:21, 1:13] = True
    mask &= rng.random(SHAPE) < 0.7
    return Case(truth.astype(np.float32), prediction.astype(np.float32), mask, DATA_RANGE)
