"""The one kind of error that is about the user's input, not about this program."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pydantic import ValidationError


_CHECK_PATH = "check the path, or choose another --out"
_MAKE_ROOM = "make room on the disk, then repeat the command, which goes on from what is finished"
_ASK_FOR_RIGHTS = "ask for the right to write there, or choose another --out"
_WAYS_OUT = {
    **dict.fromkeys((errno.ENOSPC, errno.EDQUOT, errno.EFBIG), _MAKE_ROOM),
    **dict.fromkeys((errno.EACCES, errno.EPERM, errno.EROFS), _ASK_FOR_RIGHTS),
    errno.ENAMETOOLONG: "give it a shorter name",
    errno.EMFILE: "raise the limit on open files (ulimit -n)",
    errno.EIO: "check the disk, then repeat the command",
}


class InputError(ValueError):
    """Something the user can mend; its message says what, where, expected, got, and the way out.

    Each room subclasses it beside the code that raises. The command line prints it as one sentence and
    exits with 2; inside a batch it costs that subject and becomes a row.
    """


class FailedSubjectsError(InputError):
    """Subjects of a batch that failed, where the others are done; the command line exits with 1."""


def one_line(error: BaseException) -> str:
    """The message of another program's error, short enough for a sentence."""
    return " ".join(str(error).split())[:200]


def file_problem(error: OSError) -> str:
    """A sentence about what the system says of a file: the file, the problem, the way out."""
    if error.errno is None:
        return str(error) or type(error).__name__
    file = "" if error.filename is None else f"{error.filename}: "
    return f"{file}{error.strerror}; {_WAYS_OUT.get(error.errno, _CHECK_PATH)}"


def first_problem(error: ValidationError) -> str:
    """The first problem of data that do not fit their type, after the key in backticks if it is that of one key."""
    problem = error.errors()[0]
    where, said = ".".join(map(str, problem["loc"])), problem["msg"].removeprefix("Value error, ")
    return f"`{where}`: {said}" if where else said
