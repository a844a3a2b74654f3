"""The header of a NIfTI file, checked before any voxel is read."""

from __future__ import annotations

import logging
import math
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from isal import igzip_lib
from nibabel.filebasedimages import ImageFileError
from nibabel.spatialimages import HeaderDataError
from numpy.typing import NDArray

from volumetric.errors import InputError
from volumetric.imaging.geometry import Space, same_space, spacing_mm, transform_points
from volumetric.imaging.limits import VOXEL_SIZE_LIMITS_MM

HEADER_BYTES = 544
"""The longest header, that of NIfTI-2, with the four bytes that announce extensions."""
MAX_BYTES = 2**31
"""The largest volume that is read, as stored and as float32: 2 GiB, or 812 voxels a side of float32."""
MAX_SIDE = 2**15 - 1
"""Voxels of the longest side: what a prediction can be written with, as NIfTI-1."""
MAX_EXTENSION_BYTES = 2**26
"""The most that may lie between the header and the voxels: 64 MiB."""
MAX_ORIGIN_MM = 10_000.0
"""The farthest that the first voxel may lie from the world's origin; beyond, float32 no longer tells 0.001 mm apart."""
_SAME_FORM_MM = 0.1
"""Corners of the two forms of a header lie closer than this, or the forms disagree."""

_IMAGE_CLASSES = {348: nib.Nifti1Image, 540: nib.Nifti2Image}
_DAMAGE: tuple[type[Exception], ...] = (
    OSError,
    EOFError,
    ValueError,
    OverflowError,
    zlib.error,
    igzip_lib.IsalError,  # type: ignore[assignment]  # its stub calls the class an instance
    HeaderDataError,
    ImageFileError,
)
_OTHER_UNITS = {1: "meters", 3: "micrometers"}
_KINDS = {"c": "complex numbers", "V": "colors (RGB)"}
_SILENT = logging.Logger("silent")  # nibabel reports what it mends when the image is read
_SILENT.addHandler(logging.NullHandler())


class ImageError(InputError):
    """A file that is no usable 3D NIfTI image."""


@dataclass(frozen=True, eq=False)
class CheckedHeader:
    """Grid and size of the voxels that a header states.

    Attributes:
        image_class: the nibabel class that reads the file.
        space: the grid.
        num_bytes: of the uncompressed file, up to its last voxel.
    """

    image_class: type[nib.Nifti1Image]
    space: Space
    num_bytes: int


def check_header(data: bytes, path: Path) -> CheckedHeader:
    """Check the first `HEADER_BYTES` of an uncompressed NIfTI file.

    Args:
        data: these bytes, and any that follow.
        path: of the file, for messages.

    Raises:
        ImageError: not NIfTI, voxels that are no real numbers, not 3D, larger than `MAX_BYTES`, a singular affine,
            or a voxel size outside `VOXEL_SIZE_LIMITS_MM`.
    """
    image_class = _image_class(data, path)
    header_class: Any = image_class.header_class  # its constructor has no types
    with name_damage(path):
        block = data[: header_class.template_dtype.itemsize]
        header = header_class(block, check=False)
        dtype = _data_type(header, path)
        _check_slope(header, path)
        shape = tuple(int(side) for side in header.get_data_shape())
        offset = _voxel_offset(float(header["vox_offset"]), header_class.single_vox_offset, path)
        num_bytes = offset + _voxel_bytes(shape, dtype.itemsize, path)
        _check_pixel_sizes(header, path)
        header.check_fix(logger=_SILENT)
        affine = np.asarray(header.get_best_affine(), dtype=np.float64)
    check_affine(affine, path)
    return CheckedHeader(image_class, Space(_three_sides(shape, path), affine), num_bytes)


def header_warnings(header: nib.Nifti1Header | None, shape: tuple[int, int, int]) -> list[str]:
    """Warnings about a header: no form, a qform and an sform that contradict each other, or a unit but millimeters.

    Args:
        header: of the scan; None for one that was made in memory.
        shape: `(I, J, K)`.
    """
    return [] if header is None else [*_unit_warnings(header), *_form_warnings(header, shape)]


def _unit_warnings(header: nib.Nifti1Header) -> list[str]:
    """Programs write any unit and mean millimeters, so the numbers are taken as those."""
    unit = _OTHER_UNITS.get(int(header["xyzt_units"]) & 7)
    return [f"header names {unit} as its unit: its numbers are read as millimeters; mend xyzt_units"] if unit else []


def _form_warnings(header: nib.Nifti1Header, shape: tuple[int, int, int]) -> list[str]:
    codes = int(header["qform_code"]), int(header["sform_code"])
    if codes == (0, 0):
        return [
            "header does not say how the scan lies: its qform and sform codes are 0, so left and right may be "
            "swapped; convert the scan again from DICOM"
        ]
    if 0 in codes:
        return []
    try:
        forms = [Space(shape, header.get_qform()), Space(shape, header.get_sform())]
    except ValueError:
        return ["header has a damaged qform; the sform is used"]
    if same_space(*forms, tolerance_mm=_SAME_FORM_MM):
        return []
    corners = np.array(np.meshgrid(*[[0, n - 1] for n in shape])).reshape(3, -1).T
    ends = [transform_points(form.affine, corners) for form in forms]
    apart = float(np.linalg.norm(ends[0] - ends[1], axis=1).max())
    return [f"header contradicts itself: its qform and sform lie up to {apart:.1f} mm apart; the sform is used"]


