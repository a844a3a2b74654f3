import numpy as np
import pytest

from volumetric.simulation.features import pair_features


def test_features_of_a_brain_of_three_plateaus():
    """8 % fluid, half gray, the rest white matter, in slabs: each number by hand."""
    t1w = np.empty((50, 20, 20), np.float32)
    t1w[:3], t1w[3:30], t1w[30:] = 0.4, 1.0, 1.3
    t2w = np.empty_like(t1w)
    t2w[:3], t2w[3:30], t2w[30:] = 2.5, 1.0, 0.8
    t1w += np.linspace(0, 1e-3, t1w.size, dtype=np.float32).reshape(t1w.shape)  # ranks without ties
    features = pair_features(t1w, t2w, np.ones(t1w.shape, bool))
    assert len(features) == 10
    assert features["T2w white / gray"] == pytest.approx(0.8)
    assert features["T2w share above 1.8"] == pytest.approx(0.06)
    assert features["T2w where T1w is darkest"] == pytest.approx(2.5)
    assert features["T2w 2nd percentile"] == pytest.approx(0.8)
    assert features["T1w 98th percentile"] == pytest.approx(1.3, abs=2e-3)
    assert features["T1w white / gray"] == pytest.approx(1.3, abs=2e-3)
    assert features["correlation"] == pytest.approx(np.corrcoef(t1w.ravel(), t2w.ravel())[0, 1])


def test_detail_is_what_a_blur_takes_away():
    """A board of alternating voxels of amplitude a is taken away whole, a ramp is not."""
    i, j, k = np.indices((24, 22, 20))
    board = np.where((i + j + k) % 2, 0.3, -0.3).astype(np.float32)
    ramp = (1 + 0.02 * i).astype(np.float32)
    features = pair_features(ramp + board, ramp, np.ones(board.shape, bool))
    assert features["T1w detail"] == pytest.approx(0.3, abs=0.01)
    assert features["T2w detail"] < 0.01
