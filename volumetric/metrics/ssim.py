"""Owns the structural similarity index (SSIM) of 3D volumes, as a map and as its mean.

The window is separable, so each local mean is three products with banded matrices, one an axis. The mirrored
border is folded into the rows at both ends; here for weights a b c b a and a side of 6:

    voxel      0    1    2    3    4    5
        0     b+c  a+b   a    .    .    .       offsets -2 -1  0  1  2
        1     a+b   c    b    a    .    .       fall on  1  0  0  1  2 for voxel 0
        2      a    b    c    b    a    .
        ...

With u = (t + p) / 2 and d = p - t, the index is

    (1 - md^2 / (2 mu^2 + md^2 / 2 + C1)) (1 - sd^2 / (2 su^2 + sd^2 / 2 + C2))

which needs the means of u, d, u^2 and d^2 alone, and cancels little: both volumes are centered on their foreground, and
d is small where it matters. That makes float32 good enough on a CPU: the map is right to 1e-6 in brains, and to 2e-4
where a region a data range away from the center varies by 0.3 % of R alone. Volumes that reach further than that, and
those on a GPU, which may round float32 products to fewer bits, are compared in float64.

The volume goes through in slabs, so that memory stays at the maps and two buffers of a slab.
"""

from collections.abc import Sequence

import torch

from volumetric.metrics.pair import Volume, VolumePair, average, check_data_range, check_mask, check_pair

WINDOW_SIGMA_VOX = 1.5
WINDOW_RADIUS_VOX = 5
UNIFORM_VOX = 7
"""Side of the uniform window."""
K1 = 0.01
K2 = 0.03

# Few large steps and not many small ones: next to another busy program every threaded step waits for its share of
# the cores. For 192x224x192 voxels, slabs of 16 with products of blocks on the band alone took 0.3 s on two free
# cores, but 11 s on two busy ones, where these take 2 s.
_SLAB_VOX = 32
_NEAR_SHARE = 0.99
_FAR_RANGES = 10


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
    values, _ = _maps(pair, check_data_range(data_range))
    return average(values if inside is None else values[inside])


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
    return _maps(check_pair(truth, prediction), check_data_range(data_range))[0]


def gaussian_matrix(size: int, *, device: torch.device | None = None) -> torch.Tensor:
    """The window's weights along one axis as a matrix, with the mirrored border folded in.

    Args:
        size: Number of voxels along the axis, at least 1.
        device: Where the matrix lies.

    Returns:
        `(size, size)` float64; row i holds the weights of the local mean at voxel i, and sums to 1.
    """
    offsets = torch.arange(-WINDOW_RADIUS_VOX, WINDOW_RADIUS_VOX + 1, dtype=torch.float64)
    weights = torch.exp(-offsets.square() / (2 * WINDOW_SIGMA_VOX**2))
    return band_matrix(size, weights / weights.sum(), device=device)


def band_matrix(size: int, weights: torch.Tensor, *, device: torch.device | None = None) -> torch.Tensor:
    """A filter along one axis as a matrix, with the mirrored border folded in.

    Args:
        size: Number of voxels along the axis, at least 1.
        weights: `(2 r + 1,)` float64, of the voxels from -r to r.
        device: Where the matrix lies.

    Returns:
        `(size, size)` float64; row i holds the weights of all voxels in the value at voxel i.
    """
    radius = len(weights) // 2
    weights = weights.to(device)
    offsets = torch.arange(-radius, radius + 1, device=device)
    # The mirrored axis repeats every 2 * size voxels: 0 1 2 | 2 1 0 | 0 1 2 | ...
    columns = (torch.arange(size, device=device)[:, None] + offsets) % (2 * size)
    columns = torch.where(columns < size, columns, 2 * size - 1 - columns)
    matrix = torch.zeros(size, size, dtype=torch.float64, device=device)
    return matrix.scatter_add_(1, columns, weights.expand(size, -1))


def uniform_ssim_map(truth: Volume, prediction: Volume, *, data_range: float) -> torch.Tensor:
    """Structural similarity as `ssim_map`, in a window of 7x7x7 equal weights with sample covariance.

    These are the defaults of scikit-image.

    Args:
        truth: `(I, J, K)`.
        prediction: `(I, J, K)`, in the truth's units.
        data_range: Width of the interval of intensities, in the volumes' units, above 0.

    Returns:
        `(I, J, K)` float32, without unit, in [-1, 1], higher is better.

    Raises:
        MetricError: The shapes differ, a value is not finite, or the data range is not above 0.
    """
    return _maps(check_pair(truth, prediction), check_data_range(data_range), uniform=True)[0]


