"""Errors of the input inside a MONAI `Compose`, as themselves."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from volumetric.errors import InputError


@contextmanager
def unwrapped_errors() -> Iterator[None]:
    """Raise an `InputError` as itself where MONAI's `Compose` raises a `RuntimeError` from it."""
    try:
        yield
    except RuntimeError as error:
        cause: BaseException | None = error
        while cause is not None and not isinstance(cause, InputError):
            cause = cause.__cause__
        if cause is None:
            raise
        raise cause from error
