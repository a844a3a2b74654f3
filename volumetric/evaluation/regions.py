"""Regions that a subject is scored in: brain, whole volume, foreground, tissues and marked lesions."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from volumetric.errors import InputError
from volumetric.evaluation.segmentation import CSF, GM, WM, segment
from volumetric.evaluation.subject import NormalizedSubject
from volumetric.imaging.geometry import same_space

TISSUES: Mapping[str, int] = {"csf": CSF, "gm": GM, "wm": WM}
_AIR = 0.025
"""Of the data range: darker voxels of the truth are no foreground."""


class RegionError(InputError):
    """A label map that cannot be used."""


def regions(
    subject: NormalizedSubject, *, data_range: float, automatic: bool
) -> tuple[dict[str, NDArray[np.bool_]], NDArray[np.uint8] | None]:
    """The regions of a subject, those without a voxel left out.

    Args:
        subject: its labels `tissues` and `lesions`, where given, count inside the brain.
        data_range: foreground is brain where the truth is brighter than 2.5 % of it.
        automatic: segment the source where no `tissues` are given.

    Returns:
        Masks `(I, J, K)` by name, `brain` first, and the tissue labels, if there are any.

    Raises:
        RegionError: a label map on another grid than the truth.
    """
    masks = {
        "brain": subject.mask,
        "whole": np.ones_like(subject.mask),
        "foreground": subject.mask & (subject.truth > _AIR * data_range),
    }
    tissues = _labels(subject, "tissues")
    if tissues is None and automatic:
        tissues = segment(subject.source, subject.mask)
    if tissues is not None:
        masks |= {name: subject.mask & (tissues == label) for name, label in TISSUES.items()}
    lesions = _labels(subject, "lesions")
    if lesions is not None:
        masks["lesions"] = subject.mask & (lesions > 0)
    return {name: mask for name, mask in masks.items() if mask.any()}, tissues


def _labels(subject: NormalizedSubject, column: str) -> NDArray[np.uint8] | None:
    image = subject.labels.get(column)
    if image is None:
        return None
    if not same_space(image.space, subject.space):
        raise RegionError(
            f"subject {subject.row.name}: `{column}` ({subject.row.path(column)}, shape {image.space.shape}) and the "
            f"truth (shape {subject.space.shape}) lie on different grids; resample the labels with nearest neighbors"
        )
    labels: NDArray[np.uint8] = image.array.astype(np.uint8)
    return labels
