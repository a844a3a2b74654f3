"""Owns the checked input of every metric: a pair of volumes, a mask on their grid, and a data range."""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt
import torch

from volumetric.errors import InputError

Volume: TypeAlias = torch.Tensor | npt.NDArray[Any]
"""A 3D array `(I, J, K)`, of torch or numpy."""


class MetricError(InputError):
    """Volumes, a mask or a data range that cannot be scored."""


class VolumePair(NamedTuple):
    """Truth and prediction `(I, J, K)`: float32 or float64, finite, on one device."""

    truth: torch.Tensor
    prediction: torch.Tensor


class Voxels(NamedTuple):
    """The scored voxels of a pair, each `(N,)` in float64; `error` is prediction - truth.

    Float64 here makes every sum right to far better than 1e-6, for float32 volumes of any size.
    """

    truth: torch.Tensor
    prediction: torch.Tensor
    error: torch.Tensor


def check_pair(truth: Volume, prediction: Volume) -> VolumePair:
    """Returns both volumes as tensors on the truth's device, once they are known to be comparable.

    Args:
        truth: `(I, J, K)`, any real type.
        prediction: `(I, J, K)`, any real type.

    Raises:
        MetricError: The shapes differ, are not 3D or hold no voxel, or a value is complex or not finite.
    """
    truth_tensor = _as_float(_as_tensor(truth, "truth"))
    prediction_tensor = _as_float(_as_tensor(prediction, "prediction")).to(truth_tensor.device)
    shape = tuple(truth_tensor.shape)
    if len(shape) != 3 or 0 in shape:
        raise MetricError(
            f"truth: expected a 3D volume (I, J, K) with at least one voxel, got shape {shape}; "
            "drop channel and batch axes, one subject at a time"
        )
    if tuple(prediction_tensor.shape) != shape:
        raise MetricError(
            f"prediction: expected the truth's shape {shape}, got {tuple(prediction_tensor.shape)}; "
            "resample the prediction onto the truth's grid first"
        )
    _check_finite(truth_tensor, "truth")
    _check_finite(prediction_tensor, "prediction")
    return VolumePair(truth_tensor, prediction_tensor)


def check_mask(mask: Volume, pair: VolumePair, name: str = "mask") -> torch.Tensor:
    """Returns the mask as a boolean tensor `(I, J, K)` on the pair's device.

    Args:
        mask: `(I, J, K)`, boolean; True where voxels are scored.
        pair: The volumes it selects from.
        name: What the error message calls it.

    Raises:
        MetricError: The mask is not boolean, has another shape than the pair, or selects no voxel.
    """
    mask_tensor = _as_tensor(mask, name).to(pair.truth.device)
    if mask_tensor.dtype != torch.bool:
        raise MetricError(
            f"{name}: expected a boolean mask, got {mask_tensor.dtype}; "
            "compare with a value first, for example `labels == 2` or `mask > 0`"
        )
    if mask_tensor.shape != pair.truth.shape:
        raise MetricError(
            f"{name}: expected the volumes' shape {tuple(pair.truth.shape)}, "
            f"got {tuple(mask_tensor.shape)}; resample the mask onto the truth's grid first"
        )
    if not bool(mask_tensor.any()):
        raise MetricError(f"{name}: expected at least one voxel, got none; leave out a region that this subject lacks")
    return mask_tensor


def check_data_range(data_range: float) -> float:
    """Returns the data range as a float.

    Args:
        data_range: Width of the interval of intensities, in the volumes' units, above 0.

    Raises:
        MetricError: It is zero, negative or not finite.
    """
    if not (math.isfinite(data_range) and data_range > 0):
        raise MetricError(
            f"data_range: expected a finite number above 0, got {data_range}; "
            "use the range fixed on the training subjects"
        )
    return float(data_range)


def places(mask: torch.Tensor) -> torch.Tensor | None:
    """Returns the flat positions `(N,)` of a mask's voxels; None where it holds every voxel."""
    return None if bool(mask.all()) else mask.flatten().nonzero()[:, 0]


def gather(volume: torch.Tensor, where: torch.Tensor | None) -> torch.Tensor:
    """Returns the voxels `(N,)` at flat positions; the volume as it is for None."""
    return volume.flatten() if where is None else volume.flatten().index_select(0, where)


def voxels_in(pair: VolumePair, where: torch.Tensor | None) -> Voxels:
    """Returns the voxels of a checked pair at `places`, or all of them for None."""
    truth, prediction = (gather(volume, where).to(torch.float64) for volume in pair)
    return Voxels(truth, prediction, prediction - truth)


def ranked(values: torch.Tensor, ranks: Sequence[int]) -> list[float]:
    """Returns the smallest of `values` `(N,)` for rank 0, the next for 1, and so on."""
    if values.device.type == "cpu":
        # A partition takes an eighth of a sort's time, and one serves all ranks.
        return [float(number) for number in np.partition(values.numpy(), ranks)[list(ranks)]]
    return [float(number) for number in values.sort().values[list(ranks)]]


def total(values: torch.Tensor) -> float:
    """Returns the sum in float64, the same to the last bit for any number of threads.

    Torch cuts a sum of all values into a part for each thread; NumPy sums pairs of pairs in one, as exactly and in
    about the same time.
    """
    if values.device.type == "cpu":
        return float(values.numpy().sum(dtype=np.float64))
    return float(values.sum(dtype=torch.float64))


def average(values: torch.Tensor) -> float:
    """Returns the mean in float64, summed as `total`; NaN of no values."""
    return total(values) / values.numel() if values.numel() else math.nan


def select(truth: Volume, prediction: Volume, mask: Volume | None) -> Voxels:
    """Checks a pair and its mask, and returns the voxels to score.

    Raises:
        MetricError: See `check_pair` and `check_mask`.
    """
    pair = check_pair(truth, prediction)
    return voxels_in(pair, None if mask is None else places(check_mask(mask, pair)))


def _as_tensor(values: Volume, name: str) -> torch.Tensor:
    if isinstance(values, torch.Tensor):
        tensor = values.detach()
    else:
        array = np.asarray(values)
        if array.dtype.kind not in "biuf":
            raise MetricError(f"{name}: expected real numbers, got {array.dtype}; convert to float32 first")
        # Torch takes neither read-only, big-endian nor flipped arrays, and NIfTI files give all three.
        # It has no type for extended precision either.
        dtype = np.dtype(np.float64) if array.dtype.itemsize > 8 else array.dtype.newbyteorder("=")
        tensor = torch.from_numpy(np.require(array, dtype, ["C", "W"]))
    if tensor.is_complex():
        raise MetricError(f"{name}: expected real numbers, got {tensor.dtype}; take the magnitude first")
    # Apple's GPU has no float64, which every sum here needs.
    return (tensor.cpu() if tensor.device.type == "mps" else tensor).contiguous()


def _as_float(volume: torch.Tensor) -> torch.Tensor:
    """A type in which no difference wraps around or overflows, and every value is kept."""
    if volume.dtype in (torch.float32, torch.float64):
        return volume
    return volume.to(torch.float32 if volume.element_size() <= 2 else torch.float64)


def _check_finite(volume: torch.Tensor, name: str) -> None:
    finite = torch.isfinite(volume)
    if not bool(finite.all()):
        first = tuple((~finite).nonzero()[0].tolist())
        raise MetricError(
            f"{name}: expected finite values, got {int((~finite).sum())} of {volume.numel()} voxels "
            f"NaN or infinite, the first at {first}; mend the step that made them"
        )
