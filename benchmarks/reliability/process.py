"""A command in a forked process: the program is imported once, so a run costs what it computes."""

from __future__ import annotations

import os
import resource
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

HUNG = -999
MEMORY_BYTES = 4 * 2**30
"""More address space than the imported program has that a command may take."""


@dataclass(frozen=True)
class Ended:
    """The end of a command: its status (a signal negative), all that it printed, and its seconds."""

    status: int
    said: str
    seconds: float


@dataclass
class Running:
    """A command on its way."""

    pid: int
    log: Path
    start: float

    def kill(self, number: int = signal.SIGKILL) -> None:
        os.kill(self.pid, number)

    def ended(self) -> bool:
        """True once; the status is kept for `wait`."""
        if getattr(self, "_status", None) is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            self._status = status if pid else None
        return self._status is not None

    def wait(self, limit_s: float = 120) -> Ended:
        """Wait for the end; one that takes longer is killed and counts as hung."""
        hung = False
        while not self.ended():
            if time.monotonic() - self.start > limit_s:
                hung = True
                self.kill()
            time.sleep(0.002)
        said = self.log.read_text(errors="replace")
        self.log.unlink()
        status = HUNG if hung else os.waitstatus_to_exitcode(self._status)
        return Ended(status, said, time.monotonic() - self.start)


def preload() -> None:
    """Import the stages, and compute nothing: threads do not survive a fork."""
    import volumetric.cohort.phantom
    import volumetric.evaluation.evaluate
    import volumetric.learning.train
    import volumetric.preparation.prepare
    import volumetric.synthesis.infer  # noqa: F401


def start(arguments: Sequence[object], before: Callable[[], None] | None = None) -> Running:
    """Begin a command; `before` runs in its process first."""
    handle, log = tempfile.mkstemp(prefix="reliability-")
    pid = os.fork()
    if pid == 0:
        _be(arguments, before, handle)
    os.close(handle)
    return Running(pid, Path(log), time.monotonic())


def run(arguments: Sequence[object], before: Callable[[], None] | None = None, limit_s: float = 120) -> Ended:
    """A command from start to end."""
    return start(arguments, before).wait(limit_s)


def limit_memory(extra: int = MEMORY_BYTES) -> None:
    """Of this process: what it has, and so much more."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    limit = pages * resource.getpagesize() + extra
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))


def _be(arguments: Sequence[object], before: Callable[[], None] | None, handle: int) -> None:
    """The forked process."""
    status = 70
    try:
        os.dup2(handle, 1)
        os.dup2(handle, 2)
        limit_memory()
        if before is not None:
            before()
        sys.argv = ["volumetric", *map(str, arguments)]
        from volumetric.cli import main

        main()
        status = 0
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)
