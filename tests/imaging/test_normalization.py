from typing import get_args

import numpy as np
import pytest
from intensity_normalization import FCMNormalizer, NyulNormalizer, create_image
from scipy.signal import find_peaks
from scipy.stats import gaussian_kde

from volumetric.config.run import SourceNormalization
from volumetric.imaging.intensity import IntensityError, PooledIntensities
from volumetric.imaging.normalization import LANDMARKS, NORMALIZERS, AffineUnits, GrayUnits, LandmarkUnits

GRAY = ("gray_simple", "gray_adaptive")
SHAPE = (23, 31, 27)


def brain(seed, contrast="t1w", scale=1.0):
    """Three tissues in a box of unequal sides: 15 % fluid, 40 % gray and 45 % white matter; its mask and tissues."""
    rng = np.random.default_rng(seed)
    means = {"t1w": [0.35, 0.75, 1.1], "t2w": [2.2, 1.2, 0.8]}[contrast]
    mask = np.zeros(SHAPE, bool)
    mask[2:-3, 3:-2, 1:-4] = True
    tissue = rng.choice(3, SHAPE, p=[0.15, 0.4, 0.45])
    values = np.array(means)[tissue] + 0.05 * rng.standard_normal(SHAPE)
    return (scale * np.where(mask, values, 7)).astype(np.float32), mask, tissue


def training_subjects():
    """The intensities of three training subjects."""
    for seed in (1, 2, 3):
        array, mask, _ = brain(seed)
        subject = PooledIntensities()
        subject.add(array[mask])
        yield subject


def fit(name, array, mask, contrast="t1w"):
    normalizer = NORMALIZERS[name]
    return normalizer.fit(array, mask, contrast, normalizer.learn(training_subjects()) if normalizer.learn else ())


def test_the_configuration_offers_the_table_without_what_loses():
    assert list(get_args(SourceNormalization)) == [name for name in NORMALIZERS if name not in GRAY]


@pytest.mark.parametrize("contrast", ["t1w", "t2w"])
@pytest.mark.parametrize("name", [name for name in NORMALIZERS if name not in GRAY])
def test_there_and_back(name, contrast):
    array, mask, _ = brain(0, contrast)
    units = fit(name, array, mask, contrast)
    there = units.apply(array, mask)
    assert there.dtype == np.float32
    assert (there[~mask] == 0).all()
    back = units.invert(there, mask)
    assert back.dtype == np.float32
    np.testing.assert_allclose(back[mask], array[mask], atol=2e-6)
    assert (back[~mask] == 0).all()
    assert there[mask].std() > 0.1


@pytest.mark.parametrize("name", GRAY)
def test_gray_levels_there_and_back_to_half_a_level(name):
    rng = np.random.default_rng(4)
    array = rng.integers(0, 4096, SHAPE).astype(np.float32)
    mask = array > 10
    units = fit(name, array, mask)
    levels = units.apply(array, mask)
    assert set(np.unique(levels)) <= set(range(256))
    error = np.abs(units.invert(levels, mask) - array)[mask]
    assert 0.4 * units.width < error.max() <= 0.5 * units.width


def test_gray_levels_by_hand():
    array = np.array([[[0, 255, 256, 1023, 65535]]], np.float32)
    mask = np.ones(array.shape, bool)
    assert fit("gray_simple", array, mask).apply(array, mask).tolist() == [[[0, 0, 1, 3, 255]]]
    array[array == 65535] = 1024  # every level is 4 wide
    assert fit("gray_adaptive", array, mask) == GrayUnits(4.0)
    assert fit("gray_adaptive", array, mask).apply(array, mask).tolist() == [[[0, 63, 64, 255, 255]]]


def test_affine_units_by_hand():
    array = np.array([[[1, 2, 3, 4, 105, 999]]], np.float32)
    mask = np.array([[[True] * 5 + [False]]])
    assert fit("robust", array, mask) == AffineUnits(3, 1.4826)
    units = fit("percentile", array, mask)  # of 0 to 4: the places 0.04 and 3.96
    assert units.center == pytest.approx(1.04)
    assert units.center + units.scale == pytest.approx(4 + 0.96 * 101)
    mean = (1 + 2 + 3 + 4 + 105) / 5
    assert fit("zscore", array, mask) == AffineUnits(mean, pytest.approx(np.std([1, 2, 3, 4, 105])))


def test_nyul_by_hand_and_beyond_the_ends():
    own = tuple(range(11))
    units = LandmarkUnits(own, (0, *(0.05 + 0.1 * n for n in range(9)), 1))
    array = np.array([[[-2, 0, 0.5, 1, 10, 12]]], np.float32)
    mask = np.ones(array.shape, bool)
    np.testing.assert_allclose(units.apply(array, mask), [[[-0.1, 0, 0.025, 0.05, 1, 1.3]]], atol=1e-6)


