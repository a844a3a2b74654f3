"""Motion of the head while a scan takes the lines of k-space, one after another."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation
from torch import Tensor
from torch.nn.functional import affine_grid, grid_sample

from volumetric.simulation.parameters import Motion, Pose
from volumetric.simulation.point_spread import PairGrid


def acquired_in_motion(image: Tensor, motion: Motion, grid: PairGrid) -> Tensor:
    """The magnitude of a scan whose lines come from several poses (as TorchIO's `RandomMotion`, of whole volumes).

    Lines are taken from one end of k-space to the other. The image is mirrored at its ends along their axis, so that
    a patch has no jump there.

    Args:
        image: signed `(I, J, K)`, in the pose of the center of k-space.
        motion: the poses.
        grid: of the image; the head turns about its 0 mm.

    Returns:
        `(I, J, K)`, at least 0.
    """
    axis = motion.axis
    num = 2 * image.shape[axis]
    times = torch.fft.fftfreq(num, device=image.device) + 0.5
    lines = torch.bucketize(times, torch.tensor(motion.ends, device=image.device))
    spectrum = torch.zeros((), dtype=torch.complex64, device=image.device)
    for place, pose in enumerate(motion.poses):
        posed = image if pose == Pose() else _posed(image, pose, grid)
        own = (lines == place).reshape([-1 if a == axis else 1 for a in range(3)])
        spectrum = spectrum + torch.fft.fft(torch.cat([posed, posed.flip(axis)], axis), dim=axis) * own
    whole: Tensor = torch.fft.ifft(spectrum, dim=axis).abs()
    return whole.narrow(axis, 0, image.shape[axis]).contiguous()


def _posed(image: Tensor, pose: Pose, grid: PairGrid) -> Tensor:
    """The image of a turned and shifted head: what lies at x comes to turn x + shift."""
    turn = Rotation.from_euler("xyz", pose.turn_deg, degrees=True).as_matrix()
    origin, side = np.array(grid.origin_mm), np.array(grid.spacing_mm)
    back = turn.T  # from a place of the result to that in the image
    linear = back * side / side[:, None]
    offset = (back @ (origin - np.array(pose.shift_mm)) - origin) / side
    # grid_sample counts an axis from -1 to 1, and takes the last axis first
    scale = 2 / (np.array(image.shape) - 1)
    scaled = linear * scale[:, None] / scale
    moved = np.column_stack([scaled, scaled.sum(1) + scale * offset - 1])
    theta = torch.from_numpy(_last_first(moved).astype(np.float32))[None].to(image.device)
    places = affine_grid(theta, [1, 1, *image.shape], align_corners=True)
    sampled: Tensor = grid_sample(image[None, None], places, padding_mode="border", align_corners=True)[0, 0]
    return sampled


def _last_first(moved: NDArray[np.float64]) -> NDArray[np.float64]:
    """A matrix `(3, 4)` for axes in reverse order."""
    return np.column_stack([moved[::-1, 2::-1], moved[::-1, 3]])
