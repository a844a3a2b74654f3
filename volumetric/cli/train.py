"""`volumetric train`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def train(
    manifests: Annotated[list[Path], typer.Argument(help="CSV files; several are joined.", metavar="MANIFEST...")],
    out: Annotated[Path, typer.Option(help="The run folder.")],
    config: Annotated[Path | None, typer.Option(help="YAML of differences from the defaults.")] = None,
    overrides: Annotated[
        list[str] | None, typer.Option("--set", help="`section.key=value`, over the file; repeatable.")
    ] = None,
    fresh: Annotated[bool, typer.Option("--fresh", help="Start over, forgetting what the run folder holds.")] = False,
) -> None:
    """Train a model. Repeating the command goes on where it stopped.

    Example: `volumetric train my.csv --config configs/t1w_to_t2w.yaml --out runs/mine --set optim.num_steps=20000`
    """
    from volumetric.config.resolve import resolve

    settings = resolve(config, overrides or ())
    from volumetric.learning.train import train as run

    print(run(manifests, settings, out, fresh=fresh))
