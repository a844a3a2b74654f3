from dataclasses import replace

import numpy as np
import pytest

from volumetric.simulation.anatomy import make_anatomy


@pytest.fixture(scope="module")
def heads(subjects, template):
    return [make_anatomy(np.random.default_rng(k), p.shape, template, 4.0) for k, p in enumerate(subjects[:3])]


def test_fractions_sum_to_one(heads):
    for head in heads:
        assert head.fractions.shape == (3, head.mask.sum())
        np.testing.assert_allclose(head.fractions.sum(0), 1, atol=1e-5)
        assert head.fractions.min() >= 0


def test_volumes_are_those_of_subjects(heads):
    for head in heads:
        csf, gm, wm = ((head.tissues() == label).sum() * 0.064 for label in (1, 2, 3))
        assert 1050 < head.mask.sum() * 0.064 < 1900
        assert 90 < csf < 350
        assert 500 < gm < 1000
        assert 350 < wm < 720


def test_grid_is_centered_with_a_margin(heads):
    for head in heads:
        np.testing.assert_array_equal(head.space.affine[:3, :3], 4.0 * np.eye(3))
        found = np.argwhere(head.mask)
        before, after = found.min(0), np.array(head.mask.shape) - 1 - found.max(0)
        assert min(before.min(), after.min()) >= 1
        assert max(before.max(), after.max()) <= 5
        assert len(set(head.mask.shape)) > 1


def test_labels_are_zero_exactly_outside_the_mask(heads):
    for head in heads:
        np.testing.assert_array_equal(head.tissues() > 0, head.mask)


def test_same_head_at_another_spacing(subjects, template, heads):
    finer = make_anatomy(np.random.default_rng(0), subjects[0].shape, template, 3.0)
    assert finer.mask.sum() * 27 == pytest.approx(heads[0].mask.sum() * 64, rel=0.02)
    for a, b in zip(finer.fractions, heads[0].fractions, strict=True):
        assert a.sum() * 27 == pytest.approx(b.sum() * 64, rel=0.05)


def test_ventricles_grow_with_the_flow(subjects, template):
    def deep_fluid(flow_mm):
        shape = replace(subjects[1].shape, ventricle_flow_mm=flow_mm)
        head = make_anatomy(np.random.default_rng(1), shape, template, 4.0)
        i, j, k = np.rint(np.linalg.inv(head.space.affine)[:3] @ [0, -10, 18, 1]).astype(int)
        return (head.tissues()[i - 6 : i + 7, j - 9 : j + 10, k - 4 : k + 5] == 1).sum()

    narrow, usual, wide = (deep_fluid(flow) for flow in (-3.0, 0.0, 7.0))
    assert narrow < usual < wide
    assert wide > 1.4 * narrow


def test_subjects_differ(heads):
    assert len({head.mask.shape for head in heads} | {head.mask.sum() for head in heads}) > 3
