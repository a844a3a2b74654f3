"""`volumetric average`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def average(
    models: Annotated[list[str], typer.Argument(help="Run or model folders.", metavar="MODEL...")],
    out: Annotated[Path, typer.Option(help="The model folder to write.")],
    fresh: Annotated[bool, typer.Option("--fresh", help="Replace a model that is there.")] = False,
) -> None:
    """Average the weights of models that were fine-tuned from the same one: a model as fast as one of them.

    Example: `volumetric average runs/tuned_seed0 runs/tuned_seed1 --out runs/soup/model`
    """
    from volumetric.model.average import average as run

    print(run(models, out, fresh=fresh))
