"""`volumetric merge`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from volumetric.batch.spread import Spread
    from volumetric.batch.subjects import Outcome
    from volumetric.records.shards import ShardCall


def merge(
    out: Annotated[Path, typer.Argument(help="Folder that all shards wrote into.", metavar="OUT")],
) -> None:
    """Join what the jobs of `--shard` wrote into the tables that one job would have written, byte for byte.

    It is the end of the command that ran in shards, with the same arguments: no subject is done again. Where subjects
    are missing, it says which shards to run again.

    Example: `volumetric merge prepared`
    """
    from volumetric.batch.shards import read_call
    from volumetric.batch.spread import Spread
    from volumetric.batch.subjects import exit_status

    outcomes = _finish(read_call(out), out, Spread(merge=True))
    print(f"{out}: {len(outcomes)} subjects")
    raise typer.Exit(exit_status(outcomes))


def _finish(call: ShardCall, out: Path, spread: Spread) -> Sequence[Outcome[Any]]:
    """Call the front door of the command that ran in shards, with its arguments read back into their types."""
    from pydantic import validate_call

    if call.command == "prepare":
        from volumetric.preparation.prepare import prepare

        return validate_call(prepare)(out=out, spread=spread, **call.arguments).outcomes  # type: ignore[arg-type]
    if call.command == "infer":
        from volumetric.synthesis.infer import infer

        return validate_call(infer)(out=out, spread=spread, **call.arguments)  # type: ignore[arg-type]
    from volumetric.evaluation.evaluate import evaluate

    return validate_call(evaluate)(out=out, spread=spread, **call.arguments).outcomes  # type: ignore[arg-type]
