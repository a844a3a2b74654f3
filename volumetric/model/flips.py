"""Mean over mirrored windows at test time."""

from __future__ import annotations

from itertools import combinations

from torch import Tensor

from volumetric.model.engines import NetworkFunction

AXES = "xyz"


def over_flips(network: NetworkFunction, axes: str) -> NetworkFunction:
    """A network whose output is the mean over all mirrorings of its windows along some axes, each mirrored back.

    Args:
        network: windows `(N, C, *size)` -> `(N, D, *size)`.
        axes: letters of `xyz`, RAS axes: x is left-right. One axis takes twice the time, three eight times.
    """
    dims = [2 + AXES.index(axis) for axis in axes]
    mirrored = [list(chosen) for number in range(1, len(dims) + 1) for chosen in combinations(dims, number)]
    if not mirrored:
        return network

    def run(windows: Tensor) -> Tensor:
        total = network(windows).float().clone()  # an engine may write its next output into the same memory
        for chosen in mirrored:
            total += network(windows.flip(chosen)).flip(chosen)
        return total / (len(mirrored) + 1)

    return run
