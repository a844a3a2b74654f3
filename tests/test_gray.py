import numpy as np
import pytest

from benchmarks.gray import CASE, METRICS, gray, over_seeds


def test_gray_levels_keep_the_scanner_s_units_and_the_zeros():
    array = np.array([[[0, 1, 255, 256, 512.5, 1024]]], np.float32)
    assert gray(array, "simple").tolist() == [[[0, 128, 128, 384, 640, 1152]]]
    assert gray(array, "adaptive").tolist() == [[[0, 2, 254, 258, 514, 1022]]]  # levels of 1024 / 256, the last closed


def test_seeds_of_one_cell_become_a_mean_and_half_their_distance():
    case = dict.fromkeys(CASE, "a")
    rows = [{**case, **dict.fromkeys(METRICS, value), "train_cpu_s": 1.0} for value in (0.1, 0.5)]
    (one,) = over_seeds([*rows, {**case, "truth": "b", **dict.fromkeys(METRICS, 1.0)}])[:1]
    assert {key: one[key] for key in CASE} == case
    assert one["rmae"] == pytest.approx(0.3)
    assert one["rmae_spread"] == pytest.approx(0.2)
    assert one["train_cpu_s"] == 1
