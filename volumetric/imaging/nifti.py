"""Reading and writing NIfTI files, with the checks that every image must pass."""

from __future__ import annotations

import io
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from isal import igzip, igzip_lib, isal_zlib
from nibabel.filebasedimages import ImageFileError
from nibabel.spatialimages import HeaderDataError
from numpy.typing import NDArray

from volumetric.errors import InputError
from volumetric.imaging.geometry import Space
from volumetric.outputs import hash_bytes, write_bytes

SUFFIXES = (".nii.gz", ".nii")
"""File name endings that are read and written."""

_GZIP_MAGIC = b"\x1f\x8b"
_GZIP_LEVEL = 1
_GZIP_WBITS = 31  # a gzip header without a time, so that equal content gives equal bytes
_VOXELS_FROM = 352
_VOXELS_FROM_NIFTI2 = 544
_DAMAGE: tuple[type[Exception], ...] = (
    OSError,
    EOFError,
    ValueError,
    zlib.error,
    igzip_lib.IsalError,  # type: ignore[assignment]  # its stub calls the class an instance
    HeaderDataError,
    ImageFileError,
)
_HEADER_BYTES = {348: nib.Nifti1Image, 540: nib.Nifti2Image}


class ImageError(InputError):
    """A file that is no usable 3D NIfTI image."""


@dataclass(frozen=True, eq=False)
class Image:
    """A volume and where it lies.

    Attributes:
        array: `(I, J, K)`.
        affine: `(4, 4)` voxel index -> world mm (RAS+).
        header: the header of the file it was read from; a file written with it keeps both forms, codes and units.
        sha256: of the bytes of that file as they were read, compressed or not; empty for a volume made in memory.
    """

    array: NDArray[Any]
    affine: NDArray[np.float64]
    header: nib.Nifti1Header | None = None
    sha256: str = ""

    @property
    def space(self) -> Space:
        """The grid of the volume."""
        i, j, k = self.array.shape
        return Space((i, j, k), self.affine)

    def with_array(self, array: NDArray[Any]) -> Image:
        """The same place with other values."""
        return Image(array, self.affine, self.header, self.sha256)


def stem(path: Path) -> str:
    """The file name without its NIfTI ending."""
    for suffix in SUFFIXES:
        if path.name.endswith(suffix):
            return path.name[: -len(suffix)]
    return path.stem


def read_image(path: Path) -> Image:
    """Read a scan as float32.

    Args:
        path: a `.nii` or `.nii.gz` file, NIfTI-1 or NIfTI-2. Trailing axes of length one are dropped.

    Returns:
        The image with `array` float32 `(I, J, K)`, slope and intercept applied, every voxel finite.

    Raises:
        ImageError: missing, damaged, not NIfTI, not 3D, a singular affine, or a voxel that is not finite.
    """
    nifti, sha256 = _open(path)
    kind = nifti.get_data_dtype()
    if kind.kind not in "iufb":
        what = "complex numbers" if kind.kind == "c" else "colors (RGB)" if kind.fields else f"values of type {kind}"
        raise ImageError(f"{path}: the voxels hold {what}, expected real numbers; write the magnitude as a real image")
    with _damage_named(path):
        array = np.asarray(nifti.dataobj, dtype=np.float32)
    if array.size == 0:
        raise ImageError(f"{path}: the image has no voxels (shape {array.shape}); write it again")
    while array.ndim > 3 and array.shape[-1] == 1:
        array = array[..., 0]
    if array.ndim != 3:
        raise ImageError(
            f"{path}: expected a 3D image, got shape {tuple(array.shape)}; "
            "split it into 3D files and name the one that is meant"
        )
    affine = np.asarray(nifti.affine, dtype=np.float64)
    if not np.isfinite(affine).all() or abs(np.linalg.det(affine[:3, :3])) < 1e-9:
        raise ImageError(f"{path}: the affine is singular or not finite, so voxels have no place; mend the header")
    num_bad = int(array.size - np.isfinite(array).sum())
    if num_bad:
        where = tuple(int(index) for index in np.argwhere(~np.isfinite(array))[0])
        raise ImageError(
            f"{path}: {num_bad} of {array.size} voxels are NaN or infinite (the first at {where}); "
            "replace them, for example by 0 outside the head"
        )
    return Image(array, affine, nifti.header, sha256)


def read_space(path: Path) -> Space:
    """Read the grid of a scan from its header, without its voxels.

    Raises:
        ImageError: missing, damaged, not NIfTI, or not 3D.
    """
    _check_file(path)
    with _damage_named(path), path.open("rb") as file:
        magic = file.read(len(_GZIP_MAGIC))
        file.seek(0)
        stream = igzip.IGzipFile(fileobj=file) if magic == _GZIP_MAGIC else file
        data = stream.read(_VOXELS_FROM_NIFTI2)
        header = _kind_of(data, path).header_class.from_fileobj(io.BytesIO(data))
        i, j, k, *rest = header.get_data_shape()
        if any(side != 1 for side in rest):
            raise ImageError(f"{path}: expected a 3D image, got shape {(i, j, k, *rest)}")
        return Space((i, j, k), np.asarray(header.get_best_affine(), dtype=np.float64))


