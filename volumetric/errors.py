"""The one kind of error that is about the user's input, not about this program."""


class InputError(ValueError):
    """Something the user can mend; its message says what, where, expected, got, and the way out.

    Each room subclasses it beside the code that raises. The command line prints it as one sentence and
    exits with 2; inside a batch it costs that subject and becomes a row.
    """


def one_line(error: Exception) -> str:
    """The message of another program's error, short enough for a sentence."""
    return " ".join(str(error).split())[:200]
