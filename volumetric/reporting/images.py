"""Images of one subject on the page: a figure of slices, and volumes for the viewer."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from volumetric.errors import InputError
from volumetric.figures.canvas import encode
from volumetric.figures.montage import draw_montage
from volumetric.imaging.geometry import Space, bounding_box, crop, flips_to_ras, widened
from volumetric.imaging.intensity import in_reference_units
from volumetric.manifest import ManifestRow
from volumetric.records.evaluation import ScoredImages, SubjectScores
from volumetric.records.table import SessionKey
from volumetric.reporting.viewer import PackedVolumes, pack
from volumetric.subject import read_subject

_ROLES = ("source", "truth", "prediction")
_MARGIN_VOX = 2
_DPI = 110


class SubjectImagesError(InputError):
    """A subject whose images cannot be shown."""


@dataclass(frozen=True, eq=False)
class SubjectImages:
    """The images of a subject along RAS axes, cropped to its brain.

    Attributes:
        source: `(I, J, K)`, reference units, 0 outside the mask; `truth` and `prediction` alike.
        mask: `(I, J, K)`.
        affine: `(4, 4)` of that grid, voxel index -> world mm.
        spacing_mm: `(3,)`.
    """

    source: NDArray[np.float32]
    truth: NDArray[np.float32]
    prediction: NDArray[np.float32]
    mask: NDArray[np.bool_]
    affine: NDArray[np.float64]
    spacing_mm: NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class SubjectFigures:
    """The figure and the volumes of a subject.

    Attributes:
        montage: WebP as base64 text.
        shape: of the cropped grid.
        spacing_mm: of that grid.
        volumes: for the viewer; None without one.
    """

    montage: str
    shape: tuple[int, int, int]
    spacing_mm: tuple[float, float, float]
    volumes: PackedVolumes | None


@dataclass(frozen=True)
class MakeFigures:
    """The batch task: the images of one subject in, its figures out; it writes no file.

    Attributes:
        evaluation: folder of the evaluation.
        with_viewer: whether to pack volumes for the viewer.
    """

    evaluation: Path
    with_viewer: bool

    def name(self, item: SessionKey) -> str:
        return item.name

    def finished(self, item: SessionKey) -> None:
        return None

    def read(self, item: SessionKey) -> SubjectImages:
        return read_images(
            SubjectScores.read(SubjectScores.path(self.evaluation, item)).images.below(self.evaluation), item
        )

    def compute(self, item: SessionKey, loaded: SubjectImages) -> SubjectFigures:
        figure = draw_montage(
            {"source": loaded.source}, loaded.truth, loaded.prediction, spacing_mm=loaded.spacing_mm, title=""
        )
        i, j, k = loaded.mask.shape
        x, y, z = (float(s) for s in loaded.spacing_mm)
        volumes = pack(loaded.source, loaded.truth, loaded.prediction, loaded.mask, loaded.affine)
        montage = base64.b64encode(encode(figure, "webp", dpi=_DPI)).decode()
        return SubjectFigures(montage, (i, j, k), (x, y, z), volumes if self.with_viewer else None)

    def write(self, item: SessionKey, result: SubjectFigures) -> SubjectFigures:
        return result


def read_images(images: ScoredImages, key: SessionKey) -> SubjectImages:
    """Read the images that were scored, and keep the brain alone, so that the page shows no face.

    Args:
        images: their files, and the numbers that give reference units.
        key: subject and session.

    Raises:
        InputError: a file cannot be read, the images lie on different grids, or a divisor is not positive.
    """
    scored = {"source": images.source, "truth": images.truth, "prediction": images.prediction}
    paths = {role: image.path for role, image in scored.items()}
    if images.mask is not None:
        paths["mask"] = images.mask
    subject = read_subject(ManifestRow(*key, paths=paths), _ROLES)
    for role, image in scored.items():
        if not image.divisor > 0:
            raise SubjectImagesError(
                f"subject {key.name}: the divisor of the {role} is {image.divisor:g}, expected a positive number; "
                f"{SubjectScores.REMEDY}"
            )
    mask = subject.mask.array
    units = {
        role: in_reference_units(subject.images[role].array, mask, image.divisor) for role, image in scored.items()
    }
    return _upright_and_cropped(units, mask, subject.images["source"].space)


def _upright_and_cropped(
    volumes: Mapping[str, NDArray[np.float32]], mask: NDArray[np.bool_], space: Space
) -> SubjectImages:
    flips = flips_to_ras(space.affine)
    upright = flips.apply(mask)
    box = widened(bounding_box(upright), upright.shape, np.full(3, _MARGIN_VOX))
    cropped_space = crop(flips.apply_to_space(space), box)
    cropped = {role: np.ascontiguousarray(flips.apply(volume)[box]) for role, volume in volumes.items()}
    return SubjectImages(
        **cropped,
        mask=np.ascontiguousarray(upright[box]),
        affine=cropped_space.affine,
        spacing_mm=cropped_space.spacing_mm,
    )
