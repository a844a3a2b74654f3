"""The estimate of a dry run, as a table."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from volumetric.batch.estimate import Estimate

_NUM_REASONS = 20


def show_estimate(estimate: Estimate) -> None:
    """Print subjects, needs of one job, and the sums; then the reasons of invalid subjects, most frequent first."""
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    from volumetric.batch.status import kind_of_failure

    table = Table(show_header=False, title=f"dry run of {estimate.command}; nothing is written")
    table.add_row("subjects to do", f"{len(estimate.voxels)}")
    table.add_row("to skip, finished", f"{estimate.num_skipped}")
    table.add_row("invalid", f"{len(estimate.invalid)}")
    one = estimate.measured
    if one is not None:
        each = estimate.seconds / len(estimate.voxels)
        table.add_row("measured", f"{escape(one.subject)}, {one.voxels:,} voxels in its files")
        table.add_row("its time, memory, files", f"{one.seconds:.3g} s, {one.peak_bytes / 1e9:.2f} GB, "
                      f"{one.written_bytes / 1e6:.3g} MB")  # fmt: skip
        table.add_row("seconds a subject, mean", f"{each:.3g}")
        table.add_row("peak memory of a job", f"{estimate.peak_bytes / 1e9:.2f} GB")
        table.add_row("to be written", f"{estimate.written_bytes / 1e6:.3g} MB")
        seconds = estimate.seconds / estimate.jobs
        table.add_row(
            f"time, --jobs {estimate.jobs}", f"{seconds:.3g} s" if seconds < 600 else f"{seconds / 3600:.3g} h"
        )
    console = Console(width=None if Console().is_terminal else 130)
    console.print(table)
    reasons = Counter(kind_of_failure(outcome.name, outcome.error) for outcome in estimate.invalid)
    for reason, count in reasons.most_common(_NUM_REASONS):
        console.print(f"{count} {escape(reason)}", highlight=False, soft_wrap=True)
