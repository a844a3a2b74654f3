"""Figure of paired differences: one that lacks values is drawn, and equal figures are equal bytes."""

import numpy as np

from volumetric.figures.differences import Differences, Panel, _jitter, draw_differences


def test_jitter_separates_neighbors_and_stays_in_its_band():
    heights = _jitter(50)
    assert np.abs(heights).max() <= 1
    assert np.abs(np.diff(heights)).min() > 0.5
    np.testing.assert_array_equal(heights[:10], _jitter(10))


def test_missing_values_and_a_missing_interval_are_left_out(tmp_path):
    values = np.array([0.5, np.nan, -0.25, 0.0])
    panels = [
        Panel("PSNR", True, [Differences("a", values, 0.083, np.nan, np.nan)]),
        Panel("MAE", False, [Differences("a", -values, -0.083, -0.4, 0.2)]),
    ]
    files = [tmp_path / "a.png", tmp_path / "b.png"]
    for file in files:
        draw_differences(panels, file)
    assert files[0].read_bytes() == files[1].read_bytes()
    assert files[0].read_bytes()[:4] == b"\x89PNG"
