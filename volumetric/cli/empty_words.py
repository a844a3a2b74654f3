"""Refusal of empty words on the command line: an empty path would be the current folder."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from typer.core import TyperCommand

from volumetric.cli.options import OptionError


class Command(TyperCommand):
    """A command whose arguments and options have values, but those whose default is empty."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Parse the words; `OptionError` at an empty one, which most often is a shell variable that is not set."""
        given, *_ = self.make_parser(ctx).parse_args(list(args))
        for parameter in self.params:
            if parameter.default != "" and "" in _words(given.get(parameter.name)):
                raise OptionError(f"{_shown(parameter)}: an empty word was given; name a file, a folder or a value")
        return super().parse_args(ctx, args)


def _shown(parameter: Any) -> str:
    """An option by its name, an argument as the help shows it."""
    return str(
        parameter.opts[0] if parameter.param_type_name == "option" else parameter.metavar or parameter.name.upper()
    )


def _words(value: Any) -> Iterator[Any]:
    """The words of a parsed value, which may be a list of lists."""
    if isinstance(value, Iterable) and not isinstance(value, str):
        for part in value:
            yield from _words(part)
    else:
        yield value