def check_affine(affine: NDArray[np.float64], path: Path) -> None:
    """Check that an affine `(4, 4)` gives voxels a place and a size.

    Raises:
        ImageError: it is singular or not finite, a voxel size lies outside `VOXEL_SIZE_LIMITS_MM`, or the first voxel
            farther from the origin than `MAX_ORIGIN_MM`.
    """
    sizes = spacing_mm(affine)
    if not np.isfinite(affine).all() or (sizes == 0).any() or abs(np.linalg.det(affine[:3, :3] / sizes)) < 1e-9:
        raise ImageError(f"{path}: the affine is singular or not finite, so voxels have no place; mend the header")
    low, high = VOXEL_SIZE_LIMITS_MM
    if (sizes < low).any() or (sizes > high).any():
        raise ImageError(
            f"{path}: voxel size {_millimeters(sizes)} mm, expected {low:g} to {high:g} mm a side; "
            "check the units of the header (meters, microns?) and mend it"
        )
    if (np.abs(affine[:3, 3]) > MAX_ORIGIN_MM).any():
        raise ImageError(
            f"{path}: the first voxel lies at {_millimeters(affine[:3, 3])} mm, expected at most {MAX_ORIGIN_MM:g} mm "
            "from the origin; mend the offsets in the header"
        )


@contextmanager
def name_damage(path: Path) -> Iterator[None]:
    """Turn the errors of a damaged file into an `ImageError` that names it."""
    try:
        yield
    except ImageError:
        raise
    except _DAMAGE as error:
        reason = " ".join(str(error).split())
        raise ImageError(f"{path}: the file is damaged ({reason}); copy or convert it again") from error


def _image_class(data: bytes, path: Path) -> type[nib.Nifti1Image]:
    """The class of image that the first four bytes announce, in either byte order."""
    sizes = int.from_bytes(data[:4], "little"), int.from_bytes(data[:4], "big")
    size = next((size for size in sizes if size in _IMAGE_CLASSES), None)
    if size is None:
        raise ImageError(f"{path}: not a NIfTI file (its first bytes are no NIfTI header); convert it first")
    if len(data) < size:
        raise ImageError(
            f"{path}: the file is damaged (a header has {size} bytes, there are {len(data)}); copy or convert it again"
        )
    return _IMAGE_CLASSES[size]


def _data_type(header: nib.Nifti1Header, path: Path) -> np.dtype[np.generic]:
    """The type of the voxels, which must be real numbers."""
    code = int(header["datatype"])
    try:
        dtype: np.dtype[np.generic] = header.get_data_dtype()
    except (KeyError, HeaderDataError) as error:
        raise ImageError(f"{path}: the header's datatype is {code}, none of NIfTI's; convert it again") from error
    if dtype.kind in "iufb":
        return dtype
    named = dtype.kind == "c" or dtype.names is not None  # the datatypes 0 and 1 are void, but no colors
    description = _KINDS[dtype.kind] if named else f"values of the datatype {code}"
    raise ImageError(
        f"{path}: the voxels hold {description}, expected real numbers; write the magnitude as a real image"
    )


def _check_slope(header: nib.Nifti1Header, path: Path) -> None:
    """NaN and 0 mean no scaling; nibabel would take infinity for that too."""
    slope = float(header["scl_slope"])
    if math.isinf(slope):
        raise ImageError(f"{path}: voxels are scaled by {slope}; mend scl_slope in the header")


def _three_sides(shape: tuple[int, ...], path: Path) -> tuple[int, int, int]:
    """The shape without trailing sides of one."""
    if len(shape) < 3 or any(side != 1 for side in shape[3:]):
        raise ImageError(
            f"{path}: expected a 3D image, got shape {shape}; split it into 3D files and name the one that is meant"
        )
    return shape[0], shape[1], shape[2]


def _voxel_offset(offset: float, least: int, path: Path) -> int:
    """First byte of the voxels; at 0 nibabel would read the header as voxels."""
    if not least <= offset <= MAX_EXTENSION_BYTES:
        raise ImageError(
            f"{path}: the header says that voxels begin at byte {offset:g}, expected {least} to "
            f"{MAX_EXTENSION_BYTES}; mend vox_offset or convert the image again"
        )
    return int(offset)


def _voxel_bytes(shape: tuple[int, ...], itemsize: int, path: Path) -> int:
    if min(shape, default=0) < 1:
        raise ImageError(f"{path}: the image has no voxels (shape {shape}); write it again")
    _three_sides(shape, path)
    num_voxels = math.prod(shape)
    if num_voxels * max(itemsize, np.dtype(np.float32).itemsize) > MAX_BYTES:
        raise ImageError(
            f"{path}: the header claims {' x '.join(map(str, shape))} voxels of {itemsize} bytes, expected at most "
            f"{MAX_BYTES / 2**30:g} GiB, as stored and as float32; mend the header, or resample the image"
        )
    if max(shape) > MAX_SIDE:
        raise ImageError(
            f"{path}: the header claims {' x '.join(map(str, shape))} voxels, expected at most {MAX_SIDE} a side; mend "
            "the header, or resample the image"
        )
    return num_voxels * itemsize


def _check_pixel_sizes(header: nib.Nifti1Header, path: Path) -> None:
    """Without an sform the affine rests on `pixdim`, where nibabel would take 1 mm for 0."""
    sizes = np.asarray(header["pixdim"][1:4], dtype=np.float64)
    if header["sform_code"] == 0 and not (np.isfinite(sizes) & (sizes != 0)).all():
        raise ImageError(
            f"{path}: voxel size {_millimeters(sizes)} mm, expected finite numbers above 0; mend pixdim in the header"
        )


def _millimeters(sizes: NDArray[np.float64]) -> str:
    """`2` for equal sizes, `1 x 1 x 2` for others."""
    texts = [f"{size:.4g}" for size in sizes]
    return texts[0] if len(set(texts)) == 1 else " x ".join(texts)
