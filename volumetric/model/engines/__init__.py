"""What runs a network over windows: the fastest engine that this machine has, and the next where one fails."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from volumetric.errors import InputError
from volumetric.machine import is_out_of_memory

log = logging.getLogger(__name__)

ENGINES = ("auto", "openvino", "torch")
"""`auto` is OpenVINO on a CPU, where it can be had, and torch everywhere else."""

PRECISIONS = ("auto", "float32", "bfloat16")
"""`auto` is float32 on a CPU and bfloat16 on a GPU."""

Run = Callable[[Tensor], Tensor]
"""Windows `(N, C, *size)` in network units -> `(N, 1, *size)`."""


class EngineError(InputError):
    """An engine or a precision that is asked for by name and cannot be had."""


class Engine:
    """The first of several engines that works.

    Attributes:
        name: of the engine in use, a name of `ENGINES`.
    """

    def __init__(self, makers: Sequence[tuple[str, Callable[[], Run]]]) -> None:
        """Take names and makers, the best first; each is made when it is first needed."""
        self._makers = list(makers)
        self._run: Run | None = None

    @property
    def name(self) -> str:
        return self._makers[0][0]

    def __call__(self, windows: Tensor) -> Tensor:
        """Run the network; an engine that fails is left for good, and that is said once; want of memory is raised."""
        while True:
            try:
                self._run = self._run or self._makers[0][1]()
                return self._run(windows)
            except Exception as error:
                if len(self._makers) == 1 or is_out_of_memory(error):
                    raise
                what = "%s cannot run this network (%s); %s does"
                log.warning(what, self.name, _reason(error), self._makers[1][0])
                del self._makers[0]
                self._run = None


def choose_engine(
    name: str,
    network: nn.Module,
    in_channels: int,
    *,
    stride: int,
    on_cpu: bool,
    cache: Path | None,
    key: str,
    bfloat16: bool = False,
) -> Engine:
    """The engines for a network.

    Args:
        name: one of `ENGINES`.
        network: in evaluation mode, on its device.
        in_channels: of its input.
        stride: of the network; it takes windows whose sides are multiples of it.
        on_cpu: whether that device is the CPU.
        cache: folder that keeps what an engine makes of the network, or None.
        key: changes whenever the network does; a hash.
        bfloat16: compute in it where that is faster, instead of float32.

    Raises:
        EngineError: no such engine, or OpenVINO is asked for and not installed, for a GPU, or not fit for the network.
    """
    if name not in ENGINES:
        raise EngineError(f"--engine {name}: expected {', '.join(ENGINES)}")
    torch_engine: tuple[str, Callable[[], Run]] = ("torch", lambda: in_bfloat16(network) if bfloat16 else network)
    if name == "torch" or (name == "auto" and not on_cpu):
        return Engine([torch_engine])
    if not on_cpu:
        raise EngineError("--engine openvino runs on the CPU; add --device cpu, or leave the engine to auto")
    from volumetric.model.engines.openvino import OpenVINO, is_installed

    openvino: tuple[str, Callable[[], Run]] = (
        "openvino",
        lambda: OpenVINO(network, in_channels, stride, cache, key, bfloat16=bfloat16),
    )
    if not is_installed():
        advice = "pip install 'volumetric[openvino]'"
        if name == "openvino":
            raise EngineError(f"--engine openvino: it is not installed; {advice}, or leave the engine to auto")
        log.info("torch runs the network; openvino would be faster on a CPU: %s", advice)
        return Engine([torch_engine])
    if name == "auto":
        return Engine([openvino, torch_engine])
    try:
        made = openvino[1]()
    except Exception as error:
        raise EngineError(
            f"--engine openvino cannot run this network ({_reason(error)}); leave the engine to auto"
        ) from error
    return Engine([("openvino", lambda: made)])


def in_bfloat16(network: Run) -> Run:
    """A torch network whose convolutions and products are computed in bfloat16."""

    def run(windows: Tensor) -> Tensor:
        with torch.autocast(windows.device.type, torch.bfloat16):
            return network(windows)

    return run


def _reason(error: Exception) -> str:
    return " ".join(str(error).split())[:200]
