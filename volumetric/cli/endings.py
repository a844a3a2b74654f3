"""The end of a command that raised something: a sentence and an exit status."""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import wraps
from io import TextIOWrapper
from typing import NamedTuple, ParamSpec, TypeVar

from volumetric.errors import FailedSubjectsError, InputError, file_problem, one_line
from volumetric.machine import is_out_of_memory

P = ParamSpec("P")
T = TypeVar("T")

_CUT_SHORT = "a file, or what another process sends, ended too early"


class Ending(NamedTuple):
    """The last line on standard error, and the exit status."""

    sentence: str
    status: int


class StoppedError(Exception):
    """The end of input, which typer would end by itself, without a word."""


ENDINGS: dict[type[BaseException], Callable[[BaseException], Ending]] = {
    FailedSubjectsError: lambda error: Ending(f"error: {error}", 1),
    InputError: lambda error: Ending(f"error: {error}", 2),
    OSError: lambda error: Ending(f"error: {file_problem(error)}", 2),  # type: ignore[arg-type]
    EOFError: lambda error: Ending(f"error: {_CUT_SHORT} ({one_line(error)}); repeat the command", 2),
}
"""By kind of error; of kinds within one another, the first that fits."""


def ending(error: BaseException) -> Ending | None:
    """The end for an error; None for a defect of this program, which is shown whole."""
    if isinstance(error, StoppedError) and error.__cause__ is not None:
        error = error.__cause__
    end = next((end for kind, end in ENDINGS.items() if isinstance(error, kind)), None)
    if end is not None:
        return end(error)
    return _without_memory(error) if is_out_of_memory(error) else None


def _without_memory(error: BaseException) -> Ending:
    reason = one_line(error) or type(error).__name__
    return Ending(f"error: the memory ran out ({reason}); give it more, or fewer --jobs or smaller windows", 2)


def past_typer(verb: Callable[P, T]) -> Callable[P, T]:
    """A command whose every error comes out of typer."""

    @wraps(verb)
    def run(*args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return verb(*args, **kwargs)
        except EOFError as error:
            raise StoppedError from error

    return run


def print_any_file_name() -> None:
    """Let standard output take file names that are no UTF-8, byte for byte."""
    if isinstance(sys.stdout, TextIOWrapper):
        sys.stdout.reconfigure(errors="surrogateescape")
