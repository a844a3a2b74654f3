"""Brain and head mask: functions of the source image alone, the same in training, inference and evaluation."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Literal, NamedTuple

import nibabel as nib
import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter, label, maximum_filter, minimum_filter

from volumetric.config.choices import MaskKind
from volumetric.errors import InputError
from volumetric.imaging.geometry import bounding_box, same_space, spacing_mm
from volumetric.imaging.nifti import Image
from volumetric.machine import is_out_of_memory

MaskRule = Literal["given", "nonzero", "deepbet"]
MIN_ZERO_FRACTION = 0.2
"""From this share of exactly zero voxels on, an image may be brain-extracted already."""
MAX_BRAIN_ML = 2200.0
"""No brain is larger: extracted ones have 1.1 to 2.1 liters, heads whose air is 0 have 2.6 liters and more."""
MAX_CUT_CM2 = 100.0
"""No extracted brain meets the image's border in more: 0 to 5 cm2 measured, heads cut at the neck 185 and more."""
_HEAD = "the scan holds a head, not an extracted brain"
_SMOOTHING_MM = 1.0
_CLOSING_MM = 6.0
"""Openings of the scalp that are wider than two of these, such as the nostrils of a thick slice, stay open."""
_MIN_HEAD_TO_BRAIN = 1.25
"""Measured: 1.69 to 1.93 in raw scans with slices of 3 mm that end above the neck, 1.02 to 1.05 in extracted brains."""


class MaskError(InputError):
    """An image for which no mask can be made."""


class BrainMask(NamedTuple):
    """A mask `(I, J, K)` and the rule that made it."""

    array: NDArray[np.bool_]
    rule: MaskRule


class Extraction(NamedTuple):
    """Result of `find_extracted_brain`.

    Attributes:
        brain: `(I, J, K)`; None where the image is not brain-extracted.
        reason: what decided, a clause such as `the scan holds a head, ...`.
    """

    brain: NDArray[np.bool_] | None
    reason: str


def brain_mask(
    source: Image, given: Image | None = None, *, name: str = "the source image", given_name: str = ""
) -> BrainMask:
    """Brain mask of a source image: the given mask, else its nonzero voxels, else deepbet's.

    Args:
        source: the source image; never the target, since at inference there is none.
        given: the `mask` column's image, on the same grid; nonzero is brain.
        name: how to call the image in an error, usually its path.
        given_name: the same of the given mask.

    Returns:
        The mask and its rule: `given`; `nonzero` if at least 20 % of the voxels are exactly zero and the rest
        (largest component, holes filled) is no larger than a brain; `deepbet` otherwise.

    Raises:
        MaskError: the given mask is on another grid or empty, the image is all zero, or deepbet is needed
            and not installed.
    """
    if given is not None:
        if not same_space(source.space, given.space):
            raise MaskError(
                f"{given_name or name}: the given mask has shape {given.space.shape} and another grid than the image "
                f"{source.space.shape}; resample the mask onto the image"
            )
        mask = np.asarray(given.array > 0)
        if not mask.any():
            raise MaskError(f"{given_name or name}: the given mask is empty; give one that covers the brain, or none")
        return BrainMask(mask, "given")
    extracted = find_extracted_brain(source, name=name).brain
    return BrainMask(_deepbet(source, name), "deepbet") if extracted is None else BrainMask(extracted, "nonzero")


def find_extracted_brain(source: Image, *, name: str = "the source image") -> Extraction:
    """Find the brain of a brain-extracted image: its nonzero voxels, largest component, holes filled.

    It is one if at least 20 % of the voxels are exactly 0 and the rest is no larger than a brain and not cut by the
    image's border as a neck is. Many scanners, and programs that remove the face, write air around a head as 0.

    Args:
        source: the image, in any orientation and spacing.
        name: how to call it in an error.

    Raises:
        MaskError: every voxel is 0.
    """
    nonzero = np.asarray(source.array != 0)
    if not nonzero.any():
        raise MaskError(f"{name}: every voxel is zero; this is no scan, name another")
    zeros = 1 - float(nonzero.mean())
    if zeros < MIN_ZERO_FRACTION:
        return Extraction(None, f"the scan is not brain-extracted: {100 * zeros:.0f} % of its voxels are 0")
    mask, sides = _largest_component(nonzero), spacing_mm(source.affine)
    volume_ml = float(mask.sum() * np.prod(sides)) / 1000
    if volume_ml > MAX_BRAIN_ML:
        return Extraction(None, f"{_HEAD}: {volume_ml / 1000:.1f} liters are not 0")
    cut_cm2 = sum(float(mask.take((0, -1), axis).sum() * np.prod(np.delete(sides, axis))) for axis in range(3)) / 100
    if cut_cm2 > MAX_CUT_CM2:
        return Extraction(None, f"{_HEAD}: the image's border cuts {cut_cm2:.0f} cm2 of it")
    return Extraction(mask, f"the scan is brain-extracted: {volume_ml:.0f} ml in air of 0")


