"""Pictures and volumes of one subject, from the images that were scored."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from volumetric.errors import InputError
from volumetric.figures.canvas import encode
from volumetric.figures.montage import draw_montage
from volumetric.imaging.geometry import bounding_box, crop, flips_to_ras, same_space
from volumetric.imaging.intensity import in_reference_units
from volumetric.imaging.mask import brain_mask
from volumetric.imaging.nifti import Image, read_image, read_labels
from volumetric.reporting.results import Results
from volumetric.reporting.viewer import Volumes, pack

_ROLES = ("source", "truth", "prediction")
_MARGIN_VOX = 2
_DPI = 110


class PicturesError(InputError):
    """A subject whose images cannot be shown."""


@dataclass(frozen=True, eq=False)
class Head:
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
class Pictures:
    """What the page shows of a subject.

    Attributes:
        montage: WebP as base64 text.
        shape: of the cropped grid.
        spacing_mm: of that grid.
        volumes: for the viewer; None where there is none.
    """

    montage: str
    shape: tuple[int, int, int]
    spacing_mm: tuple[float, float, float]
    volumes: Volumes | None


class Drawing:
    """The batch task: one subject's images in, its pictures out; it writes no file."""

    def __init__(self, results: Results, *, with_viewer: bool) -> None:
        self._results, self._with_viewer = results, with_viewer

    def name(self, item: str) -> str:
        return item

    def finished(self, item: str) -> None:
        return None

    def read(self, item: str) -> Head:
        return read_head(self._results.record(item).get("images"), name=item)

    def compute(self, item: str, loaded: Head) -> Pictures:
        figure = draw_montage(
            {"source": loaded.source}, loaded.truth, loaded.prediction, spacing_mm=loaded.spacing_mm, title=""
        )
        i, j, k = loaded.mask.shape
        x, y, z = (float(s) for s in loaded.spacing_mm)
        volumes = pack(loaded.source, loaded.truth, loaded.prediction, loaded.mask, loaded.affine)
        montage = base64.b64encode(encode(figure, "webp", dpi=_DPI)).decode()
        return Pictures(montage, (i, j, k), (x, y, z), volumes if self._with_viewer else None)

    def write(self, item: str, result: Pictures) -> Mapping[str, object]:
        return {"pictures": result}


def read_head(images: object, *, name: str) -> Head:
    """Read what `images` of a subject's JSON file names.

    Only the brain is kept, as in the scores; so a page that is handed on shows no face.

    Args:
        images: `{"source": {"path", "divisor"}, "truth": ..., "prediction": ..., "mask": path or null}`.
        name: the subject.

    Raises:
        InputError: nothing is named, a file cannot be read, or the images lie on different grids.
    """
    if not isinstance(images, dict) or not all(isinstance(images.get(role), dict) for role in _ROLES):
        raise PicturesError(
            f"subject {name}: its file in subjects/ names no images; score it again with volumetric evaluate --fresh"
        )
    scans = {role: read_image(_path(images[role], name)) for role in _ROLES}
    source = scans["source"]
    for role, scan in scans.items():
        if not same_space(scan.space, source.space):
            raise PicturesError(
                f"subject {name}: {role} {scan.space.shape} and source {source.space.shape} lie on different grids; "
                "resample one onto the other and score it again"
            )
    given = read_labels(Path(str(images["mask"]))) if images.get("mask") else None
    mask = brain_mask(source, given, name=str(images["source"]["path"])).array
    units = [_in_units(scans[role], mask, images[role], name) for role in _ROLES]
    flips = flips_to_ras(source.affine)
    upright = [np.ascontiguousarray(flips.apply(volume)) for volume in (*units, mask)]
    tight = bounding_box(upright[3])
    box = tuple(slice(max(0, s.start - _MARGIN_VOX), s.stop + _MARGIN_VOX) for s in tight)
    i, j, k = (slice(s.start, min(s.stop, n)) for s, n in zip(box, upright[3].shape, strict=True))
    space = crop(flips.apply_to_space(source.space), (i, j, k))
    cropped = [volume[i, j, k] for volume in upright]
    return Head(cropped[0], cropped[1], cropped[2], cropped[3], space.affine, space.spacing_mm)


def _path(image: Mapping[str, Any], name: str) -> Path:
    if not image.get("path"):
        raise PicturesError(f"subject {name}: one of its images has no path; score it again with evaluate --fresh")
    return Path(str(image["path"]))


def _in_units(scan: Image, mask: NDArray[np.bool_], image: Mapping[str, Any], name: str) -> NDArray[np.float32]:
    divisor = image.get("divisor")
    if not isinstance(divisor, int | float) or not divisor > 0:
        raise PicturesError(
            f"subject {name}: the divisor of {image['path']} is {divisor}, expected a positive number; "
            "score it again with volumetric evaluate --fresh"
        )
    return in_reference_units(scan.array, mask, float(divisor))
