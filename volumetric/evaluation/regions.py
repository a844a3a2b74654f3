"""Where a subject is scored: the brain, all of the image, what is not air, each tissue, and marked lesions."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from volumetric.errors import InputError
from volumetric.evaluation.pairing import Scored
from volumetric.evaluation.segmentation import CSF, GM, WM, segment
from volumetric.imaging.geometry import same_space
from volumetric.imaging.nifti import read_labels
from volumetric.manifest import ManifestRow

TISSUES: Mapping[str, int] = {"csf": CSF, "gm": GM, "wm": WM}
_AIR = 0.025
"""Of the data range: darker voxels of the truth are no foreground."""

Mask = NDArray[np.bool_]


class RegionError(InputError):
    """A label map that cannot be used."""


def regions(
    row: ManifestRow, scored: Scored, *, data_range: float, automatic: bool
) -> tuple[dict[str, Mask], NDArray[np.uint8] | None]:
    """The regions of a subject, those without a voxel left out.

    Args:
        row: its `tissues` and `lesions`, where given, count inside the brain.
        scored: source, truth and brain.
        data_range: foreground is brain where the truth is brighter than 2.5 % of it.
        automatic: segment the source where no `tissues` are given and the source is a T1w.

    Returns:
        Masks `(I, J, K)` by name, `brain` first, and the tissue labels, if there are any.

    Raises:
        RegionError: a label map on another grid than the truth.
    """
    found = {
        "brain": scored.mask,
        "whole": np.ones_like(scored.mask),
        "foreground": scored.mask & (scored.truth > _AIR * data_range),
    }
    tissues = _labels(row, "tissues", scored)
    if tissues is None and automatic:
        tissues = segment(scored.source, scored.mask)
    if tissues is not None:
        found |= {name: scored.mask & (tissues == label) for name, label in TISSUES.items()}
    lesions = _labels(row, "lesions", scored)
    if lesions is not None:
        found["lesions"] = scored.mask & (lesions > 0)
    return {name: mask for name, mask in found.items() if mask.any()}, tissues


def _labels(row: ManifestRow, column: str, scored: Scored) -> NDArray[np.uint8] | None:
    if column not in row.paths:
        return None
    image = read_labels(row.path(column))
    if not same_space(image.space, scored.grid.space):
        raise RegionError(
            f"subject {row.name}: `{column}` ({row.path(column)}, shape {image.space.shape}) and the truth "
            f"(shape {scored.grid.space.shape}) lie on different grids; resample the labels with nearest neighbors"
        )
    return image.array.astype(np.uint8)
