"""`volumetric train`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def train(
    manifests: Annotated[list[Path], typer.Argument(help="CSV files; several are joined.", metavar="MANIFEST...")],
    out: Annotated[Path, typer.Option(help="The run folder.")],
    config: Annotated[
        str | None,
        typer.Option(
            help="A shipped configuration (`volumetric config --list`), a YAML of differences from the defaults, or "
            "`auto`.",
            metavar="NAME|YAML",
        ),
    ] = None,
    pretrained: Annotated[
        str | None,
        typer.Option(
            "--from",
            help="A model to start from: a shipped one by its name (`volumetric models`), or a run or model folder. "
            "Its network and intensities are kept; without --config the steps are those of `fine_tune`.",
            metavar="MODEL",
        ),
    ] = None,
    overrides: Annotated[
        list[str] | None, typer.Option("--set", help="`section.key=value`, over the file; repeatable.")
    ] = None,
    fresh: Annotated[bool, typer.Option("--fresh", help="Start over: delete what the run folder holds.")] = False,
    find_lr: Annotated[
        bool,
        typer.Option("--find-lr", help="Only try learning rates: a curve, a table and a suggestion in the run folder."),
    ] = False,
) -> None:
    """Train a model. Repeating the command goes on where it stopped.

    With `--config auto` the cohort and the machine decide; RUN/auto.yaml holds each setting and its reason.

    Examples: `volumetric train my.csv --config auto --out runs/mine`;
    `volumetric train my.csv --config t1w_to_t2w --out runs/mine --set optim.num_steps=20000`;
    `volumetric train my.csv --from runs/theirs --out runs/mine`
    """
    from volumetric.config.resolve import resolve

    if pretrained is not None:
        quoted = pretrained.replace("'", "''")
        config, overrides = config or "fine_tune", [*(overrides or ()), f"pretrained='{quoted}'"]
    settings = None if config == "auto" else resolve(config, overrides or ())  # before torch, which takes seconds
    import volumetric.learning.train as learning

    if settings is None:
        settings = learning.plan(manifests, overrides or (), out, fresh=fresh)
    if find_lr:
        print(f"{learning.find_lr(manifests, settings, out):.1e}")
    else:
        print(learning.train(manifests, settings, out, fresh=fresh))
