import numpy as np
import pytest
from skimage.exposure import match_histograms

from volumetric.evaluation.baselines import (
    TrainingIntensities,
    constant,
    cubic,
    histogram_match,
    identity,
    inverted_histogram_match,
    pool_training,
)
from volumetric.manifest import ManifestRow, read_manifest


@pytest.fixture
def subjects():
    rng = np.random.default_rng(0)
    sources = [rng.gamma(8, 0.12, n) for n in (4000, 9000)]
    return [(s, 2.2 - 1.1 * s + 0.2 * s**2 + 0.05 * rng.standard_normal(s.size)) for s in sources]


@pytest.fixture
def training(subjects):
    pooled = TrainingIntensities()
    for source, target in subjects:
        pooled.add(source, target)
    return pooled


def test_constant_is_the_pooled_mean_and_identity_the_source(subjects, training):
    everyone = np.concatenate([t for _, t in subjects])
    source = np.array([0.3, 2.0])
    np.testing.assert_allclose(constant(source, training), everyone.mean(), rtol=1e-9)
    np.testing.assert_array_equal(identity(source, training), source)


def test_cubic_is_the_least_squares_polynomial_of_all_voxels(subjects, training):
    sources, targets = (np.concatenate(x) for x in zip(*subjects, strict=True))
    expected = np.polynomial.Polynomial.fit(sources, targets, 3)
    at = np.linspace(0.3, 2.0, 9)
    np.testing.assert_allclose(cubic(at, training), expected(at), rtol=1e-6)


def test_histogram_match_agrees_with_scikit_image(subjects, training):
    source = np.random.default_rng(5).gamma(6, 0.1, 7000)
    everyone = np.concatenate([t for _, t in subjects])
    expected = match_histograms(source, everyone)
    inside = (source > np.quantile(source, 0.01)) & (source < np.quantile(source, 0.99))
    np.testing.assert_allclose(histogram_match(source, training)[inside], expected[inside], atol=0.01)


def test_inverted_match_turns_the_order_round_and_keeps_the_distribution(training):
    source = np.random.default_rng(5).gamma(6, 0.1, 7000)
    inverted = inverted_histogram_match(source, training)
    order = np.argsort(source)
    assert (np.diff(inverted[order]) <= 1e-12).all()
    levels = np.linspace(0.02, 0.98, 25)
    np.testing.assert_allclose(np.quantile(inverted, levels), training.target.quantile(levels), atol=0.01)


def test_training_subjects_that_cannot_be_read_are_left_out_and_named(cohort, caplog, tmp_path):
    rows = [*read_manifest(cohort).split("train"), ManifestRow("ghost", paths={"t1w": tmp_path / "x.nii.gz"})]
    assert pool_training(rows, "t1w", "t2w").num_subjects == 2
    assert "ghost" in caplog.text
