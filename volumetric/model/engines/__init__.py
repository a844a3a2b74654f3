"""Engines that run a network over windows: the fastest that this machine has, and the next where one fails."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from volumetric.config.inference import InferenceOptions
from volumetric.errors import InputError, one_line
from volumetric.machine import is_out_of_memory

log = logging.getLogger(__name__)

_INSTALL = "pip install 'volumetric[openvino]'"

NetworkFunction = Callable[[Tensor], Tensor]
"""Windows `(N, C, *size)` in network units -> `(N, D, *size)`: the target, and log widths if any."""

_Maker = tuple[str, Callable[[], NetworkFunction]]


class EngineError(InputError):
    """An engine that is named and cannot be had."""


class NetworkRunner:
    """A network as the first of several engines runs it that can.

    Attributes:
        name: of the engine in use, an `Engine` other than `auto`.
    """

    def __init__(self, makers: Sequence[_Maker]) -> None:
        """Take names and makers, the best first; each is started when it is first needed."""
        self._makers = list(makers)
        self._function: NetworkFunction | None = None

    @property
    def name(self) -> str:
        return self._makers[0][0]

    def __call__(self, windows: Tensor) -> Tensor:
        """Run the network; an engine that fails is left for good, and that is said once; want of memory is raised."""
        while True:
            try:
                self._function = self._function or self._makers[0][1]()
                return self._function(windows)
            except Exception as error:
                if len(self._makers) == 1 or is_out_of_memory(error):
                    raise
                message = "%s cannot run this network (%s); %s does"
                log.warning(message, self.name, one_line(error), self._makers[1][0])
                del self._makers[0]
                self._function = None


def choose_engine(
    network: nn.Module,
    in_channels: int,
    *,
    stride: int,
    options: InferenceOptions,
    cache: Path | None = None,
    key: str = "",
) -> NetworkRunner:
    """The engines for a network, by options whose device and precision are resolved.

    Args:
        network: in evaluation mode, on its device.
        in_channels: of its input.
        stride: of the network; it takes windows whose sides are multiples of it.
        options: the device the network is on, the engine, and the precision to compute in.
        cache: folder that keeps what an engine makes of the network, or None.
        key: changes whenever the network does; a hash.

    Raises:
        EngineError: OpenVINO is named and not installed, for a GPU, or not fit for the network.
    """
    bfloat16 = options.precision == "bfloat16"
    on_cpu = options.device == "cpu"
    torch_engine: _Maker = (
        "torch",
        lambda: in_bfloat16(network) if bfloat16 else _for_any_threads(network) if on_cpu else network,
    )
    if options.engine == "torch" or (options.engine == "auto" and options.device == "cuda"):
        return NetworkRunner([torch_engine])
    if options.device == "cuda":
        raise EngineError("--engine openvino runs on the CPU; add --device cpu, or leave the engine to auto")
    from volumetric.model.engines.openvino import OpenVINO, is_installed

    openvino: _Maker = (
        "openvino",
        lambda: OpenVINO(network, in_channels, stride, cache, key, bfloat16=bfloat16),
    )
    if options.engine == "openvino":
        if not is_installed():
            raise EngineError(f"--engine openvino: it is not installed; {_INSTALL}, or leave the engine to auto")
        return NetworkRunner([_started(openvino)])
    if not is_installed():
        log.info("torch runs the network; openvino would be faster on a CPU: %s", _INSTALL)
        return NetworkRunner([torch_engine])
    return NetworkRunner([openvino, torch_engine])


def in_bfloat16(network: NetworkFunction) -> NetworkFunction:
    """A torch network whose convolutions and products are computed in bfloat16."""

    def run(windows: Tensor) -> Tensor:
        with torch.autocast(windows.device.type, torch.bfloat16):
            return network(windows)

    return run


def _for_any_threads(network: nn.Module) -> nn.Module:
    """The network, whose output then does not depend on the number of threads.

    Torch hands a convolution of one voxel to oneDNN on several threads, but not on one, unless it is dilated, which for
    one voxel means nothing. Moments of groups it sums in a part for each thread, but only where channels come last.
    """
    for module in network.modules():
        if isinstance(module, nn.GroupNorm):
            module.register_forward_pre_hook(lambda _, inputs: (inputs[0].contiguous(),))
        if isinstance(module, nn.Conv3d) and math.prod(module.kernel_size) == 1:
            module.dilation = (2, 2, 2)
    return network


def _started(maker: _Maker) -> _Maker:
    """Start an engine that was named at once, so that what it cannot do is known before any work."""
    name, start = maker
    try:
        function = start()
    except Exception as error:
        raise EngineError(
            f"--engine {name} cannot run this network ({one_line(error)}); leave the engine to auto"
        ) from error
    return name, lambda: function
