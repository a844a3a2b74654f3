"""Memory and cores that this process may use, within the limits of a container or a job, and the memory it took."""

from __future__ import annotations

import os
import resource
import sys
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

_CGROUPS = Path("/sys/fs/cgroup")
_OWN_CGROUPS = Path("/proc/self/cgroup")
_OWN_STATUS = Path("/proc/self/status")
_NO_MEMORY = ("out of memory", "can't allocate memory", "not enough memory", "bad_alloc", "failed to allocate")


def memory_bytes() -> int:
    """The machine's memory, or the least that a control group above this process leaves it."""
    return min([os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"), *_limits()])


def peak_bytes() -> int:
    """The most memory that this process has held."""
    try:
        lines = _OWN_STATUS.read_text().splitlines()
    except OSError:  # no Linux
        most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return most if sys.platform == "darwin" else most * 1024
    # not `ru_maxrss`: a process that was just begun has that of the one which began it
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))


def has_address_limit() -> bool:
    """True where the process's address space is limited, as by `ulimit -v` or a queue's `h_vmem`."""
    return resource.getrlimit(resource.RLIMIT_AS)[0] != resource.RLIM_INFINITY


def num_cores() -> int:
    """Cores that this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def is_out_of_memory(error: BaseException) -> bool:
    """True for an error of Python, torch, CUDA or OpenVINO that says that memory ran out."""
    said = str(error).lower()
    return isinstance(error, MemoryError) or any(words in said for words in _NO_MEMORY)


def _limits() -> Iterator[int]:
    """Of version 2 and version 1, of the process's own group and of those above it."""
    try:
        lines = _OWN_CGROUPS.read_text().splitlines()
    except OSError:
        return
    for line in lines:
        _, controllers, own = line.split(":", 2)
        if controllers and "memory" not in controllers.split(","):
            continue
        root, name = (_CGROUPS / "memory", "memory.limit_in_bytes") if controllers else (_CGROUPS, "memory.max")
        for group in (PurePosixPath(own), *PurePosixPath(own).parents):
            try:
                yield int((root / str(group).lstrip("/") / name).read_text())
            except (OSError, ValueError):
                continue