def ssim_and_structure_maps(
    truth: Volume, prediction: Volume, *, data_range: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """`ssim_map`, and its contrast and structure alone, `(2 stp + C2) / (st^2 + sp^2 + C2)`, from the same moments.

    Args:
        truth: `(I, J, K)`.
        prediction: `(I, J, K)`, in the truth's units.
        data_range: Width of the interval of intensities, in the volumes' units, above 0.

    Returns:
        Two maps as `ssim_map` returns one.

    Raises:
        MetricError: The shapes differ, a value is not finite, or the data range is not above 0.
    """
    return _maps(check_pair(truth, prediction), check_data_range(data_range))


def _maps(pair: VolumePair, data_range: float, *, uniform: bool = False) -> tuple[torch.Tensor, torch.Tensor]:
    """The map of SSIM, and that of contrast and structure."""
    device = pair.truth.device
    centers, tame = _centers(pair, data_range)
    dtype = torch.float32 if tame and device.type == "cpu" else torch.float64
    num_i, num_j, num_k = pair.truth.shape
    weights_i, weights_j, weights_k = (matrix.to(dtype) for matrix in _window(pair.truth, uniform=uniform))
    sample = UNIFORM_VOX**3 / (UNIFORM_VOX**3 - 1) if uniform else 1.0
    similarity, structure = (torch.empty(pair.truth.shape, dtype=torch.float32, device=device) for _ in range(2))
    # Four moments of a slab with its margins, and without them; every step reads one buffer and writes the other.
    wide, narrow = (
        torch.empty(min(num_i, thickness), 4, num_j, num_k, dtype=dtype, device=device)
        for thickness in (_SLAB_VOX + 2 * WINDOW_RADIUS_VOX, _SLAB_VOX)
    )
    for start in range(0, num_i, _SLAB_VOX):
        outputs = slice(start, min(start + _SLAB_VOX, num_i))
        # Mirroring only moves columns nearer, so that the band never reaches further than the radius.
        inputs = slice(max(0, start - WINDOW_RADIUS_VOX), min(num_i, outputs.stop + WINDOW_RADIUS_VOX))
        num_inputs, num_outputs = inputs.stop - inputs.start, outputs.stop - outputs.start
        values = wide[:num_inputs]
        along_i, along_j, along_k = narrow[:num_outputs], wide[:num_outputs], narrow[:num_outputs]
        _moments(pair.truth[inputs], pair.prediction[inputs], centers, out=values)
        torch.mm(weights_i[outputs, inputs], values.view(num_inputs, -1), out=along_i.view(num_outputs, -1))
        torch.bmm(
            weights_j.expand(num_outputs * 4, num_j, num_j),
            along_i.view(-1, num_j, num_k),
            out=along_j.view(-1, num_j, num_k),
        )
        torch.mm(along_j.view(-1, num_k), weights_k.T, out=along_k.view(-1, num_k))
        # Sample covariance is that of the population times this.
        along_k[:, 2:] -= along_k[:, :2].square()
        along_k[:, 2:] *= sample
        _compare(along_k, centers, data_range, similarity[outputs], structure[outputs])
    return similarity, structure


def _window(volume: torch.Tensor, *, uniform: bool) -> list[torch.Tensor]:
    """The matrices of the window along the three axes of a volume."""
    if not uniform:
        return [gaussian_matrix(size, device=volume.device) for size in volume.shape]
    weights = torch.full((UNIFORM_VOX,), 1 / UNIFORM_VOX, dtype=torch.float64)
    return [band_matrix(size, weights, device=volume.device) for size in volume.shape]


def _centers(pair: VolumePair, data_range: float) -> tuple[list[float], bool]:
    """The mean of each volume where one of them is not 0, and whether float32 will do.

    It will where 99 % of that lies within a data range of its mean, and the mean within ten of 0.
    """
    coarse = [volume[::2, ::2, ::2] for volume in pair]
    inside = (coarse[0] != 0) | (coarse[1] != 0)
    if not bool(inside.any()):
        return [0.0, 0.0], True
    centers = [average(volume[inside]) for volume in coarse]
    shares = [
        average((volume[inside] - center).abs() <= data_range) for volume, center in zip(coarse, centers, strict=True)
    ]
    return centers, min(shares) > _NEAR_SHARE and max(map(abs, centers)) < _FAR_RANGES * data_range


def _moments(x: torch.Tensor, y: torch.Tensor, centers: Sequence[float], *, out: torch.Tensor) -> None:
    """Writes u and d of a slab `(n, J, K)`, volumes less their centers, and their squares into `out` `(n, 4, J, K)`."""
    x, y = x.to(out.dtype), y.to(out.dtype)
    out[:, 0] = ((x - centers[0]) + (y - centers[1])) / 2
    out[:, 1] = (y - x) - (centers[1] - centers[0])
    torch.mul(out[:, :2], out[:, :2], out=out[:, 2:])


def _compare(
    moments: torch.Tensor,
    centers: Sequence[float],
    data_range: float,
    similarity: torch.Tensor,
    structure: torch.Tensor,
) -> None:
    """Writes both maps of a slab from mu, md, su^2 and sd^2 of centered volumes `(n, 4, J, K)`, which it overwrites."""
    c1 = (K1 * data_range) ** 2
    c2 = (K2 * data_range) ** 2
    mean_u, mean_d, var_u, var_d = moments.unbind(1)
    mean_u.add_(sum(centers) / 2)
    mean_d.add_(centers[1] - centers[0]).square_()
    var_u.mul_(2).add_(var_d, alpha=0.5).add_(c2)
    mean_u.square_().mul_(2).add_(mean_d, alpha=0.5).add_(c1)
    structure.copy_(var_d.div_(var_u).neg_().add_(1))
    similarity.copy_(mean_d.div_(mean_u).neg_().add_(1)).mul_(structure)
