import numpy as np
import pytest
import torch
from scipy import ndimage

from volumetric.simulation.draws import draw_motion
from volumetric.simulation.motion import acquired_in_motion
from volumetric.simulation.parameters import Motion, Pose
from volumetric.simulation.point_spread import PairGrid

GRID = PairGrid((-24.0, -30.0, -20.0), (2.0, 3.0, 2.5), (25, 21, 17))


def blob(center_mm=(4.0, -3.0, 5.0)):
    """A smooth, lopsided image, away from its borders, in all of which 0 mm is a voxel's center."""
    x, y, z = np.meshgrid(*(axis - c for axis, c in zip(GRID.axes(), center_mm, strict=True)), indexing="ij")
    image = np.exp(-((x / 5) ** 2) - ((y / 7) ** 2) - ((z / 5) ** 2)) * (1.5 + np.tanh(x / 5))
    return torch.from_numpy(image.astype(np.float32))


def center_mm(image):
    return np.array(GRID.origin_mm) + np.array(GRID.spacing_mm) * ndimage.center_of_mass(image.numpy())


def test_a_head_at_rest_gives_the_magnitude():
    image = blob() - 0.4
    for axis in range(3):
        still = acquired_in_motion(image, Motion(axis, (0.3, 0.8), (Pose(),) * 3), GRID)
        torch.testing.assert_close(still, image.abs(), atol=1e-5, rtol=0)


def test_one_pose_for_all_lines_moves_the_image_by_it():
    """By hand: what lies at x comes to turn x + shift, here a quarter turn about z, which takes x to y."""
    at = np.array([8.0, -3.0, 5.0])
    pose = Pose((0.0, 0.0, 90.0), (2.0, 3.0, -2.5))
    moved = acquired_in_motion(blob(at), Motion(1, (0.0,), (Pose(), pose)), GRID)
    expected = center_mm(blob(at)) @ np.array([[0, -1, 0], [1, 0, 0], [0, 0, 1]]).T + pose.shift_mm
    np.testing.assert_allclose(center_mm(moved), expected, atol=0.15)


def test_turns_are_about_the_world_axes_in_order():
    """An independent interpolation of the same pose, oblique."""
    pose = Pose((6.0, -4.0, 9.0), (1.5, -2.0, 3.0))
    x, y, z = np.deg2rad(pose.turn_deg)
    about_x = np.array([[1, 0, 0], [0, np.cos(x), -np.sin(x)], [0, np.sin(x), np.cos(x)]])
    about_y = np.array([[np.cos(y), 0, np.sin(y)], [0, 1, 0], [-np.sin(y), 0, np.cos(y)]])
    about_z = np.array([[np.cos(z), -np.sin(z), 0], [np.sin(z), np.cos(z), 0], [0, 0, 1]])
    back = np.linalg.inv(about_z @ about_y @ about_x)
    places = np.stack(np.meshgrid(*GRID.axes(), indexing="ij")).reshape(3, -1) - np.array(pose.shift_mm)[:, None]
    voxels = (back @ places - np.array(GRID.origin_mm)[:, None]) / np.array(GRID.spacing_mm)[:, None]
    expected = ndimage.map_coordinates(blob().numpy(), voxels, order=1, mode="nearest").reshape(GRID.shape)
    moved = acquired_in_motion(blob(), Motion(2, (0.0,), (Pose(), pose)), GRID)
    np.testing.assert_allclose(moved.numpy(), expected, atol=1e-4)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_lines_of_another_pose_are_those_of_its_own_transform(axis):
    """An independent sum: k-space lines before the move from one image, those after it from the other, by numpy."""
    shift = [0.0, 0.0, 0.0]
    shift[axis] = 2 * GRID.spacing_mm[axis]
    motion = Motion(axis, (0.7,), (Pose(), Pose(shift_mm=tuple(shift))))
    image = blob().numpy()
    taken = [np.moveaxis(own, axis, -1) for own in (image, np.roll(image, 2, axis))]
    first, second = (np.fft.fftshift(np.fft.fft(np.concatenate([own, own[..., ::-1]], -1)), axes=-1) for own in taken)
    num = first.shape[-1]
    lines = np.where(np.arange(num) / num <= 0.7, first, second)
    expected = np.abs(np.fft.ifft(np.fft.ifftshift(lines, axes=-1)))[..., : num // 2]
    found = np.moveaxis(acquired_in_motion(blob(), motion, GRID).numpy(), axis, -1)
    np.testing.assert_allclose(found, expected, atol=2e-3)
    assert np.abs(found - taken[0]).max() > 0.02


def test_the_center_of_k_space_is_taken_at_rest():
    for seed in range(50):
        motion = draw_motion(np.random.default_rng(seed), 3.0, 5.0)
        assert len(motion.poses) == len(motion.ends) + 1
        assert list(motion.ends) == sorted(motion.ends)
        at_center = motion.poses[sum(end < 0.5 for end in motion.ends)]
        assert at_center == Pose()
        assert sum(pose == Pose() for pose in motion.poses) == 1
        assert max(abs(v) for pose in motion.poses for v in pose.shift_mm) <= 3
        assert max(abs(v) for pose in motion.poses for v in pose.turn_deg) <= 5


def test_motion_does_not_show_in_a_uniform_image():
    """So a patch gets no seam at its borders."""
    uniform = torch.full(GRID.shape, 0.7)
    for seed in range(20):
        moved = acquired_in_motion(uniform, draw_motion(np.random.default_rng(seed), 3.0, 5.0), GRID)
        torch.testing.assert_close(moved, uniform, atol=1e-5, rtol=0)
