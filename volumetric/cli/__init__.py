"""The command line: one small file a verb, flags in, front door called, exit status out."""

from __future__ import annotations

import logging
import sys
from typing import Annotated

import typer

from volumetric.cli.compare import compare
from volumetric.cli.config import config
from volumetric.cli.discover import discover
from volumetric.cli.evaluate import evaluate
from volumetric.cli.fetch import fetch
from volumetric.cli.infer import infer
from volumetric.cli.models import models
from volumetric.cli.phantom import phantom
from volumetric.cli.prepare import prepare
from volumetric.cli.report import report
from volumetric.cli.train import train
from volumetric.cli.verify import verify
from volumetric.errors import InputError

app = typer.Typer(
    no_args_is_help=True, add_completion=False, rich_markup_mode="markdown", pretty_exceptions_enable=False
)
for verb in (phantom, fetch, discover, prepare, train, models, verify, infer, evaluate, compare, report, config):
    app.command(no_args_is_help=verb not in (models, verify))(verb)


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
    """Run a command; what the user can mend is one sentence and exit status 2."""
    logging.basicConfig(level=logging.WARNING, format="%(message)s", stream=sys.stderr)
    logging.getLogger("volumetric").setLevel(logging.INFO)
    try:
        app()
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    except OSError as error:
        if error.filename is None:
            raise
        print(f"error: {error.filename}: {error.strerror}; check the path, or choose another --out", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print("interrupted; the same command goes on from what is finished", file=sys.stderr)
        sys.exit(130)
