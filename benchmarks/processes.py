"""A process from the outside: seconds, peak memory, and what it prints."""

from __future__ import annotations

import subprocess
import tempfile
import time
from pathlib import Path
from typing import NamedTuple


class Measured(NamedTuple):
    """What a process took; `peak_gb` is its resident memory, sampled every 20 ms."""

    seconds: float
    peak_gb: float
    printed: str


def measure(command: list[str]) -> Measured:
    """Run a command to its end.

    The peak is read from `/proc` while it runs: what `wait4` reports starts at the parent's own size.

    Raises:
        RuntimeError: the command failed.
    """
    start = time.perf_counter()
    peak = 0.0
    with tempfile.TemporaryFile("w+") as printed, tempfile.TemporaryFile("w+") as said:
        process = subprocess.Popen(command, stdout=printed, stderr=said)
        status = Path(f"/proc/{process.pid}/status")
        while process.poll() is None:
            lines = [line for line in status.read_text().splitlines() if line.startswith("VmHWM")]
            peak = max(peak, *(int(line.split()[1]) / 1e6 for line in lines), 0.0)
            time.sleep(0.02)
        if process.returncode:
            said.seek(0)
            raise RuntimeError(f"{' '.join(command)} failed: {said.read()[-2000:]}")
        printed.seek(0)
        return Measured(time.perf_counter() - start, peak, printed.read())
