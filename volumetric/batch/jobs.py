"""How many subjects a batch command takes at a time where nobody says."""

from __future__ import annotations

import os


def usual_jobs(gb_each: float) -> int:
    """As many as there are cores, and memory for `gb_each` each; at least 1."""
    memory_gb = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 1e9
    return max(1, min(os.cpu_count() or 1, int(memory_gb / gb_each)))