@pytest.mark.parametrize("name", ["zscore", "robust", "percentile", "white_stripe", "nyul", "fcm", "kde"])
def test_units_do_not_depend_on_the_scanners_scale(name):
    array, mask, _ = brain(5)
    larger = array * np.float32(437)
    ours, theirs = fit(name, array, mask).apply(array, mask), fit(name, larger, mask).apply(larger, mask)
    np.testing.assert_allclose(ours, theirs, atol=2e-3 * np.abs(ours).max())


@pytest.mark.parametrize(("contrast", "white"), [("t1w", 1.1), ("t2w", 0.8)])
def test_white_matter_is_found_in_both_contrasts(contrast, white):
    array, mask, tissue = brain(6, contrast)
    assert fit("kde", array, mask, contrast).scale == pytest.approx(white, rel=0.02)
    assert fit("fcm", array, mask, contrast).scale == pytest.approx(array[mask & (tissue == 2)].mean(), rel=0.02)
    stripe = fit("white_stripe", array, mask, contrast)
    assert stripe.center == pytest.approx(white, rel=0.02)
    assert stripe.scale < 0.05  # the SD of white matter is 0.05, and of a fourth of it smaller


@pytest.mark.parametrize("contrast", ["t1w", "t2w"])
@pytest.mark.parametrize("name", ["white_stripe", "fcm", "kde", "robust", "percentile"])
def test_a_few_outliers_move_nothing(name, contrast):
    """A vessel of fifty times the brain's signal once stretched the histogram until it had one bin for all tissues."""
    array, mask, _ = brain(7, contrast)
    before = fit(name, array, mask, contrast)
    hot = array.copy()
    hot[mask & (np.random.default_rng(8).random(SHAPE) < 0.005)] = 50
    after = fit(name, hot, mask, contrast)
    assert after.center + after.scale == pytest.approx(before.center + before.scale, rel=0.02)


@pytest.mark.parametrize("name", ["white_stripe", "kde"])
def test_no_peak_is_said(name):
    ramp = np.square(np.linspace(1, 2, np.prod(SHAPE), dtype=np.float32).reshape(SHAPE))
    mask = np.ones(SHAPE, bool)
    with pytest.raises(IntensityError, match=r"t1w: the histogram of the 19251 voxels .* has no peak.*robust"):
        fit(name, ramp, mask)


@pytest.mark.parametrize("name", ["robust", "percentile", "white_stripe", "nyul", "fcm", "kde"])
def test_one_value_everywhere_is_said(name):
    with pytest.raises(IntensityError, match=r"t2w: .*does the mask"):
        fit(name, np.full(SHAPE, 3, np.float32), np.ones(SHAPE, bool), "t2w")


def test_a_mask_full_of_background_has_no_deciles():
    array, mask, _ = brain(9)
    with pytest.raises(IntensityError, match=r"t1w: the deciles .* expected each to be larger"):
        fit("nyul", np.where(np.random.default_rng(0).random(SHAPE) < 0.3, 0, array), mask)


def test_numbers_of_the_table_are_plain():
    array, mask, _ = brain(0)
    for name, normalizer in NORMALIZERS.items():
        learned = normalizer.learn(training_subjects()) if normalizer.learn else ()
        assert all(type(number) is float for number in (*normalizer.measure(array, mask, "t1w"), *learned)), name


@pytest.mark.parametrize("contrast", ["t1w", "t2w"])
def test_modes_are_those_of_a_kernel_density_estimate(contrast):
    array, mask, _ = brain(11, contrast)
    grid = np.linspace(0.7, 1.2, 501)
    density = gaussian_kde(array[mask].astype(float))(grid)
    tops = grid[find_peaks(density)[0]]
    wanted = tops.max() if contrast == "t1w" else tops.min()
    assert fit("kde", array, mask, contrast).scale == pytest.approx(wanted, abs=0.01)


def test_the_library_agrees():
    """With intensity-normalization, but for its modes: they move with the scanner's units."""
    array, mask, _ = brain(10)
    image, where = create_image(array), create_image(mask.astype(np.float32))
    np.random.seed(0)  # noqa: NPY002  # its classes begin at random
    fcm = FCMNormalizer(max_iter=300, error_threshold=1e-8).fit_transform(image, where).get_data()
    np.testing.assert_allclose(fit("fcm", array, mask).apply(array, mask)[mask], fcm[mask], rtol=0.01)
    nyul = NyulNormalizer(output_min_value=0, output_max_value=1)
    others = [brain(seed) for seed in (1, 2, 3)]
    nyul.fit_population(
        [create_image(one) for one, _, _ in others], [create_image(m.astype(np.float32)) for _, m, _ in others]
    )
    theirs = nyul.transform(image, where).get_data()
    ours, theirs = fit("nyul", array, mask).apply(array, mask)[mask], theirs[mask]
    deciles = np.quantile(theirs, LANDMARKS[1:-1])  # ours are then centered and scaled
    np.testing.assert_allclose(ours, (theirs - deciles.mean()) / deciles.std(), atol=5e-3)
    np.testing.assert_allclose(nyul.percentiles, 100 * np.array(LANDMARKS))
