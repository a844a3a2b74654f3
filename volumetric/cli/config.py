"""`volumetric config`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def config(
    path: Annotated[Path | None, typer.Argument(help="YAML of differences from the defaults.", metavar="YAML")] = None,
    overrides: Annotated[
        list[str] | None, typer.Option("--set", help="`section.key=value`, over the file; repeatable.")
    ] = None,
    recipe: Annotated[bool, typer.Option("--recipe", help="Of `prepare`, instead of a training run.")] = False,
    schema: Annotated[bool, typer.Option("--schema", help="Print the JSON schema of every key instead.")] = False,
) -> None:
    """Print the whole configuration that a file and `--set` resolve to.

    Examples: `volumetric config configs/t1w_to_t2w.yaml --set optim.lr=3e-4`; `volumetric config --recipe`
    """
    import json

    from volumetric.config.preparation import PreparationConfig
    from volumetric.config.resolve import as_yaml, resolve_as
    from volumetric.config.run import RunConfig

    kind = PreparationConfig if recipe else RunConfig
    if schema:
        print(json.dumps(kind.model_json_schema(), indent=2))
    else:
        print(as_yaml(resolve_as(kind, path, overrides or ())), end="")