def region_mask(kind: MaskKind, source: Image, brain: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Region that a model reads and writes: the brain itself, or the head around it."""
    return brain if kind == "brain" else head_mask(source, brain)


def head_mask(source: Image, brain: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Everything that is not air around the head: brain, skull, scalp, face and neck, without holes.

    The image is clipped at the brain's median and smoothed by 1 mm; head is what exceeds a fourth of the way from air
    to tissue, the two classes of Otsu, closed by 6 mm, filled in every slice of each axis (a head that ends at the
    image's border has no closed surface in 3D), and of this the largest component.

    Args:
        source: the source image, with the head.
        brain: `(I, J, K)`, on its grid; part of the head in any case.

    Returns:
        `(I, J, K)`. Of a brain-extracted image it is the brain, closed; `is_extracted` tells.
    """
    sides = spacing_mm(source.affine)
    bright = source.array.clip(0, np.median(source.array[brain]))
    air, other = _otsu_means(bright)
    tissue = gaussian_filter(bright, _SMOOTHING_MM / sides) > air + (other - air) / 4
    solid = _without_holes_in_slices(_closed(tissue | brain, _CLOSING_MM / sides))
    head: NDArray[np.bool_] = _largest_component(solid) | brain
    return head


def is_extracted(head: NDArray[np.bool_], brain: NDArray[np.bool_]) -> bool:
    """True if there is hardly anything around the brain, so that the image has no head."""
    return int(head.sum()) < _MIN_HEAD_TO_BRAIN * int(brain.sum())


def in_view(array: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Voxels that a scan resampled to this grid reaches: those with a value other than 0 toward all six faces.

    Resampling leaves 0 beyond the scan's own grid. A dark voxel between bright ones is in view.
    """
    nonzero = array != 0
    view: NDArray[np.bool_] = np.ones_like(nonzero)
    for axis in range(3):
        view &= np.logical_or.accumulate(nonzero, axis)
        view &= np.flip(np.logical_or.accumulate(np.flip(nonzero, axis), axis), axis)
    return view


def _otsu_means(array: NDArray[np.float32]) -> tuple[float, float]:
    """Means of the dark and of the bright class that differ most (Otsu 1979), of 255 thresholds."""
    counts, edges = np.histogram(array, 256)
    below, sums = np.cumsum(counts)[:-1], np.cumsum(counts * (edges[:-1] + edges[1:]) / 2)
    dark, bright = sums[:-1] / below, (sums[-1] - sums[:-1]) / (array.size - below)
    best = (below * (array.size - below) * (bright - dark) ** 2).argmax()
    return float(dark[best]), float(bright[best])


def _closed(mask: NDArray[np.bool_], reach_vox: NDArray[np.float64]) -> NDArray[np.bool_]:
    """The mask closed by a box of `reach_vox` each way; it goes on beyond the array's border."""
    reach = [round(float(voxels)) for voxels in reach_vox]
    padded = np.pad(mask.astype(np.uint8), [(voxels, voxels) for voxels in reach], mode="edge")
    box = [2 * voxels + 1 for voxels in reach]
    closed = minimum_filter(maximum_filter(padded, box, mode="nearest"), box, mode="nearest")
    inner: NDArray[np.bool_] = closed[tuple(slice(v, v + n) for v, n in zip(reach, mask.shape, strict=True))] > 0
    return inner


def _without_holes_in_slices(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The mask and all background that is enclosed within a slice, along one axis after another."""
    for axis in range(3):
        across = [other for other in range(3) if other != axis]
        in_plane = np.zeros((3, 3, 3), bool)
        for other in across:
            in_plane[tuple(slice(None) if a == other else 1 for a in range(3))] = True
        mask = _without_holes(mask, in_plane, across)
    return mask


def _largest_component(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The largest component of a mask, holes filled."""
    box = bounding_box(mask)
    components, _ = label(mask[box])
    sizes = np.bincount(components.ravel())
    sizes[0] = 0
    largest = np.zeros_like(mask)
    largest[box] = _without_holes(components == sizes.argmax())
    return largest


def _without_holes(
    mask: NDArray[np.bool_], neighbors: NDArray[np.bool_] | None = None, axes: Sequence[int] = (0, 1, 2)
) -> NDArray[np.bool_]:
    """The mask and all background that does not reach a face of the array; a third of `binary_fill_holes`' time.

    Args:
        mask: `(I, J, K)`.
        neighbors: `(3, 3, 3)`, of a voxel; None: the six.
        axes: whose faces count.
    """
    background, num_regions = label(~mask, neighbors)
    open_air = np.zeros(num_regions + 1, bool)
    for axis in axes:
        for face in (0, -1):
            open_air[background.take(face, axis)] = True
    open_air[0] = False
    filled: NDArray[np.bool_] = ~open_air[background]
    return filled


def _deepbet(source: Image, name: str) -> NDArray[np.bool_]:
    try:
        from deepbet.bet import BrainExtraction
    except ImportError as error:
        raise MaskError(
            f"{name}: the image still has its skull (its nonzero voxels are no brain) and no mask is given; give one "
            "(a `mask` column, --input mask=FILE), or install the brain extraction: pip install 'volumetric[prepare]'"
        ) from error
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", ".*torch.jit.load", DeprecationWarning)  # how deepbet ships its weights
            _, deepbet_mask, _ = BrainExtraction(no_gpu=True).run(nib.Nifti1Image(source.array, source.affine))
        brain = np.asarray(deepbet_mask.dataobj) > 0.5
    except (AssertionError, ValueError, RuntimeError) as error:  # deepbet's ways to say that it sees no brain
        if is_out_of_memory(error):
            raise
        brain = np.zeros(source.array.shape, bool)
    if not brain.any():
        raise MaskError(f"{name}: deepbet finds no brain; give a `mask`, or check that this is a T1w scan")
    return _largest_component(brain)
