"""A subject as it is scored: source, truth and prediction in reference units on one grid."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from volumetric.errors import InputError
from volumetric.imaging.geometry import Space, same_space
from volumetric.imaging.intensity import INTENSITY_SCALE, in_reference_units, reference_scale
from volumetric.imaging.mask import MaskRule, head_mask, in_view, is_extracted
from volumetric.imaging.nifti import Image, read_image, read_space
from volumetric.manifest import ManifestRow
from volumetric.subject import read_subject


class PredictionGridError(InputError):
    """A prediction that does not lie on the grid of its truth."""


@dataclass(frozen=True, eq=False)
class NormalizedSubject:
    """Source and truth of a subject on the truth's grid, in reference units, 0 outside the mask.

    Attributes:
        row: of the manifest, with the paths of these images.
        source: float32 `(I, J, K)`, the first source contrast.
        truth: float32 `(I, J, K)`.
        mask: brain `(I, J, K)`.
        mask_rule: rule that made the mask.
        space: the grid.
        source_median: divisor of the source, its in-mask median.
        truth_median: the same of the truth.
        labels: by column, those that were read.
        sha256: by column, of the bytes that were read.
        head: the same in the head where the truth reaches, which then is the mask; None where it was not asked for, or
            source or truth is brain-extracted.
    """

    row: ManifestRow
    source: NDArray[np.float32]
    truth: NDArray[np.float32]
    mask: NDArray[np.bool_]
    mask_rule: MaskRule
    space: Space
    source_median: float
    truth_median: float
    labels: Mapping[str, Image] = field(default_factory=dict)
    sha256: Mapping[str, str] = field(default_factory=dict)
    head: NormalizedSubject | None = None


@dataclass(frozen=True, eq=False)
class NormalizedPrediction:
    """A prediction in reference units, 0 outside the mask.

    Attributes:
        path: of the file.
        array: float32 `(I, J, K)`.
        divisor: the number that the file's values were divided by.
        sha256: of the bytes that were read.
        head: `(I, J, K)`, the same but 0 outside the head; None where the subject has none.
    """

    path: Path
    array: NDArray[np.float32]
    divisor: float
    sha256: str
    head: NDArray[np.float32] | None = None


def row_on_grid(row: ManifestRow, prediction: Path, target: str) -> ManifestRow:
    """The row of the prepared pair, or of the native one where that is on the prediction's grid."""
    native = row.native()
    if native is None:
        return row
    space = read_space(prediction)
    prepared = same_space(read_space(row.path(target)), space)
    return row if prepared or not same_space(read_space(native.path(target)), space) else native


def read_normalized(
    row: ManifestRow, source: str, target: str, labels: Sequence[str] = ("mask",), *, head: bool = False
) -> NormalizedSubject:
    """Read source and truth of a subject, each divided by its own median in the brain.

    Args:
        row: of the manifest.
        source: contrast that the brain mask is found in.
        target: contrast of the truth.
        labels: label columns to read where they are given.
        head: find the head as well.

    Raises:
        InputError: a missing or unusable file, or images on different grids.
    """
    subject = read_subject(row, list(dict.fromkeys((source, target))), labels)
    mask, rule = subject.mask
    images = subject.images[source], subject.images[target]
    medians = [
        reference_scale(image.array, mask, name=str(row.path(contrast)))
        for contrast, image in zip((source, target), images, strict=True)
    ]

    def normalized(inside: NDArray[np.bool_]) -> NormalizedSubject:
        source_units, truth_units = (
            in_reference_units(i.array, inside, median) for i, median in zip(images, medians, strict=True)
        )
        return NormalizedSubject(
            row,
            source=source_units,
            truth=truth_units,
            mask=inside,
            mask_rule=rule,
            space=images[1].space,
            source_median=medians[0],
            truth_median=medians[1],
            labels=subject.labels,
            sha256=subject.sha256,
        )

    brain = normalized(mask)
    region = head_mask(images[0], mask) & (mask | in_view(images[1].array)) if head else mask
    return brain if is_extracted(region, mask) else replace(brain, head=normalized(region))


def read_prediction(path: Path, subject: NormalizedSubject, scale: str) -> NormalizedPrediction:
    """Read a prediction into reference units.

    Args:
        path: the file.
        subject: its truth.
        scale: `reference` (the file holds 1000 times reference units), `own-median` (divide by its own in-mask
            median) or the number to divide by.

    Raises:
        PredictionGridError: another grid than the truth.
        InputError: an unusable file.
    """
    image = read_image(path)
    if not same_space(image.space, subject.space):
        raise PredictionGridError(
            f"subject {subject.row.name}: the prediction {path.name} (shape {image.space.shape}) and the truth "
            f"(shape {subject.space.shape}) lie on different grids; infer from the source image that shares the "
            "truth's grid"
        )
    if scale == "own-median":
        divisor = reference_scale(image.array, subject.mask, name=str(path))
    else:
        divisor = INTENSITY_SCALE if scale == "reference" else float(scale)
    masks = [subject.mask] if subject.head is None else [subject.mask, subject.head.mask]
    array, *head = (in_reference_units(image.array, mask, divisor) for mask in masks)
    return NormalizedPrediction(path, array, divisor, image.sha256, *head)
