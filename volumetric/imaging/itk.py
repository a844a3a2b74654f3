"""Volumes as SimpleITK images, the number of its threads, and its errors."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray

from volumetric.errors import InputError
from volumetric.imaging.geometry import Space
from volumetric.machine import has_address_limit, is_out_of_memory

RAS_TO_LPS = np.diag([-1.0, -1.0, 1.0])
"""World axes of NIfTI to those of ITK, and back."""


@contextmanager
def one_thread() -> Iterator[None]:
    """Let ITK sum on one thread: with more, the last digits change from run to run.

    A filter's own number of threads does not reach the metric inside a registration, so this is the process's.
    """
    before = sitk.ProcessObject.GetGlobalDefaultNumberOfThreads()
    sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(1)
    try:
        yield
    finally:
        sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(before)


@contextmanager
def safe_threads() -> Iterator[None]:
    """Let ITK use one thread where the address space is limited, and else as many as it likes.

    The C library gives each further thread 64 MB of addresses. Where they are refused, every allocation asks for them
    again: resamplings that take 0.5 s together took 20 to 39 s, most of it in the system.
    """
    with one_thread() if has_address_limit() else nullcontext():
        yield


class ItkError(InputError):
    """Scans that ITK cannot work on."""


@contextmanager
def named_failure(name: str) -> Iterator[None]:
    """Turn an error of ITK, which has pages of types and addresses, into one sentence.

    Args:
        name: of the scans, in the sentence.

    Raises:
        ItkError: with the last line of what ITK said.
    """
    try:
        yield
    except RuntimeError as error:
        if "SimpleITK" not in str(error) or is_out_of_memory(error):
            raise
        reason = str(error).strip().splitlines()[-1]
        raise ItkError(
            f"{name}: ITK cannot work on these scans ({reason}); open them, and leave out or convert again what is "
            "damaged"
        ) from error


def to_sitk(array: NDArray[np.float32], space: Space, size: tuple[int, int, int] | None = None) -> sitk.Image:
    """A volume `(I, J, K)` as a SimpleITK image; with `size`, an empty image of that many voxels instead."""
    if size is None:
        image = sitk.GetImageFromArray(array.transpose(2, 1, 0))
    else:
        image = sitk.Image([int(n) for n in size], sitk.sitkFloat32)
    direction = RAS_TO_LPS @ space.affine[:3, :3] / space.spacing_mm
    image.SetSpacing([float(s) for s in space.spacing_mm])
    image.SetOrigin([float(x) for x in RAS_TO_LPS @ space.affine[:3, 3]])
    image.SetDirection([float(x) for x in direction.ravel()])
    return image
