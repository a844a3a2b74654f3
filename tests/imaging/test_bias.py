"""A known shading is found, and nothing else is changed."""

import numpy as np
import pytest

from volumetric.imaging.bias import BiasError, bias_field


@pytest.fixture(scope="module")
def shaded(simulated_scan):
    """The T1w of a simulated subject, a strong shading of it, and its mask."""
    x, y, z = np.meshgrid(*[np.linspace(-1, 1, n) for n in simulated_scan.t1w.shape], indexing="ij")
    shading = np.exp(0.4 * x - 0.3 * y * z + 0.3 * z**2).astype(np.float32)
    return simulated_scan.t1w, shading, simulated_scan.mask > 0


def test_a_known_shading_leaves_under_five_percent_in_white_matter(shaded, simulated_scan):
    t1w, shading, mask = shaded
    # the scan has a shading of its own, which is found in both
    fields = [bias_field(image, simulated_scan.space, mask, working_mm=6) for image in (t1w, t1w * shading)]
    white = simulated_scan.tissues == 3
    before, after = ((f[white].std() / f[white].mean()) for f in (shading, shading * fields[0] / fields[1]))
    assert before > 0.12
    assert after < 0.05


def test_the_field_has_mean_one_keeps_to_its_range_and_comes_back_bit_by_bit(shaded, simulated_scan):
    t1w, shading, mask = shaded
    field, again = (bias_field(t1w * shading, simulated_scan.space, mask, iterations=(10, 5)) for _ in range(2))
    assert np.log(field[mask]).mean() == pytest.approx(0, abs=1e-4)
    assert field[mask].min() <= field.min()
    assert field.max() <= field[mask].max()
    assert field.tobytes() == again.tobytes()


def test_no_positive_voxel_in_the_mask_is_one_clear_error(shaded, simulated_scan):
    t1w, _, mask = shaded
    with pytest.raises(BiasError, match=r"p1: 0 positive voxels .* set bias\.enabled=false"):
        bias_field(-t1w, simulated_scan.space, mask, name="p1")
