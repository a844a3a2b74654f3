"""`volumetric status`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

_NUM_REASONS = 20


def status(
    out: Annotated[Path, typer.Argument(help="Folder that prepare, infer or evaluate writes.", metavar="OUT")],
) -> None:
    """Count the subjects that are done, failed and missing, by reason, while a command runs or later.

    It reads tables alone, so it takes seconds for 100,000 subjects. The exit status is 1 where a subject is failed or
    missing.

    Example: `volumetric status prepared`
    """
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    from volumetric.batch.status import read_status

    found = read_status(out)
    table = Table(found.command, "state", "done", "failed", "missing")
    if len(found.shards) > 1:
        for shard, (state, tally) in found.shards.items():
            name = f"shard {shard.number}/{shard.total}"
            table.add_row(name, state, str(tally.done), str(tally.failed), str(tally.missing))
    states = [state for state, _ in found.shards.values()]
    whole = states[0] if len(states) == 1 else "to be merged" if set(states) == {"ended"} else "" if states else "ended"
    table.add_row("all", whole, *(str(n) for n in (found.total.done, found.total.failed, found.total.missing)))
    console = Console(width=None if Console().is_terminal else 130)
    console.print(table)
    for reason, count in found.total.reasons.most_common(_NUM_REASONS):
        console.print(f"{count} {escape(reason)}", highlight=False, soft_wrap=True)
    raise typer.Exit(int(found.total.failed + found.total.missing > 0))