def read_labels(path: Path) -> Image:
    """Read a mask or label map as whole numbers (uint8 `(I, J, K)`).

    Raises:
        ImageError: as `read_image`, or values that are not whole numbers from 0 to 255.
    """
    image = read_image(path)
    labels = np.rint(image.array)
    if np.abs(labels - image.array).max() > 1e-3 or labels.min() < 0 or labels.max() > 255:
        raise ImageError(
            f"{path}: expected whole numbers from 0 to 255, got values from {image.array.min():g} to "
            f"{image.array.max():g}; this does not look like a mask or label map"
        )
    return image.with_array(labels.astype(np.uint8))


def write_image(path: Path, image: Image) -> None:
    """Write a volume whole or not at all; equal content gives equal bytes.

    Float arrays become float32, boolean and integer ones uint8; slope 1. With `image.header`, both
    forms with their codes and the units are that header's; without, both forms hold the affine.
    Free text and extensions of the header are left out, since scanners put names there.
    """
    dtype = np.float32 if np.issubdtype(image.array.dtype, np.floating) else np.uint8
    header = nib.Nifti1Header()
    header.set_data_dtype(dtype)
    nifti = nib.Nifti1Image(image.array.astype(dtype, copy=False), image.affine, header)
    if image.header is None:
        nifti.set_qform(image.affine, 1)
        nifti.set_sform(image.affine, 1)
        nifti.header.set_xyzt_units("mm")
    else:
        for key in ("qform_code", "sform_code", "quatern_b", "quatern_c", "quatern_d", "qoffset_x", "qoffset_y",
                    "qoffset_z", "srow_x", "srow_y", "srow_z", "xyzt_units"):  # fmt: skip
            nifti.header[key] = image.header[key]
        nifti.header["pixdim"][:4] = image.header["pixdim"][:4]  # [0] is the handedness of the qform
    nifti.header["cal_min"], nifti.header["cal_max"] = 0, 0
    write_bytes(path, _file_bytes(nifti, compressed=path.name.endswith(".gz")))


def _file_bytes(nifti: nib.Nifti1Image, *, compressed: bool) -> bytes:
    """As `nifti.to_bytes()`, which copies the voxels three times; compressed, they are not copied at all."""
    header = nifti.header.copy()
    header["vox_offset"] = _VOXELS_FROM
    header.set_slope_inter(1, 0)
    start = header.binaryblock + bytes(_VOXELS_FROM - len(header.binaryblock))
    voxels = np.asfortranarray(nifti.dataobj).ravel("F").data.cast("B")
    if not compressed:
        return b"".join([start, voxels])
    gzip = isal_zlib.compressobj(_GZIP_LEVEL, isal_zlib.DEFLATED, _GZIP_WBITS)
    return b"".join([gzip.compress(start), gzip.compress(voxels), gzip.flush()])


def _open(path: Path) -> tuple[nib.Nifti1Image, str]:
    """The image, its voxels not yet decoded, and the SHA-256 of the file."""
    _check_file(path)
    with _damage_named(path):
        data = path.read_bytes()
        sha256 = hash_bytes(data)
        if data[:2] == _GZIP_MAGIC:
            data = igzip.decompress(data)
        return _kind_of(data, path).from_bytes(data), sha256


def _check_file(path: Path) -> None:
    if not path.exists():
        raise ImageError(f"{path}: there is no such file; check the path")
    if not path.name.endswith(SUFFIXES):
        raise ImageError(f"{path}: expected a file that ends in .nii or .nii.gz")


def _kind_of(data: bytes, path: Path) -> type[nib.Nifti1Image]:
    """The class of image that the first bytes announce."""
    kind = next((_HEADER_BYTES[n] for n in _HEADER_BYTES if n in _sizes(data)), None)
    if kind is None:
        raise ImageError(f"{path}: not a NIfTI file (its first bytes are no NIfTI header); convert it first")
    return kind


@contextmanager
def _damage_named(path: Path) -> Iterator[None]:
    try:
        yield
    except ImageError:
        raise
    except _DAMAGE as error:
        reason = " ".join(str(error).split())
        raise ImageError(f"{path}: the file is damaged ({reason}); copy or convert it again") from error


def _sizes(data: bytes) -> tuple[int, int]:
    return int.from_bytes(data[:4], "little"), int.from_bytes(data[:4], "big")
