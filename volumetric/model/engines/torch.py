"""PyTorch as an engine: a network as a function of arrays."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

ArrayFunction = Callable[[NDArray[np.float32]], NDArray[np.float32]]


def on_arrays(network: Callable[[Tensor], Tensor], device: str, *, bfloat16: bool = False) -> ArrayFunction:
    """A torch network that takes and returns arrays; each window moves to its device and back.

    Args:
        network: in evaluation mode, on `device`.
        device: of torch, such as `cpu` or `cuda:1`.
        bfloat16: compute convolutions and products in it.
    """
    kind = torch.device(device).type

    def run(windows: NDArray[np.float32]) -> NDArray[np.float32]:
        with torch.inference_mode(), torch.autocast(kind, torch.bfloat16, enabled=bfloat16):
            output = network(torch.from_numpy(windows).to(device))
        array: NDArray[np.float32] = output.float().cpu().numpy()
        return array

    return run
