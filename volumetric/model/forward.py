"""Forward pass of one subject in model space: windows over the mask, the network, and its output in reference units."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from volumetric.config.network import width_at_full_resolution
from volumetric.model.engines import NetworkFunction, in_bfloat16
from volumetric.model.spec import ModelSpec
from volumetric.model.uncertainty import width_of
from volumetric.model.units import in_network_units
from volumetric.model.windows import WindowPlan, most_voxels, plan_large, plan_whole, plan_windows, stitch


class NetworkOutput(NamedTuple):
    """The network's output in model space, `(I, J, K)` in reference units, 0 outside the mask.

    Attributes:
        units: the target.
        half_width: of its 90 % interval; None where the model has no uncertainty.
        features: the distance of `OutOfDistribution`; None where it was not measured.
    """

    units: NDArray[np.float32]
    half_width: NDArray[np.float32] | None
    features: float | None = None


def plan_for(
    spec: ModelSpec, mask: NDArray[np.bool_], device: torch.device, *, overlap: float, whole_volume: bool
) -> WindowPlan:
    """Windows over a mask `(I, J, K)` of the patch's size; for `whole_volume` one, or the largest the memory holds."""
    plan = None
    if whole_volume:
        limit = most_voxels(width_at_full_resolution(spec.network), device)
        plan = plan_whole((mask.shape[0], mask.shape[1], mask.shape[2]), spec.network.stride)
        if math.prod(plan.size) > limit:
            plan = plan_large(mask, spec.network.stride, limit)
    return plan or plan_windows(mask, spec.patch_size, overlap)


def synthesize(
    network: NetworkFunction,
    spec: ModelSpec,
    sources: NDArray[np.float32],
    mask: NDArray[np.bool_],
    plan: WindowPlan,
    device: torch.device,
    measured: NDArray[np.float64] | None = None,
) -> NetworkOutput:
    """Run a network over the windows of one subject in model space, in bfloat16 on a GPU.

    Args:
        network: in evaluation mode, on `device`.
        spec: for the way into network units and back.
        sources: `(C, I, J, K)` in reference units.
        mask: `(I, J, K)`.
        plan: windows that cover the mask.
        device: where to compute.
        measured: of the sources in the brain; None measures them in the mask.

    Raises:
        IntensityError: a source without what the model's normalization needs.
    """
    run = in_bfloat16(network) if device.type == "cuda" else network
    return run_windows(run, spec, in_network_units(spec, sources, mask, measured), mask, plan, device)


def run_windows(
    network: NetworkFunction,
    spec: ModelSpec,
    volume: NDArray[np.float32],
    mask: NDArray[np.bool_],
    plan: WindowPlan,
    device: torch.device,
) -> NetworkOutput:
    """As `synthesize`, from a `volume` `(C, I, J, K)` in network units."""
    inside = torch.from_numpy(mask).to(device)
    with torch.inference_mode():
        out = stitch(torch.from_numpy(volume).to(device), plan, network)
        units = (out[0] * spec.target_map.scale + spec.target_map.center) * inside
        if spec.uncertainty is None:
            return NetworkOutput(units.cpu().numpy(), None)
        half_width = width_of(out[1]) * (spec.uncertainty.factor * spec.target_map.scale) * inside
    return NetworkOutput(units.cpu().numpy(), half_width.cpu().numpy())
