"""Options that are parsed or checked before a command gets them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from volumetric.config.choices import Device, Engine, Executor, Precision
from volumetric.errors import InputError

if TYPE_CHECKING:
    from pydantic import ValidationError

    from volumetric.batch.spread import Spread
    from volumetric.config.inference import InferenceOptions


ShardOption = Annotated[
    str | None,
    typer.Option(
        "--shard",
        help="Do one part of the subjects, such as 3/7, beside other jobs; `volumetric merge` then joins the tables.",
        metavar="I/N",
    ),
]
ExecutorOption = Annotated[
    Executor, typer.Option("--executor", help="local: processes on this machine; ray: workers of a Ray cluster.")
]
AddressOption = Annotated[
    str,
    typer.Option("--address", help="Ray cluster: its head, or auto for the one of this machine.", metavar="HOST:PORT"),
]


DryRunOption = Annotated[
    bool,
    typer.Option("--dry-run", help="Do nothing; print subjects, memory, time and bytes, measured with one subject."),
]


class OptionError(InputError):
    """An option with a value that does not fit."""


def contrast_files(pairs: Sequence[str]) -> dict[str, Path]:
    """`["t1w=A.nii.gz"]` -> `{"t1w": Path("A.nii.gz")}`."""
    files: dict[str, Path] = {}
    for pair in pairs:
        contrast, equals, path = pair.partition("=")
        if not equals or not path:
            raise OptionError(f"--input {pair}: expected contrast=file, for example t1w=A.nii.gz")
        if contrast in files:
            raise OptionError(f"--input {contrast}: two files are given, {files[contrast]} and {path}; leave out one")
        files[contrast] = Path(path)
    return files


def fractions(text: str) -> tuple[float, float, float]:
    """`"0.7,0.15,0.15"` as numbers; their sum is not checked."""
    try:
        train, val, test = map(float, text.split(","))
    except ValueError as error:
        raise OptionError(f"--split {text}: expected three numbers, for example 0.7,0.15,0.15") from error
    return train, val, test


def inference_options(
    device: Device,
    engine: Engine,
    precision: Precision,
    overlap: float | None,
    whole_volume: bool | None,
    *,
    uncertainty: bool,
    flips: str = "",
    sources: str = "",
) -> InferenceOptions:
    """The options of inference as one object; arguments as its fields."""
    from pydantic import ValidationError

    from volumetric.config.inference import InferenceOptions

    try:
        return InferenceOptions(
            device=device,
            engine=engine,
            precision=precision,
            overlap=overlap,
            whole_volume=whole_volume,
            uncertainty=uncertainty,
            flips=flips,
            sources=tuple(word.strip() for word in sources.split(",") if word.strip()),
        )
    except ValidationError as error:
        raise OptionError(_option_problem(error)) from error


def _option_problem(error: ValidationError) -> str:
    """The first problem, after the option and the word that was given, if it is that of one."""
    problem = error.errors()[0]
    said = problem["msg"].removeprefix("Value error, ")
    if not problem["loc"]:
        return said
    option, given = str(problem["loc"][0]).replace("_", "-"), problem["input"]
    expected = "some of the letters x, y and z, in this order" if option == "flips" else said[0].lower() + said[1:]
    return f"--{option} {given}: {expected.replace('input should be', 'expected')}"


def spread_over(shard: str | None, executor: Executor, address: str, *, fresh: bool, dry_run: bool) -> Spread:
    """The options `--shard`, `--executor`, `--address` and `--dry-run` as one object."""
    from volumetric.batch.shards import ALL, Shard
    from volumetric.batch.spread import Spread

    if shard is not None and fresh:
        raise OptionError("--fresh and --shard: a shard leaves the others' files alone; choose another --out")
    cluster, part = address if executor == "ray" else None, ALL if shard is None else Shard.parse(shard)
    if dry_run:
        from volumetric.batch.estimate import DryRun
        from volumetric.cli.dry_run import show_estimate

        return DryRun(address=cluster, shard=part, fresh=fresh, tell=show_estimate)
    return Spread(address=cluster, shard=part)
