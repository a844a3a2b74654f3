"""A subject's images as they are read from disk: the one way from a row of the manifest to voxels."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from volumetric.errors import InputError
from volumetric.imaging.geometry import same_space
from volumetric.imaging.mask import BrainMask, brain_mask
from volumetric.imaging.nifti import Image, read_image, read_labels
from volumetric.manifest import LABEL_MAP, ManifestRow


class SubjectError(InputError):
    """Images of one subject that do not lie on one grid."""


@dataclass(frozen=True, eq=False)
class RawSubject:
    """The images of one subject and session as their files hold them, each on a grid of its own.

    Attributes:
        row: the row of the manifest.
        images: by contrast, in the order they were asked for; float32.
        labels: `mask`, `tissues` and `lesions`, those that were asked for and are given; uint8.
    """

    row: ManifestRow
    images: Mapping[str, Image]
    labels: Mapping[str, Image] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """`subject` or `subject/session`."""
        return self.row.name

    @property
    def sha256(self) -> dict[str, str]:
        """By column, the SHA-256 of the bytes that were read."""
        return {column: image.sha256 for column, image in {**self.images, **self.labels}.items()}


@dataclass(frozen=True, eq=False)
class Subject(RawSubject):
    """The images of one subject and session on one grid, with the brain mask of the first image.

    Attributes:
        mask: `(I, J, K)` on that grid, and the rule that made it.
    """

    mask: BrainMask = field(kw_only=True)


HIGHEST_LABEL = 65535
"""The largest number of a label map."""


def read_source(path: Path, column: str) -> Image:
    """Read the file of a source: a scan, or a label map, whose whole numbers are float32 too.

    Raises:
        ImageError: a file that cannot be used, or no whole numbers in a label map.
    """
    if column != LABEL_MAP:
        return read_image(path)
    labels = read_labels(path, HIGHEST_LABEL)
    return labels.with_array(labels.array.astype(np.float32))


def read_raw_subject(row: ManifestRow, contrasts: Sequence[str], labels: Sequence[str] = ("mask",)) -> RawSubject:
    """Read a subject's files.

    Args:
        row: the row of the manifest.
        contrasts: images to read; each must be given.
        labels: label columns to read where they are given.

    Raises:
        InputError: a file that is missing, damaged or not a 3D NIfTI image.
    """
    images = {contrast: read_source(row.path(contrast), contrast) for contrast in contrasts}
    return RawSubject(row, images, {label: read_labels(row.path(label)) for label in labels if label in row.paths})


def read_subject(row: ManifestRow, contrasts: Sequence[str], labels: Sequence[str] = ("mask",)) -> Subject:
    """Read a subject whose images lie on one grid, and find its brain.

    Args:
        row: the row of the manifest.
        contrasts: images to read; the first is the one the brain mask is found in.
        labels: label columns to read where they are given. A `mask` decides over the brain.

    Raises:
        InputError: as `read_raw_subject`; images on different grids; no brain mask can be had.
    """
    return masked_subject(read_raw_subject(row, contrasts, labels))


def masked_subject(raw: RawSubject) -> Subject:
    """Check that the images of a subject lie on one grid, and find its brain in the first; errors as above."""
    check_one_grid(raw.images, name=raw.name)
    first, source = next(iter(raw.images.items()))
    given_name = str(raw.row.paths.get("mask", ""))
    mask = brain_mask(source, raw.labels.get("mask"), name=str(raw.row.path(first)), given_name=given_name)
    return Subject(raw.row, raw.images, raw.labels, mask=mask)


def check_distinct(sha256: Mapping[str, str], contrasts: Iterable[str], *, name: str) -> None:
    """Check that no contrast of a subject is a copy of another.

    Args:
        sha256: of the file of each column.
        contrasts: the columns to compare.
        name: of the subject, for the message.

    Raises:
        SubjectError: naming the subject and the two.
    """
    owners: dict[str, str] = {}
    for contrast in contrasts:
        first = owners.setdefault(sha256[contrast], contrast)
        if first != contrast:
            raise SubjectError(
                f"subject {name}: the files of `{first}` and `{contrast}` are equal byte for byte; correct one"
            )


def check_one_grid(images: Mapping[str, Image], *, name: str) -> None:
    """Check that all images of a subject lie on the grid of the first.

    Raises:
        SubjectError: naming the subject, the two images and what differs.
    """
    (first, reference), *others = images.items()
    for key, image in others:
        if same_space(reference.space, image.space):
            continue
        shapes = reference.space.shape, image.space.shape
        what = (
            f"shape {shapes[1]} and `{first}` {shapes[0]}"
            if shapes[0] != shapes[1]
            else f"the shape of `{first}` but another affine, so equal voxels lie at different places"
        )
        raise SubjectError(f"subject {name}: `{key}` has {what}; make pairs of raw scans with `volumetric prepare`")
