"""`volumetric verify`."""

from __future__ import annotations

from typing import Annotated

import typer

from volumetric.config.choices import DEFAULT_MODEL


def verify(
    model: Annotated[
        str, typer.Argument(help="A shipped model by its name, or a run or model folder.", metavar="MODEL")
    ] = DEFAULT_MODEL,
) -> None:
    """Compare a model's files with every hash that is stated of them; exit status 1 if one has changed.

    The last hash names the model in the sidecar of each prediction: compare it with what its maker tells you.

    Example: `volumetric verify runs/mine`
    """
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    from volumetric.model.files import verify_model

    checks = verify_model(model)
    table = Table("files", "stated in", "status", "SHA-256")
    for check in checks:
        table.add_row(escape(check.file), escape(check.stated_in), check.status, check.sha256)
    Console(width=None if Console().is_terminal else 150).print(table)
    raise typer.Exit(int(any(check.status == "changed" for check in checks)))
