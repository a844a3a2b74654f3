from dataclasses import replace

import numpy as np
import pytest

from volumetric.imaging.geometry import Space
from volumetric.simulation.warp import (
    HeadShape,
    coarse_space,
    draw_displacement,
    draw_shape,
    exponential,
    head_to_template,
    jacobian_determinant,
    template_points,
)

HEAD = Space((45, 57, 47), np.array([[4.0, 0, 0, -88], [0, 4, 0, -124], [0, 0, 4, -90], [0, 0, 0, 1]]))


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("flow_mm", [-3.0, 7.0])
def test_map_folds_nowhere(template, seed, flow_mm):
    shape = replace(draw_shape(np.random.default_rng(seed)), ventricle_flow_mm=flow_mm)
    displacement = draw_displacement(np.random.default_rng(seed + 50), shape, template)
    points = template_points(shape, displacement, HEAD)
    assert jacobian_determinant(points, 4.0).min() > 0
    # and it is no near-identity: millimeters everywhere
    assert np.sqrt((displacement**2).sum(0).mean()) > 3


def test_jacobian_of_a_known_map():
    points = np.stack(np.meshgrid(*(3.0 * np.arange(n) for n in (4, 5, 6)), indexing="ij")).astype(np.float32)
    stretched = points * np.array([2, 0.5, 3], dtype=np.float32).reshape(3, 1, 1, 1)
    np.testing.assert_allclose(jacobian_determinant(stretched, 3.0), 3.0, rtol=1e-5)
    np.testing.assert_allclose(jacobian_determinant(stretched[::-1], 3.0), -3.0, rtol=1e-5)


def test_exponential_of_a_constant_is_a_shift():
    velocity = np.ones((3, 6, 7, 8), dtype=np.float32) * np.array([1, -2, 5], dtype=np.float32).reshape(3, 1, 1, 1)
    np.testing.assert_allclose(exponential(velocity, 4.0), velocity, rtol=1e-5)


def test_exponential_of_a_linear_flow_is_the_exponential_of_its_rate():
    # v = a x along axis 0 carries x to exp(a) x
    x = 2.0 * (np.arange(31) - 15)
    velocity = np.zeros((3, 31, 5, 6), dtype=np.float32)
    velocity[0] = -0.3 * x[:, None, None]
    moved = exponential(velocity, 2.0)[0, :, 2, 3] + x
    np.testing.assert_allclose(moved, np.exp(-0.3) * x, atol=0.2)


def test_exponential_of_the_opposite_is_the_inverse(template):
    rng = np.random.default_rng(4)
    shape = HeadShape((1, 1, 1), (0, 0, 0), 0.0)
    forth = draw_displacement(rng, shape, template)
    assert np.abs(forth).max() > 5
    # undoing: exp(-v) after exp(v), on a velocity that is smooth at the grid's scale
    smooth = np.sin(np.indices((30, 32, 34)) / 5.0).astype(np.float32) * 4
    there, back = exponential(smooth, 4.0), exponential(-smooth, 4.0)
    from scipy import ndimage

    points = np.indices(smooth.shape[1:]) + there / 4
    undone = there + np.stack([ndimage.map_coordinates(b, points, order=1, mode="nearest") for b in back])
    assert np.abs(undone[:, 5:-5, 5:-5, 5:-5]).max() < 0.25  # of up to 4 mm
    assert np.abs(there).max() > 3


def test_no_displacement_leaves_the_affine_part():
    shape = HeadShape((0.9, 1.0, 0.8), (3.0, -2.0, 5.0), 0.0)
    still = np.zeros((3, *coarse_space().shape), dtype=np.float32)
    space = Space((4, 5, 6), np.array([[7.0, 0, 0, -20], [0, 7, 0, -30], [0, 0, 7, -10], [0, 0, 0, 1]]))
    points = template_points(shape, still, space)
    expected = head_to_template(shape) @ [-20 + 7 * 3, -30 + 7 * 4, -10 + 7 * 5, 1]
    np.testing.assert_allclose(points[:, 3, 4, 5], expected[:3], rtol=1e-5)
    assert np.linalg.det(head_to_template(shape)[:3, :3]) == pytest.approx(1 / (0.9 * 0.8))
