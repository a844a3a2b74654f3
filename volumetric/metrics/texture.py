"""Owns the metrics of edges, fine detail and seams, each a mean over a region of a map of the whole volume."""

import math

import torch

from volumetric.metrics.pair import Volume, VolumePair, average, check_data_range, check_mask, check_pair, total
from volumetric.metrics.ssim import band_matrix, ssim_and_structure_maps

LOG_SIGMA_VOX = 1.5
LOG_RADIUS_VOX = 7
HIGH_BAND = 0.25
"""Frequency in cycles a voxel above which detail begins: half the Nyquist frequency."""
MS_WEIGHTS = (0.0448, 0.2856, 0.3001)
"""Exponents of the three finest scales of Wang, Simoncelli and Bovik, divided by their sum in use."""
MS_LEAST_VOX = 44
"""Shortest side for three scales of a window of 11 voxels."""


def hfen(truth: Volume, prediction: Volume, *, mask: Volume | None = None) -> float:
    """High-frequency error norm (Ravishankar and Bresler, IEEE Trans. Med. Imaging 30(5), 2011).

    Args:
        truth: `(I, J, K)`.
        prediction: `(I, J, K)`, in the truth's units.
        mask: `(I, J, K)`, boolean; only voxels inside count. None counts all.

    Returns:
        |LoG(p - t)| / |LoG(t)|, Euclidean norms over the mask, LoG the Laplacian of a Gaussian of sigma 1.5 voxels in
        15 voxels with mirrored borders; without unit, in [0, inf), lower is better; NaN where the truth is flat.

    Raises:
        MetricError: The shapes differ, a value is not finite, or the mask is not boolean or is empty.
    """
    pair, inside = _checked(truth, prediction, mask)
    return ratio_of_norms(laplacian(pair.prediction - pair.truth)[inside], laplacian(pair.truth)[inside])


def gradient_mae(truth: Volume, prediction: Volume, *, mask: Volume | None = None) -> float:
    """Mean absolute error of the gradient's magnitude, by central differences between voxels.

    Args:
        truth: `(I, J, K)`, at least 2 voxels a side.
        prediction: `(I, J, K)`, in the truth's units.
        mask: `(I, J, K)`, boolean; only voxels inside count. None counts all.

    Returns:
        mean | |grad p| - |grad t| |, in the volumes' units a voxel, in [0, inf), lower is better; NaN where a side has
        one voxel.

    Raises:
        MetricError: The shapes differ, a value is not finite, or the mask is not boolean or is empty.
    """
    pair, inside = _checked(truth, prediction, mask)
    return average(gradient_error(pair)[inside])


def power_ratio_db(truth: Volume, prediction: Volume, *, mask: Volume | None = None) -> float:
    """Power of fine detail: that of the prediction above half the Nyquist frequency over the truth's.

    Args:
        truth: `(I, J, K)`.
        prediction: `(I, J, K)`, in the truth's units.
        mask: `(I, J, K)`, boolean; the power of the high-passed volumes is summed over it. None counts all.

    Returns:
        10 log10 of the ratio, in dB, in (-inf, inf), nearer to zero is better: below tells over-smoothing, above noise;
        NaN where the truth is flat.

    Raises:
        MetricError: The shapes differ, a value is not finite, or the mask is not boolean or is empty.
    """
    pair, inside = _checked(truth, prediction, mask)
    return decibels(ratio_of_norms(high_pass(pair.prediction)[inside], high_pass(pair.truth)[inside]))


def seam_index(truth: Volume, prediction: Volume, borders: Volume, *, mask: Volume | None = None) -> float:
    """Mean absolute error on the borders of windows over that elsewhere.

    Args:
        truth: `(I, J, K)`.
        prediction: `(I, J, K)`, in the truth's units.
        borders: `(I, J, K)`, boolean; True where windows end.
        mask: `(I, J, K)`, boolean; only voxels inside count. None counts all.

    Returns:
        A pure number in [0, inf), lower is better and 1 is no seam; NaN where there is no border, nothing else, or no
        error.

    Raises:
        MetricError: The shapes differ, a value is not finite, or a mask is not boolean or is empty.
    """
    pair, inside = _checked(truth, prediction, mask)
    at = check_mask(borders, pair, "borders")[inside]
    return seam_ratio((pair.prediction - pair.truth)[inside].abs(), at)


def ms_ssim(truth: Volume, prediction: Volume, *, data_range: float, mask: Volume | None = None) -> float:
    """Multi-scale SSIM (Wang, Simoncelli and Bovik, Asilomar 2003) of three scales, so that 44 voxels a side suffice.

    Contrast and structure count at the voxels' own size and at twice it, the whole SSIM at four times it; each is
    averaged over the mask. Between scales volumes are averaged over 2x2x2 voxels (an odd last plane is left out), and a
    coarse voxel is in the mask where at least half of it is.

    Args:
        truth: `(I, J, K)`.
        prediction: `(I, J, K)`, in the truth's units.
        data_range: Width of the interval of intensities, in the volumes' units, above 0.
        mask: `(I, J, K)`, boolean; only voxels inside count. None counts all.

    Returns:
        The weighted geometric mean, without unit, in [0, 1], higher is better (a negative mean counts as 0); NaN where
        a side is shorter than 44 voxels or the mask is lost at a coarse scale.

    Raises:
        MetricError: The shapes differ, a value is not finite, the mask is not boolean or is empty, or the
            data range is not above 0.
    """
    pair, inside = _checked(truth, prediction, mask)
    width = check_data_range(data_range)
    _, structure = ssim_and_structure_maps(*pair, data_range=width)
    return product_of_scales(scales(pair, width, structure), inside)


