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
    devices: Annotated[
        int, typer.Option(min=1, help="GPUs (or processes on a CPU) of this machine that share each step.")
    ] = 1,
) -> None:
    """Train a model. Repeating the command goes on where it stopped.

    With `--config auto` the cohort and the machine decide; RUN/auto.yaml holds each setting and its reason.

    Examples: `volumetric train my.csv --config auto --out runs/mine`;
    `volumetric train my.csv --config t1w_to_t2w --out runs/mine --set optim.num_steps=20000`;
    `volumetric train my.csv --from runs/theirs --out runs/mine`
    """
    from volumetric.cli.options import OptionError
    from volumetric.learning.ranks import one_message

    if find_lr and devices > 1:
        raise OptionError("--find-lr and --devices: learning rates are tried in one process; leave out --devices")
    if find_lr and fresh and config != "auto":
        raise OptionError("--find-lr and --fresh: no run is begun, so nothing is deleted; leave out --fresh")
    if pretrained is not None:
        quoted = pretrained.replace("'", "''")
        config, overrides = config or "fine_tune", [*(overrides or ()), f"pretrained='{quoted}'"]
    with one_message():
        _train(manifests, out, config, overrides or [], fresh=fresh, find_lr=find_lr, devices=devices)


def _train(
    manifests: list[Path],
    out: Path,
    config: str | None,
    overrides: list[str],
    *,
    fresh: bool,
    find_lr: bool,
    devices: int,
) -> None:
    from volumetric.config.resolve import resolve
    from volumetric.learning.ranks import RankError, num_ranks, run_ranks, this_rank

    settings = None if config == "auto" else resolve(config, overrides)  # before torch, which takes seconds
    if num_ranks() > 1 and (settings is None or devices > 1):
        raise RankError("under torchrun leave out --devices, and name a YAML: --config auto plans in one process")
    import volumetric.learning.train as learning

    if settings is None:
        settings, config = learning.plan(manifests, overrides, out, fresh=fresh), str(out / "auto.yaml")
    if find_lr:
        print(f"{learning.find_lr(manifests, settings, out):.1e}")
    elif devices > 1:
        raise typer.Exit(run_ranks(devices, _arguments(manifests, out, config, overrides, fresh=fresh)))
    else:
        folder = learning.train(manifests, settings, out, fresh=fresh)
        if this_rank() == 0:
            print(folder)


def _arguments(manifests: list[Path], out: Path, config: str | None, overrides: list[str], *, fresh: bool) -> list[str]:
    """The command line of each process."""
    options = [f"--out={out}", *[f"--config={config}"] * (config is not None), *["--fresh"] * fresh]
    return ["train", *options, *(f"--set={override}" for override in overrides), "--", *map(str, manifests)]
