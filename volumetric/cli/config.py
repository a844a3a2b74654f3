"""`volumetric config`."""

from __future__ import annotations

from typing import Annotated

import typer


def config(
    name: Annotated[
        str | None,
        typer.Argument(help="YAML of differences from the defaults, or a name of `--list`.", metavar="NAME|YAML"),
    ] = None,
    overrides: Annotated[
        list[str] | None, typer.Option("--set", help="`section.key=value`, over the file; repeatable.")
    ] = None,
    recipe: Annotated[bool, typer.Option("--recipe", help="Of `prepare`, instead of a training run.")] = False,
    schema: Annotated[bool, typer.Option("--schema", help="Print the JSON schema of every key instead.")] = False,
    shipped: Annotated[bool, typer.Option("--list", help="Print the shipped configurations instead.")] = False,
) -> None:
    """Print the whole configuration that a file and `--set` resolve to.

    Examples: `volumetric config t1w_to_t2w --set optim.lr=3e-4`; `volumetric config --list`;
    `volumetric config --recipe`
    """
    import json

    import volumetric.config.shipped as configurations
    from volumetric.config.preparation import PreparationConfig
    from volumetric.config.resolve import as_yaml, resolve_as
    from volumetric.config.run import RunConfig

    _check_alone(name, overrides, recipe=recipe, schema=schema, shipped=shipped)
    kind = PreparationConfig if recipe else RunConfig
    if shipped:
        print("\n".join(f"{name:<16} {purpose}" for name, purpose in configurations.shipped().items()))
    elif schema:
        print(json.dumps(kind.model_json_schema(), indent=2))
    else:
        print(as_yaml(resolve_as(kind, name, overrides or ())), end="")


def _check_alone(name: str | None, overrides: list[str] | None, *, recipe: bool, schema: bool, shipped: bool) -> None:
    """Check that nothing stands beside `--list`, and nothing but `--recipe` beside `--schema`.

    Raises:
        OptionError: it would be ignored.
    """
    from volumetric.cli.options import OptionError

    if not (schema or shipped):
        return
    beside = {str(name): name, "--set": overrides, "--recipe": recipe and shipped, "--schema": schema and shipped}
    if ignored := [word for word, given in beside.items() if given]:
        option = "--list" if shipped else "--schema"
        raise OptionError(f"{option} prints all there is, whatever is set; leave out {', '.join(ignored)}")
