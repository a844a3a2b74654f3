"""Reading and writing NIfTI files, with the checks that every image must pass."""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from isal import igzip, isal_zlib
from numpy.typing import NDArray

from volumetric.imaging.geometry import Space
from volumetric.imaging.header import (
    HEADER_BYTES,
    MAX_BYTES,
    MAX_EXTENSION_BYTES,
    ImageError,
    check_header,
    header_warnings,
    name_damage,
)
from volumetric.outputs import hash_bytes, write_bytes

SUFFIXES = (".nii.gz", ".nii")
"""File name endings that are read and written."""

_MIN_STEPS = 256
_GZIP_MAGIC = b"\x1f\x8b"
_GZIP_LEVEL = 1
_GZIP_WBITS = 31  # a gzip header without a time, so that equal content gives equal bytes
_MAX_RATIO = 1032  # of DEFLATE: 258 bytes from two bits
_SLACK_BYTES = 2**20  # padding that some programs write after the voxels
_VOXELS_FROM = 352
_PLACE_FIELDS = (
    *("qform_code", "sform_code", "xyzt_units"),
    *("quatern_b", "quatern_c", "quatern_d", "qoffset_x", "qoffset_y", "qoffset_z"),
    *("srow_x", "srow_y", "srow_z"),
)


@dataclass(frozen=True, eq=False)
class Image:
    """A volume and its place in the world.

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

    @property
    def warnings(self) -> list[str]:
        """Warnings about its header, as `header_warnings`."""
        return header_warnings(self.header, self.space.shape)

    def with_array(self, array: NDArray[Any]) -> Image:
        """An image of other values in the same place."""
        return Image(array, self.affine, self.header, self.sha256)


def stem(path: Path) -> str:
    """The file name without its NIfTI ending."""
    for suffix in SUFFIXES:
        if path.name.endswith(suffix):
            return path.name[: -len(suffix)]
    return path.stem


def read_image(path: Path) -> Image:
    """Read an image as float32. Its header is checked before its voxels are decompressed.

    Args:
        path: a `.nii` or `.nii.gz` file, NIfTI-1 or NIfTI-2. Trailing axes of length one are dropped.

    Returns:
        The image with `array` float32 `(I, J, K)`, slope and intercept applied, every voxel finite.

    Raises:
        ImageError: missing, damaged, a header that `check_header` refuses, more data than the header claims, or a
            voxel that is not finite.
    """
    data = _read_bytes(path)
    sha256 = hash_bytes(data)
    with name_damage(path):
        if data[:2] == _GZIP_MAGIC:
            header = check_header(igzip.IGzipFile(fileobj=io.BytesIO(data)).read(HEADER_BYTES), path)
            data = _decompress(data, header.num_bytes, path)
        else:
            header = check_header(data, path)
        if len(data) < header.num_bytes:
            raise ImageError(
                f"{path}: the file is damaged (the header claims {header.num_bytes} bytes, there are {len(data)}); "
                "copy or convert it again"
            )
        nifti = header.image_class.from_bytes(data)
        with np.errstate(over="ignore"):  # what overflows is infinite, and refused as such
            array = np.asarray(nifti.dataobj, dtype=np.float32).reshape(header.space.shape, order="A")
    _check_finite(array, path)
    _check_steps(array, path)
    return Image(array, np.asarray(nifti.affine, dtype=np.float64), nifti.header, sha256)


def read_space(path: Path) -> Space:
    """Read the grid of an image from its header, without its voxels.

    Raises:
        ImageError: missing, damaged, or a header that `check_header` refuses.
    """
    _check_file(path)
    with name_damage(path), path.open("rb") as file:
        compressed = file.read(len(_GZIP_MAGIC)) == _GZIP_MAGIC
        file.seek(0)
        stream = igzip.IGzipFile(fileobj=file) if compressed else file
        return check_header(stream.read(HEADER_BYTES), path).space


def read_labels(path: Path, highest: int = 255) -> Image:
    """Read a mask or label map as whole numbers: uint8 `(I, J, K)`, uint16 where `highest` is above 255.

    Raises:
        ImageError: as `read_image`, or values that are not whole numbers from 0 to `highest`.
    """
    image = read_image(path)
    labels = np.rint(image.array)
    if np.abs(labels - image.array).max() > 1e-3 or labels.min() < 0 or labels.max() > highest:
        raise ImageError(
            f"{path}: expected whole numbers from 0 to {highest}, got values from {image.array.min():g} to "
            f"{image.array.max():g}; this is no mask or label map"
        )
    return image.with_array(labels.astype(np.uint8 if highest <= 255 else np.uint16))


def write_image(path: Path, image: Image) -> None:
    """Write a volume whole or not at all; equal content gives equal bytes.

    Float arrays become float32, boolean and integer ones uint8, or uint16 where a label is above 255; slope 1. With
    `image.header`, both forms with their codes and the units are that header's; without, both forms hold the affine.
    Free text and extensions of the header are left out, since scanners put names there.

    Raises:
        ValueError: labels that are negative or above 65535.
    """
    dtype = _written_type(image.array)
    header = nib.Nifti1Header()
    header.set_data_dtype(dtype)
    nifti = nib.Nifti1Image(image.array.astype(dtype, copy=False), image.affine, header)
    if image.header is None:
        nifti.set_qform(image.affine, 1)
        nifti.set_sform(image.affine, 1)
        nifti.header.set_xyzt_units("mm")
    else:
        for key in _PLACE_FIELDS:
            nifti.header[key] = image.header[key]
        nifti.header["pixdim"][:4] = image.header["pixdim"][:4]  # [0] is the handedness of the qform
    nifti.header["cal_min"], nifti.header["cal_max"] = 0, 0
    write_bytes(path, _file_bytes(nifti, compressed=path.name.endswith(".gz")))


def _written_type(array: NDArray[Any]) -> type[np.float32 | np.uint8 | np.uint16]:
    """The type that holds an array's values in a file."""
    if np.issubdtype(array.dtype, np.floating):
        return np.float32
    low, high = int(array.min(initial=0)), int(array.max(initial=0))
    if low < 0 or high > np.iinfo(np.uint16).max:
        raise ValueError(f"labels from {low} to {high}, expected 0 to {np.iinfo(np.uint16).max}")
    return np.uint8 if high <= np.iinfo(np.uint8).max else np.uint16


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


