"""Cache of arrays on disk, by a key of what they were made from: made once, memory-mapped where they are used."""

from __future__ import annotations

import logging
import os
import shutil
import time
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import numpy as np
from numpy.typing import NDArray

from volumetric.errors import InputError, one_line

log = logging.getLogger(__name__)

_LITTER_AGE_S = 3600


class CacheError(InputError):
    """A cache that has no room."""


def cached(cache: Path, key: str, names: Collection[str], make: Callable[[], Mapping[str, NDArray[Any]]]) -> Path:
    """The folder of the arrays of a key; `make` is called where there is none, or a damaged one.

    Several processes may ask at once: each makes its own, and the first to finish is kept.

    Args:
        cache: parent of all such folders.
        key: changes whenever the arrays would; a hash.
        names: of the arrays.
        make: returns the arrays by name.

    Returns:
        `cache/key`, holding one `NAME.npy` an array; whole, since it was renamed into place.

    Raises:
        CacheError: the disk is full, or cannot be written.
    """
    folder = cache / key
    if _is_whole(folder, names):
        return folder
    arrays = make()
    num_bytes = sum(array.nbytes for array in arrays.values())
    cache.mkdir(parents=True, exist_ok=True)
    if num_bytes > shutil.disk_usage(cache).free:
        raise CacheError(
            f"{cache}: the disk is full ({num_bytes / 1e6:.0f} MB are needed for one subject); make room, or name a "
            "folder on another disk with --set cache=FOLDER"
        )
    _remove_litter(cache, key)
    temporary = Path(mkdtemp(prefix=f".{key[:8]}.", dir=cache))
    try:
        for name, array in arrays.items():
            with (temporary / f"{name}.npy").open("wb") as file:
                np.save(file, array)
                file.flush()
                os.fsync(file.fileno())
        if not _is_whole(folder, names):
            shutil.rmtree(folder, ignore_errors=True)
        with suppress(OSError):  # another process was first
            temporary.rename(folder)
    except OSError as error:
        raise CacheError(
            f"{cache}: the volumes of a subject cannot be kept ({one_line(error)}); make room, or name a folder on "
            "another disk with --set cache=FOLDER"
        ) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return folder


def _remove_litter(cache: Path, key: str) -> None:
    """Remove what killed processes left of this entry an hour ago or earlier."""
    for folder in cache.glob(f".{key[:8]}.*"):
        with suppress(OSError):  # another process was first
            if time.time() - folder.stat().st_mtime > _LITTER_AGE_S:
                shutil.rmtree(folder, ignore_errors=True)


def _is_whole(folder: Path, names: Collection[str]) -> bool:
    """True if all arrays are there in full length; a folder that lacks some is logged."""
    if not folder.is_dir():
        return False
    try:
        for name in names:
            mapped(folder, name)
    except (OSError, ValueError, EOFError) as error:
        log.warning("%s: the cached arrays are damaged (%s); they are made again", folder, error)
        return False
    return True


def mapped(folder: Path, name: str) -> NDArray[Any]:
    """An array of a cached folder, memory-mapped; what is written to it stays in this process.

    Opened anew each time, since every mapping holds a file open and cohorts are larger than the limit on those.
    """
    array: NDArray[Any] = np.load(folder / f"{name}.npy", mmap_mode="c")
    return array
