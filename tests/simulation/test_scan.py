from dataclasses import replace

import numpy as np
import pytest
from scipy import ndimage

from volumetric.simulation.anatomy import make_anatomy
from volumetric.simulation.scan import simulate


def medians(image, tissues):
    return [float(np.median(image[tissues == label])) for label in (1, 2, 3)]


def test_contrasts_order_the_tissues_as_on_a_scanner(clean_scans):
    for _, scan in clean_scans:
        csf, gm, wm = medians(scan.t1w, scan.tissues)
        assert csf < gm < wm
        csf, gm, wm = medians(scan.t2w, scan.tissues)
        assert csf > 1.3 * gm > 1.3 * wm


def test_air_is_zero_and_all_is_finite(clean_scans):
    for _, scan in clean_scans:
        for image in (scan.t1w, scan.t2w):
            assert image.dtype == np.float32
            assert np.isfinite(image).all()
            assert (image[~scan.mask] == 0).all()
        assert not scan.lesions[~scan.mask].any()


def test_lesions_are_bright_in_t2w_and_hidden_in_t1w(clean_scans):
    ratios = []
    for _, scan in clean_scans:
        white = ndimage.binary_erosion(scan.tissues == 3)
        around = ndimage.binary_dilation(scan.lesions, iterations=3) & ~ndimage.binary_dilation(scan.lesions) & white
        core = scan.lesions & white
        assert core.sum() >= 3
        ratios.append([float(i[core].mean() / i[around].mean()) for i in (scan.t1w, scan.t2w)])
    t1w, t2w = np.transpose(ratios)
    np.testing.assert_allclose(t1w, 1, atol=0.05)
    assert (t2w > 1.3).all()


def test_iron_darkens_the_nuclei_in_t2w(subjects, template):
    for number, subject in enumerate(subjects[:2]):
        quiet = replace(subject, t2w=replace(subject.t2w, bias=0.0, noise=0.0))
        seed = np.random.default_rng(number)
        # simulate's first stream is the anatomy's
        anatomy = make_anatomy(np.random.default_rng(number).spawn(5)[0], subject.shape, template, 3.0)
        t2w = simulate(seed, quiet, template, 3.0).t2w[anatomy.mask]
        nuclei = anatomy.iron > 8
        cortex = (anatomy.fractions[1] > 0.9) & (anatomy.iron == 0)
        assert nuclei.sum() > 50
        assert np.median(t2w[nuclei]) < 0.85 * np.median(t2w[cortex])


def test_t1w_does_not_determine_t2w(clean_scans):
    # within voxels of equal T1w, T2w still varies: no look-up table maps one to the other
    for _, scan in clean_scans:
        white = scan.tissues == 3
        t1w, t2w = scan.t1w[white], scan.t2w[white]
        near = np.abs(t1w / np.median(t1w) - 1) < 0.01
        assert t2w[near].std() / t2w[near].mean() > 0.02


def test_scale_and_noise_are_those_drawn(subjects, template):
    subject = replace(subjects[0], t1w=replace(subjects[0].t1w, bias=0.0, noise=0.0, scale=1.0))
    clean = simulate(np.random.default_rng(3), subject, template, 4.0)
    louder = replace(subject, t1w=replace(subject.t1w, noise=0.05, scale=700.0))
    noisy = simulate(np.random.default_rng(3), louder, template, 4.0)
    np.testing.assert_array_equal(clean.t2w, noisy.t2w)
    bright = clean.t1w > np.median(clean.t1w[clean.mask])  # far from the Rician floor
    sigma = 0.05 * np.median(clean.t1w[clean.mask])
    assert (noisy.t1w / 700 - clean.t1w)[bright].std() == pytest.approx(sigma, rel=0.03)
