"""The command line: one small file a verb, flags in, front door called, exit status out."""

from __future__ import annotations

import logging
import shlex
import sys
from typing import Annotated

import typer

from volumetric.cli.add_lesions import add_lesions
from volumetric.cli.average import average
from volumetric.cli.compare import compare
from volumetric.cli.config import config
from volumetric.cli.crossval import crossval
from volumetric.cli.discover import discover
from volumetric.cli.empty_words import Command
from volumetric.cli.endings import ending, past_typer, print_any_file_name
from volumetric.cli.evaluate import evaluate
from volumetric.cli.fetch import fetch
from volumetric.cli.infer import infer
from volumetric.cli.merge import merge
from volumetric.cli.models import models
from volumetric.cli.phantom import phantom
from volumetric.cli.prepare import prepare
from volumetric.cli.report import report
from volumetric.cli.status import status
from volumetric.cli.train import train
from volumetric.cli.verify import verify
from volumetric.interrupts import Interruption, interruptible, say_last_words

app = typer.Typer(
    no_args_is_help=True, add_completion=False, rich_markup_mode="markdown", pretty_exceptions_enable=False
)
_VERBS = (
    *(phantom, fetch, discover, prepare, train, models, verify, infer, evaluate, compare, report, config),
    *(crossval, average, add_lesions, status, merge),
)
for verb in _VERBS:
    app.command(cls=Command, no_args_is_help=verb not in (models, verify))(past_typer(verb))


def _print_version(version: bool) -> None:
    if version:
        from importlib import metadata

        print(f"volumetric {metadata.version('volumetric')}")
        raise typer.Exit


@app.callback()
def volumetric(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version and stop.", callback=_print_version, is_eager=True)
    ] = False,
) -> None:
    """Learn a missing MR contrast from paired scans, write it as a full 3D NIfTI, and measure how good it is.

    The way through: **discover** (no data at hand? **phantom** or **fetch**) → **prepare** (raw scans)
    → **train** → **infer** → **evaluate** → **compare**, **report**.
    """


def main() -> None:
    """Run a command; what it raises is one sentence and an exit status where `endings` has them."""
    logging.basicConfig(level=logging.WARNING, format="%(message)s", stream=sys.stderr)
    logging.getLogger("volumetric").setLevel(logging.INFO)
    print_any_file_name()
    with interruptible(_last_words(sys.argv[1:])):
        _run()


def _run() -> None:
    try:
        app()
    except Exception as error:
        end = ending(error)
        if end is None:
            raise
        print(end.sentence, file=sys.stderr)
        sys.exit(end.status)
    except Interruption as interruption:
        say_last_words()
        sys.exit(interruption.status)


def _last_words(arguments: list[str]) -> str:
    """The sentence that ends an interrupted command, with the command that goes on."""
    again = shlex.join(["volumetric", *(word for word in arguments if word != "--fresh")])
    return f"interrupted; what is finished stays, and this goes on from there: {again}"
