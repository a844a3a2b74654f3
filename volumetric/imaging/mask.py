"""The brain mask: one function of the source image alone, the same in training, inference and evaluation."""

from __future__ import annotations

import warnings
from typing import Literal, NamedTuple

import nibabel as nib
import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import label

from volumetric.errors import InputError
from volumetric.imaging.geometry import bounding_box, same_space
from volumetric.imaging.nifti import Image

MaskRule = Literal["given", "nonzero", "deepbet"]
MIN_ZERO_FRACTION = 0.2
"""From this share of exactly zero voxels on, an image may be brain-extracted already."""
MAX_BRAIN_ML = 2500.0
"""No brain is larger: many scanners write air as 0 too, and then the nonzero voxels include skull and scalp."""


class MaskError(InputError):
    """An image for which no brain mask can be made."""


class BrainMask(NamedTuple):
    """A mask `(I, J, K)` and the rule that made it."""

    array: NDArray[np.bool_]
    rule: MaskRule


def brain_mask(source: Image, given: Image | None = None, *, name: str = "the source image") -> BrainMask:
    """Brain mask of a source image: the given mask, else its nonzero voxels, else deepbet's.

    Args:
        source: the source image; never the target, since at inference there is none.
        given: the `mask` column's image, on the same grid; nonzero is brain.
        name: how to call the image in an error, usually its path.

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
                f"{name}: the given mask has shape {given.space.shape} and another grid than the image "
                f"{source.space.shape}; resample the mask onto the image"
            )
        mask = np.asarray(given.array > 0)
        if not mask.any():
            raise MaskError(f"{name}: the given mask is empty; give one that covers the brain, or none")
        return BrainMask(mask, "given")
    nonzero = np.asarray(source.array != 0)
    if not nonzero.any():
        raise MaskError(f"{name}: every voxel is zero; this is not a scan")
    if 1 - nonzero.mean() >= MIN_ZERO_FRACTION:
        mask = _largest_component(nonzero)
        if mask.sum() * abs(np.linalg.det(source.affine[:3, :3])) / 1000 <= MAX_BRAIN_ML:
            return BrainMask(mask, "nonzero")
    return BrainMask(_deepbet(source, name), "deepbet")


def _largest_component(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The largest component of a mask, holes filled."""
    box = bounding_box(mask)
    components, _ = label(mask[box])
    sizes = np.bincount(components.ravel())
    sizes[0] = 0
    largest = np.zeros_like(mask)
    largest[box] = _without_holes(components == sizes.argmax())
    return largest


def _without_holes(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The mask and all background that does not reach a face of the array; a third of `binary_fill_holes`' time."""
    background, num_regions = label(~mask)
    open_air = np.zeros(num_regions + 1, bool)
    for axis in range(3):
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
            f"{name}: the image still has its skull (its nonzero voxels are no brain) and no mask is given; "
            "add a `mask` column to the manifest, or install the brain extraction: pip install 'volumetric[prepare]'"
        ) from error
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", ".*torch.jit.load", DeprecationWarning)  # how deepbet ships its weights
            _, deepbet_mask, _ = BrainExtraction(no_gpu=True).run(nib.Nifti1Image(source.array, source.affine))
        brain = np.asarray(deepbet_mask.dataobj) > 0.5
    except (AssertionError, ValueError):  # deepbet's ways to say that it sees no brain
        brain = np.zeros(source.array.shape, bool)
    if not brain.any():
        raise MaskError(f"{name}: deepbet finds no brain; give a `mask`, or check that this is a T1w scan")
    return _largest_component(brain)
