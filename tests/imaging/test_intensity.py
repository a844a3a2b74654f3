import numpy as np
import pytest

from volumetric.imaging.intensity import (
    IntensityError,
    PooledIntensities,
    in_reference_units,
    reference_scale,
    standard_units,
    standardize,
)


def test_reference_scale_is_the_median_in_the_mask_alone():
    array = np.array([[[1.0, 4.0, 10.0, 999.0]]])
    mask = np.array([[[True, True, True, False]]])
    assert reference_scale(array, mask) == 4.0
    np.testing.assert_allclose(in_reference_units(array, mask, 4.0), [[[0.25, 1.0, 2.5, 0.0]]])
    with pytest.raises(IntensityError, match=r"a\.nii: the median"):
        reference_scale(-array, mask, name="a.nii")


def test_a_scan_with_one_value_everywhere_is_refused():
    mask = np.array([[[True, True, False]]])
    with pytest.raises(IntensityError, match=r"a\.nii: every voxel inside the brain mask is 7; this is no scan"):
        reference_scale(np.array([[[7.0, 7.0, 0.0]]]), mask, name="a.nii")


def test_standardize_is_blind_to_scale_and_offset():
    array = np.random.default_rng(0).uniform(1, 3, (4, 5, 6)).astype(np.float32)
    mask = array > 1.5
    standard = standardize(array, mask, *standard_units(array, mask))
    assert standard[mask].mean() == pytest.approx(0, abs=1e-6)
    assert standard[mask].std() == pytest.approx(1, rel=1e-6)
    assert (standard[~mask] == 0).all()
    np.testing.assert_allclose(
        standardize(array * 7 + 40, mask, *standard_units(array * 7 + 40, mask)), standard, atol=1e-4
    )
    assert (standardize(np.full_like(array, 5), mask, *standard_units(np.full_like(array, 5), mask)) == 0).all()


def test_pooled_intensities_agree_with_numpy_in_any_order():
    rng = np.random.default_rng(2)
    subjects = [rng.gamma(9, 0.12, n).astype(np.float32) for n in (5000, 300, 20_000)]
    forth, back = PooledIntensities(), PooledIntensities()
    for values in subjects:
        forth.add(values)
    for values in reversed(subjects):
        back.add(values)
    pooled = np.concatenate(subjects).astype(np.float64)
    assert forth.mean == pytest.approx(pooled.mean(), rel=1e-9)
    assert forth.sd == pytest.approx(pooled.std(), rel=1e-6)
    levels = np.array([0.01, 0.5, 0.995])
    np.testing.assert_allclose(forth.quantile(levels), np.quantile(pooled, levels), atol=2e-3)
    assert forth.data_range() == back.data_range() == pytest.approx(np.quantile(pooled, 0.995), abs=2e-3)


def test_values_outside_the_histogram_are_counted_in_its_outer_bins():
    pooled = PooledIntensities()
    pooled.add(np.array([-1.0, 50.0]))
    assert pooled.counts.sum() == 2
    assert pooled.quantile(0.25) == pytest.approx(0, abs=1e-4)
    assert pooled.quantile(1.0) == pytest.approx(20, abs=1e-4)
