"""Default number of subjects that a batch command takes at a time."""

from __future__ import annotations

from volumetric.machine import memory_bytes, num_cores


def usual_jobs(gb_each: float) -> int:
    """As many as there are cores, and memory for `gb_each` each; at least 1."""
    return max(1, min(num_cores(), int(memory_bytes() / 1e9 / gb_each)))
