import math

import numpy as np
import pytest

from volumetric.metrics.uncertainty import SHARES_LEFT_OUT, coverage, error_share_of_top, sparsification


def test_coverage_counts_errors_up_to_the_half_width_either_way():
    assert coverage(np.array([-1.0, 2, 3, -4]), np.array([1.0, 2, 2.9, 5])) == 3 / 4


def test_the_error_of_the_least_certain_tenth_by_hand():
    """Errors 1 to 20; the two widest half-widths are at errors 3 and 20."""
    error, half_width = np.arange(1.0, 21), np.ones(20)
    half_width[[2, 19]] = [5, 4]
    assert error_share_of_top(error, half_width) == pytest.approx((9 + 400) / (error**2).sum())
    assert error_share_of_top(np.ones(20), half_width) == pytest.approx(0.1)
    assert math.isnan(error_share_of_top(np.zeros(20), half_width))


def test_sparsification_by_hand():
    """Errors 1 to 100: the best order leaves 1 to n; the opposite order leaves the last n."""
    error = np.arange(1.0, 101)
    curve = sparsification(-error, 1 / error)
    assert len(curve.by_error) == len(SHARES_LEFT_OUT) == 20
    left = [round(100 * (1 - share)) for share in SHARES_LEFT_OUT]
    assert curve.by_error == pytest.approx([np.sqrt((error[:n] ** 2).mean()) for n in left], abs=1e-5)
    assert curve.by_uncertainty == pytest.approx([np.sqrt((error[-n:] ** 2).mean()) for n in left], abs=1e-5)