def laplacian(volume: torch.Tensor) -> torch.Tensor:
    """Laplacian of Gaussian of a volume `(I, J, K)`, float32."""
    offsets = torch.arange(-LOG_RADIUS_VOX, LOG_RADIUS_VOX + 1, dtype=torch.float64)
    smooth = torch.exp(-offsets.square() / (2 * LOG_SIGMA_VOX**2))
    smooth /= smooth.sum()
    bend = smooth * (offsets.square() / LOG_SIGMA_VOX**4 - 1 / LOG_SIGMA_VOX**2)
    (smooth_i, bend_i), (smooth_j, bend_j), (smooth_k, bend_k) = (
        [band_matrix(size, weights, device=volume.device).float() for weights in (smooth, bend)]
        for size in volume.shape
    )
    values = volume.float()
    along_k, bent_k = values @ smooth_k.T, values @ bend_k.T
    along_jk = (smooth_j @ along_k).flatten(1)
    bent_jk = ((smooth_j @ bent_k) + (bend_j @ along_k)).flatten(1)
    return (bend_i @ along_jk + smooth_i @ bent_jk).view(volume.shape)


def gradient_error(pair: VolumePair) -> torch.Tensor:
    """| |grad p| - |grad t| | `(I, J, K)`, float32."""
    if min(pair.truth.shape) < 2:
        return torch.full(pair.truth.shape, math.nan, device=pair.truth.device)
    sizes = [torch.stack([g.square() for g in torch.gradient(volume.float())]).sum(dim=0).sqrt() for volume in pair]
    return (sizes[1] - sizes[0]).abs()


def high_pass(volume: torch.Tensor) -> torch.Tensor:
    """A volume `(I, J, K)` without frequencies of up to 0.25 cycles a voxel, radially; float32."""
    spectrum = torch.fft.rfftn(volume.float())
    num_i, num_j, num_k = volume.shape
    i, j, k = (
        torch.fft.fftfreq(num_i, device=volume.device),
        torch.fft.fftfreq(num_j, device=volume.device),
        torch.fft.rfftfreq(num_k, device=volume.device),
    )
    fine = i[:, None, None] ** 2 + j[None, :, None] ** 2 + k[None, None] ** 2 > HIGH_BAND**2
    passed: torch.Tensor = torch.fft.irfftn(spectrum * fine, s=volume.shape)
    return passed


def ratio_of_norms(above: torch.Tensor, below: torch.Tensor) -> float:
    """|a| / |b|; NaN where b is as good as zero."""
    one, other = (math.sqrt(total(values.double().square())) for values in (above, below))
    return one / other if other > 1e-12 else math.nan


def decibels(ratio: float) -> float:
    """20 log10 of a ratio of amplitudes."""
    return 20 * math.log10(ratio) if ratio > 0 else ratio if math.isnan(ratio) else -math.inf


def seam_ratio(size: torch.Tensor, at: torch.Tensor) -> float:
    """Mean of error sizes `(N,)` at borders `(N,)` over that elsewhere; NaN where either is empty, or for 0 over 0."""
    if not bool(at.any()) or bool(at.all()):
        return math.nan
    elsewhere = average(size[~at])
    here = average(size[at])
    if elsewhere == 0:
        return math.inf if here > 0 else math.nan
    return here / elsewhere


def scales(pair: VolumePair, data_range: float, finest: torch.Tensor) -> list[torch.Tensor]:
    """The maps of `ms_ssim`, fine to coarse, `finest` first; none where a side is too short."""
    if min(pair.truth.shape) < MS_LEAST_VOX:
        return []
    half = [_halved(volume.float()) for volume in pair]
    quarter = [_halved(volume) for volume in half]
    _, middle = ssim_and_structure_maps(*half, data_range=data_range)
    coarsest, _ = ssim_and_structure_maps(*quarter, data_range=data_range)
    return [finest, middle, coarsest]


def product_of_scales(maps: list[torch.Tensor], inside: torch.Tensor) -> float:
    """The weighted geometric mean of the maps' means over a mask `(I, J, K)`."""
    if not maps:
        return math.nan
    logarithm = 0.0
    for scale, (values, weight) in enumerate(zip(maps, MS_WEIGHTS, strict=True)):
        if scale:
            inside = _halved(inside.float()) >= 0.5
        if not bool(inside.any()):
            return math.nan
        mean = average(values[inside])
        logarithm += weight / sum(MS_WEIGHTS) * (math.log(mean) if mean > 0 else -math.inf)
    return math.exp(logarithm)


def _halved(volume: torch.Tensor) -> torch.Tensor:
    return torch.nn.functional.avg_pool3d(volume[None, None], 2)[0, 0]


def _checked(truth: Volume, prediction: Volume, mask: Volume | None) -> tuple[VolumePair, torch.Tensor]:
    pair = check_pair(truth, prediction)
    if mask is None:
        return pair, torch.ones_like(pair.truth, dtype=torch.bool)
    return pair, check_mask(mask, pair)
