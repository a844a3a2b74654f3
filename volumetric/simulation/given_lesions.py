"""Lesions of one label map laid over another: moved, turned, scaled and mirrored, where the tissue allows it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.spatial.transform import Rotation

from volumetric.imaging.geometry import Slices, Space, crop, mask_points, moved, transform_points
from volumetric.imaging.nifti import Image
from volumetric.imaging.resample import resample
from volumetric.simulation.label_table import LabelTable
from volumetric.simulation.pathology import replaceable
from volumetric.simulation.tissues import IN_BRAIN, NUMBER

LESION_TISSUES = ("white_matter_lesion", "edema", "tumor", "necrosis")

JITTER_MM, TURN_DEG, SCALE_SD = 6.0, 10.0, 0.15
"""SD of a lesion's shift along each axis, of its turn about each, and of the logarithm of its size."""

ALLOWED_SHARE = 0.5
"""A lesion of whose voxels fewer lie on tissue that it may replace is drawn anew."""

_NUM_DRAWS = 20
_JOINED_MM = 2.0


@dataclass(frozen=True, eq=False)
class GivenLesion:
    """A lesion as a label map has it, with its satellites.

    Attributes:
        labels: of its box, `(I, J, K)`, 0 around it.
        space: grid of the box; its center is the world's origin.
        place: its center in the brain's box along RAS axes, 0 to 1 each.
    """

    labels: NDArray[np.uint16]
    space: Space
    place: NDArray[np.float64]


def is_lesion(tissues: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Voxels of `LESION_TISSUES`, of the shape of `tissues`."""
    return np.isin(tissues, [NUMBER[tissue] for tissue in LESION_TISSUES])


def given_lesions(image: Image, table: LabelTable, *, name: str) -> list[GivenLesion]:
    """Find the lesions of a label map; voxels up to 2 mm apart are one.

    Args:
        image: label map `(I, J, K)`, any orientation.
        table: label -> tissue.
        name: of the map, for messages.

    Raises:
        LabelTableError: labels that the table does not know.
    """
    tissues = table.tissues(image.array, name=name)
    diseased = is_lesion(tissues)
    if not diseased.any():
        return []
    space = image.space
    reach = ndimage.distance_transform_edt(~diseased, sampling=space.spacing_mm) <= _JOINED_MM / 2 + 1e-3
    groups, _ = ndimage.label(reach, np.ones((3, 3, 3)))
    groups[~diseased] = 0
    low, size = _brain_box(tissues, space)
    lesions = []
    for number, box in enumerate(ndimage.find_objects(groups), start=1):
        labels = np.where(groups[box] == number, image.array[box], 0).astype(np.uint16)
        corner = np.array([side.start for side in box])
        center = transform_points(space.affine, np.argwhere(labels > 0) + corner).mean(0)
        affine = space.affine.copy()
        affine[:3, 3] = transform_points(space.affine, corner[None])[0] - center
        lesions.append(GivenLesion(labels, Space(labels.shape, affine), (center - low) / size))
    return lesions


def with_given_lesions(
    rng: np.random.Generator, image: Image, table: LabelTable, lesions: Sequence[GivenLesion], *, name: str
) -> Image:
    """A label map with the lesions of another.

    All are mirrored or none, each as likely; each keeps its place in the brain but for `JITTER_MM`. White-matter
    lesions and edema replace white matter, tumors any solid brain but lesions of the map itself. A lesion that finds no
    such tissue in twenty draws is left out.

    Args:
        rng: source of all numbers.
        image: label map `(I, J, K)`, any orientation.
        table: label -> tissue, of both.
        lesions: of the other map.
        name: of the map, for messages.

    Raises:
        LabelTableError: labels that the table does not know.
    """
    labels, tissues = image.array.astype(np.uint16), table.tissues(image.array, name=name)
    brain_mm, is_mirrored = _brain_box(tissues, image.space), bool(rng.random() < 0.5)
    free = ~is_lesion(tissues)
    for lesion in lesions:
        for _ in range(_NUM_DRAWS):
            grid = _drawn(rng, lesion, *brain_mm, is_mirrored=is_mirrored)
            box = _box(grid, image.space)
            if box is None:
                continue
            drawn = resample(lesion.labels, grid, crop(image.space, box), "nearest").astype(np.uint16)
            if _lay(drawn * free[box], labels[box], tissues[box], table):
                break
    return image.with_array(labels)


def _brain_box(tissues: NDArray[np.uint8], space: Space) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Lower corner and size of the solid brain's box along RAS axes, mm, without the outermost hundredths."""
    low, high = np.percentile(mask_points(space, IN_BRAIN[tissues]), [1, 99], axis=0)
    return low, np.maximum(high - low, 1.0)


def _drawn(
    rng: np.random.Generator,
    lesion: GivenLesion,
    low_mm: NDArray[np.float64],
    size_mm: NDArray[np.float64],
    *,
    is_mirrored: bool,
) -> Space:
    """The grid of a lesion's box in another brain, whose box is given."""
    turn = Rotation.from_euler("xyz", rng.normal(0, TURN_DEG, 3), degrees=True).as_matrix()
    pose = np.eye(4)
    pose[:3, :3] = turn * [-1 if is_mirrored else 1, 1, 1] * np.exp(rng.normal(0, SCALE_SD))
    place = np.array([1 - lesion.place[0] if is_mirrored else lesion.place[0], *lesion.place[1:]])
    pose[:3, 3] = low_mm + place * size_mm + rng.normal(0, JITTER_MM, 3)
    return moved(lesion.space, pose)


def _lay(drawn: NDArray[np.uint16], labels: NDArray[np.uint16], tissues: NDArray[np.uint8], table: LabelTable) -> bool:
    """Lay a lesion over labels and tissues of its box as far as these allow it; false, and nothing, if hardly."""
    tissue_of = {int(label): table.tissue_of[int(label)] for label in np.unique(drawn[drawn > 0])}
    fits = {label: (drawn == label) & replaceable(tissue)[tissues] for label, tissue in tissue_of.items()}
    if sum(int(voxels.sum()) for voxels in fits.values()) < max(1, ALLOWED_SHARE * int((drawn > 0).sum())):
        return False
    for label, voxels in fits.items():
        labels[voxels] = label
        tissues[voxels] = NUMBER[tissue_of[label]]
    return True


def _box(lesion: Space, space: Space) -> Slices | None:
    """The part of a grid that holds a lesion's box; None where it lies outside."""
    corners = np.array(list(np.ndindex(2, 2, 2))) * lesion.shape - 0.5
    voxels = transform_points(np.linalg.inv(space.affine) @ lesion.affine, corners)
    first = np.maximum(np.floor(voxels.min(0)), 0).astype(int)
    end = np.minimum(np.ceil(voxels.max(0)) + 1, space.shape).astype(int)
    if (first >= end).any():
        return None
    i, j, k = (slice(int(a), int(b)) for a, b in zip(first, end, strict=True))
    return i, j, k
