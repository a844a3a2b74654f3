"""Owns the structural similarity index (SSIM) of 3D volumes, as a map and as its mean.

The window is separable, so each local mean is three products with banded matrices, one an axis. The mirrored
border is folded into the rows at both ends; here for weights a b c b a and a side of 6:

    voxel      0    1    2    3    4    5
        0     b+c  a+b   a    .    .    .       offsets -2 -1  0  1  2
        1     a+b   c    b    a    .    .       fall on  1  0  0  1  2 for voxel 0
        2      a    b    c    b    a    .
        ...

Only blocks on the band are multiplied, and the volume goes through in slabs, so that memory stays at the map
and a few slabs. All of it is float64, because E[x^2] - E[x]^2 cancels: in float32, with noise of 0.05 R, the map
is wrong by 2e-6 for intensities between 0 and R, by 2e-5 between R and 2 R, by 6e-5 between 3 R and 4 R, and a
GPU may round float32 products to fewer bits still.
"""

from typing import NamedTuple

import torch

from volumetric.metrics.pair import Pair, Volume, check_data_range, check_mask, check_pair

WINDOW_SIGMA_VOX = 1.5
WINDOW_RADIUS_VOX = 5
K1 = 0.01
K2 = 0.03

# What a cache holds: timed on volumes of 192x224x192 voxels.
_SLAB_VOX = 16
_BLOCK_VOX = 48


class _Block(NamedTuple):
    """Rows of a banded matrix and the only columns they need: `means[outputs] = weights @ values[inputs]`."""

    outputs: slice
    inputs: slice
    weights: torch.Tensor


def ssim(truth: Volume, prediction: Volume, *, data_range: float, mask: Volume | None = None) -> float:
    """Structural similarity: the mean of `ssim_map` over the mask.

    The windows of voxels at the mask's border reach beyond it, so what lies outside counts a little.

    Args:
        truth: `(I, J, K)`.
        prediction: `(I, J, K)`, in the truth's units.
        data_range: Width of the interval of intensities, in the volumes' units, above 0.
        mask: `(I, J, K)`, boolean; only voxels inside count. None counts all.

    Returns:
        The mean, without unit, in [-1, 1], higher is better, 1 for equal volumes.

    Raises:
        MetricError: The shapes differ, a value is not finite, the mask is not boolean or is empty, or the
            data range is not above 0.
    """
    pair = check_pair(truth, prediction)
    inside = None if mask is None else check_mask(mask, pair)
    values = _ssim_map(pair, check_data_range(data_range))
    return float((values if inside is None else values[inside]).mean(dtype=torch.float64))


def ssim_map(truth: Volume, prediction: Volume, *, data_range: float) -> torch.Tensor:
    """Structural similarity around every voxel (Wang et al., IEEE Trans. Image Process. 13(4), 2004).

    Local moments are weighted by a 3D Gaussian of sigma 1.5 voxels in a window of 11x11x11 voxels, with the
    volume mirrored at its borders (d c b a | a b c d), K1 = 0.01, K2 = 0.03 and population covariance. Sides
    shorter than the window are mirrored as often as it takes.

    Args:
        truth: `(I, J, K)`.
        prediction: `(I, J, K)`, in the truth's units.
        data_range: Width of the interval of intensities, in the volumes' units, above 0.

    Returns:
        `(I, J, K)` float32 on the truth's device, without unit, in [-1, 1], higher is better.

    Raises:
        MetricError: The shapes differ, a value is not finite, or the data range is not above 0.
    """
    return _ssim_map(check_pair(truth, prediction), check_data_range(data_range))


def gaussian_matrix(size: int, *, device: torch.device | None = None) -> torch.Tensor:
    """The window's weights along one axis as a matrix, with the mirrored border folded in.

    Args:
        size: Number of voxels along the axis, at least 1.
        device: Where the matrix lies.

    Returns:
        `(size, size)` float64; row i holds the weights of the local mean at voxel i, and sums to 1.
    """
    offsets = torch.arange(-WINDOW_RADIUS_VOX, WINDOW_RADIUS_VOX + 1, device=device)
    weights = torch.exp(-offsets.to(torch.float64).square() / (2 * WINDOW_SIGMA_VOX**2))
    weights /= weights.sum()
    # The mirrored axis repeats every 2 * size voxels: 0 1 2 | 2 1 0 | 0 1 2 | ...
    columns = (torch.arange(size, device=device)[:, None] + offsets) % (2 * size)
    columns = torch.where(columns < size, columns, 2 * size - 1 - columns)
    matrix = torch.zeros(size, size, dtype=torch.float64, device=device)
    return matrix.scatter_add_(1, columns, weights.expand(size, -1))


def _ssim_map(pair: Pair, data_range: float) -> torch.Tensor:
    device = pair.truth.device
    num_i, num_j, num_k = pair.truth.shape
    slabs = _blocks(num_i, _SLAB_VOX, device)
    blocks_j = _blocks(num_j, _BLOCK_VOX, device)
    blocks_k = _blocks(num_k, _BLOCK_VOX, device)
    c1 = (K1 * data_range) ** 2
    c2 = (K2 * data_range) ** 2
    result = torch.empty(pair.truth.shape, dtype=torch.float32, device=device)
    for slab in slabs:
        x = pair.truth[slab.inputs].to(torch.float64)
        y = pair.prediction[slab.inputs].to(torch.float64)
        mean_x = _local_mean(x, slab, blocks_j, blocks_k)
        mean_y = _local_mean(y, slab, blocks_j, blocks_k)
        mean_xy = _local_mean(x * y, slab, blocks_j, blocks_k)
        # The formula needs only the sum of the two variances: four moments do instead of five.
        mean_squares = _local_mean(x * x + y * y, slab, blocks_j, blocks_k)
        product = mean_x * mean_y
        squares = mean_x * mean_x + mean_y * mean_y
        similarity = (2 * product + c1) * (2 * (mean_xy - product) + c2)
        similarity /= (squares + c1) * (mean_squares - squares + c2)
        result[slab.outputs] = similarity
    return result


def _local_mean(values: torch.Tensor, slab: _Block, blocks_j: list[_Block], blocks_k: list[_Block]) -> torch.Tensor:
    """Window means of a slab's outputs `(n, J, K)` from its inputs `(n + 2 * radius or less, J, K)`."""
    num_inputs, num_j, num_k = values.shape
    along_i = (slab.weights @ values.reshape(num_inputs, -1)).reshape(-1, num_j, num_k)
    along_j = torch.empty_like(along_i)
    for block in blocks_j:
        along_j[:, block.outputs] = block.weights @ along_i[:, block.inputs]
    along_k = along_i  # no longer needed
    for block in blocks_k:
        along_k[:, :, block.outputs] = along_j[:, :, block.inputs] @ block.weights.T
    return along_k


def _blocks(size: int, block_size: int, device: torch.device) -> list[_Block]:
    matrix = gaussian_matrix(size, device=device)
    blocks = []
    for start in range(0, size, block_size):
        outputs = slice(start, min(start + block_size, size))
        # Mirroring only brings columns nearer, so that the band never reaches further than the radius.
        inputs = slice(max(0, start - WINDOW_RADIUS_VOX), min(size, outputs.stop + WINDOW_RADIUS_VOX))
        blocks.append(_Block(outputs, inputs, matrix[outputs, inputs].contiguous()))
    return blocks
