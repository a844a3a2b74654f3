"""Ranks, the processes of one training: started on one machine, and ended together with one message."""

from __future__ import annotations

import logging
import os
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Literal, cast
from uuid import uuid4

from volumetric.config.run import PatchConfig
from volumetric.errors import InputError
from volumetric.interrupts import Interruption, leave_last_words
from volumetric.machine import num_cores

if TYPE_CHECKING:  # the command line is read before torch is imported
    from lightning_fabric import Fabric
    from torch import Tensor
    from torch.distributed.distributed_c10d import Store

GIVE_WAY_S = 3.0
"""Seconds that a rank waits before it speaks of an error that another may speak of; it is ended meanwhile."""

START_S = 60.0
"""The same before the ranks have met: those that read the same files meet the same errors, some later than others."""

PATIENCE = timedelta(days=1)
"""Time that ranks wait for one another: the first subjects of a large cohort take hours to read."""

_POLL_S = 0.05

_LOST = ("closed by peer", "connection reset", "broken pipe", "gloo", "nccl")


class RankError(InputError):
    """A training in several processes that cannot start or go on."""


def this_rank() -> int:
    """The number of this process among those of the training; 0 where it is the only one."""
    return int(os.environ.get("RANK", "0"))


def num_ranks() -> int:
    """The number of processes that train together, over all machines."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def num_local_ranks() -> int:
    """The number of those that run on this machine."""
    return int(os.environ.get("LOCAL_WORLD_SIZE", "1"))


def is_restarted() -> bool:
    """True if `torchrun --max-restarts` started this process again after one was lost."""
    return int(os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")) > 0


def meet_ranks(backend: str) -> None:
    """Start the group of the ranks of `torchrun`, under a new name at each start; of other ranks, do nothing.

    torch 2.13 keeps its store over restarts, and in it the addresses of ranks that are gone: of 15 restarts 5 connected
    to one of those, which fails or waits for `PATIENCE`. The machines count restarts differently, so rank 0 draws the
    name and starts once all others have answered to it.

    Args:
        backend: `gloo` or `nccl`.
    """
    if num_ranks() == 1 or os.environ.get("TORCHELASTIC_USE_AGENT_STORE") != "True":
        return
    from torch.distributed.distributed_c10d import PrefixStore, init_process_group
    from torch.distributed.rendezvous import rendezvous

    store, rank, world_size = next(rendezvous("env://", timeout=PATIENCE))
    own = uuid4().hex
    if rank == 0:
        name = own
        store.set("name", name)
        store.set(f"{name}/met", " ".join(store.get(f"{name}/{other}").decode() for other in range(1, world_size)))
    else:
        while not _is_met(store, name := store.get("name").decode(), own):
            time.sleep(_POLL_S)
    init_process_group(backend, store=PrefixStore(name, store), rank=rank, world_size=world_size, timeout=PATIENCE)


def _is_met(store: Store, name: str, own: str) -> bool:
    """True once rank 0 of this start, not of an earlier one, has read this rank's answer."""
    store.set(f"{name}/{this_rank()}", own)
    met = f"{name}/met"
    return store.check([met]) and own in store.get(met).decode().split()


def check_shares(patch: PatchConfig) -> None:
    """Check that the volumes of a step can be shared evenly.

    Raises:
        RankError: they cannot; the message names values that can.
    """
    num_volumes, ranks = patch.batch_size // patch.num_per_volume, num_ranks()
    if num_volumes % ranks:
        ways = []
        if patch.batch_size % ranks == 0:
            ways.append("--set patch.num_per_volume=1")
        ways.append(f"--set patch.batch_size={-(-num_volumes // ranks) * ranks * patch.num_per_volume}")
        raise RankError(
            f"{ranks} processes cannot share the volumes of a step evenly (they are {num_volumes}: patch.batch_size="
            f"{patch.batch_size}, patch.num_per_volume={patch.num_per_volume}); start fewer, or {', or '.join(ways)}"
        )


def run_ranks(num_processes: int, arguments: Sequence[str]) -> int:
    """Run `volumetric ARGUMENTS` in so many processes of this machine that train together.

    Returns:
        The exit status of the first that failed, or 0. If one fails or this process is told to end, all end.

    Raises:
        Interruption: this process was told to end.
        RankError: a signal ended one of them.
    """
    from torch.distributed.elastic.multiprocessing.api import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    logging.getLogger("torch.distributed.elastic").setLevel(logging.CRITICAL)
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, num_cores() // num_processes)))
    config = LaunchConfig(
        min_nodes=1,
        max_nodes=1,
        nproc_per_node=num_processes,
        run_id="volumetric",
        rdzv_backend="c10d",
        rdzv_endpoint="localhost:0",
        local_addr="localhost",
        max_restarts=0,
    )
    try:
        elastic_launch(config, sys.executable)("-m", "volumetric", *arguments)
    except ChildFailedError as error:
        rank, failure = error.get_first_failure()
        if failure.exitcode > 0:
            return failure.exitcode
        raise RankError(
            f"process {rank} of {num_processes} was ended by {signal.Signals(-failure.exitcode).name}, and the others "
            "with it; the same command goes on from the last checkpoint"
        ) from error
    except SignalException as error:
        raise Interruption(error.sigval) from error
    return 0


def reduced(fabric: Fabric, tensor: Tensor, operation: Literal["sum", "mean"] = "sum") -> Tensor:
    """The sum or the mean over the ranks, which all call this; of a single one, the tensor itself."""
    return tensor if fabric.world_size == 1 else cast("Tensor", fabric.all_reduce(tensor, reduce_op=operation))


@contextmanager
def one_message() -> Iterator[None]:
    """Let one rank speak of an error that all meet: the others wait, and are ended by what started them.

    Raises:
        RankError: another rank is gone, and nothing ended this one.
    """
    if num_ranks() > 1:
        leave_last_words()
    try:
        yield
    except Exception as error:
        lost = num_ranks() > 1 and _is_lost_rank(error)
        if lost or this_rank():
            time.sleep(GIVE_WAY_S if _have_met() else START_S)
        if lost:
            raise RankError(
                f"process {this_rank()} of {num_ranks()} lost another one; the same command goes on from the last "
                "checkpoint"
            ) from error
        raise


def _have_met() -> bool:
    distributed = sys.modules.get("torch.distributed")
    return distributed is not None and bool(distributed.is_initialized())


def _is_lost_rank(error: Exception) -> bool:
    said = str(error).lower()
    of_torch = type(error).__name__.startswith("Dist")
    return isinstance(error, RuntimeError) and (of_torch or any(words in said for words in _LOST))