def _check_file(path: Path) -> None:
    if not path.exists():
        raise ImageError(f"{path}: there is no such file; check the path")
    if not path.name.endswith(SUFFIXES):
        raise ImageError(f"{path}: expected a file that ends in .nii or .nii.gz; rename or convert it")


def _read_bytes(path: Path) -> bytes:
    _check_file(path)
    with name_damage(path):
        if path.stat().st_size > MAX_BYTES + MAX_EXTENSION_BYTES:
            raise ImageError(f"{path}: the file is larger than {MAX_BYTES / 2**30:g} GiB; resample the image")
        return path.read_bytes()


def _decompress(data: bytes, num_bytes: int, path: Path) -> bytes:
    """The first `num_bytes` of a gzip file, which may hold little more."""
    if num_bytes > len(data) * _MAX_RATIO:
        raise ImageError(
            f"{path}: the file is damaged (the header claims {num_bytes} bytes, which {len(data)} compressed bytes "
            "cannot hold); copy or convert it again"
        )
    stream = igzip.IGzipFile(fileobj=io.BytesIO(data))
    content = stream.read(num_bytes)
    if len(stream.read(_SLACK_BYTES + 1)) > _SLACK_BYTES:
        raise ImageError(
            f"{path}: the file decompresses to more than the {num_bytes} bytes that its header claims; convert it again"
        )
    return content


def _check_finite(array: NDArray[np.float32], path: Path) -> None:
    num_bad = int(array.size - np.isfinite(array).sum())
    if num_bad:
        first = tuple(int(index) for index in np.argwhere(~np.isfinite(array))[0])
        raise ImageError(
            f"{path}: {num_bad} of {array.size} voxels are NaN or infinite (the first at {first}); "
            "replace them, for example by 0 outside the brain"
        )


def _check_steps(array: NDArray[np.float32], path: Path) -> None:
    """Check that float32 told the voxels apart, which it does not far away from 0."""
    low, high = float(array.min()), float(array.max())
    if 0 < high - low < _MIN_STEPS * float(np.spacing(np.float32(max(abs(low), abs(high))))):
        raise ImageError(
            f"{path}: the voxels lie between {low:.9g} and {high:.9g}, too near to each other to be told apart; mend "
            "scl_inter in the header, or subtract the smallest value"
        )
