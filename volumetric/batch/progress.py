"""Progress of a long piece of work: a bar, or plain lines where there is no terminal."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

log = logging.getLogger(__name__)


@contextmanager
def progress(title: str, total: int, unit: str, *, done: int = 0) -> Iterator[Callable[[str], None]]:
    """A progress bar; without a terminal, a plain log line at about every tenth part.

    Yields:
        A function that moves on by one and shows a remark.
    """
    console = Console(stderr=True)
    if console.is_terminal:
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn(unit),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[remark]}"),
        )
        with Progress(*columns, console=console) as bar:
            task = bar.add_task(title, total=total, completed=done, remark="")
            yield lambda remark: bar.update(task, advance=1, remark=remark)
        return
    count = done
    every = max(1, total // 10)

    def advance(remark: str) -> None:
        nonlocal count
        count += 1
        if count % every == 0 or count == total:
            log.info("%s: %d of %d %s  %s", title, count, total, unit, remark)

    yield advance
