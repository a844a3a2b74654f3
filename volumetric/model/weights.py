"""Weights of a network as the bytes of `model.safetensors`, and back."""

from __future__ import annotations

from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor, nn

from volumetric.errors import one_line
from volumetric.model.spec import SPEC, ModelError


def pack_weights(network: nn.Module, *, half: bool = False) -> bytes:
    """The weights of a network as safetensors, in float16 with `half`; equal weights give equal bytes."""
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in _each_once(network).items()}
    if half:
        tensors = {name: tensor.half() if tensor.is_floating_point() else tensor for name, tensor in tensors.items()}
    return save(tensors)


def unpack_weights(network: nn.Module, weights: bytes, path: Path) -> None:
    """Load what `pack_weights` returned into a network.

    Args:
        network: to load into.
        weights: safetensors.
        path: of their file, for messages.

    Raises:
        ModelError: they are damaged, not finite, or another network's.
    """
    try:
        tensors, own = load(weights), _each_once(network)
        if tensors.keys() != own.keys():
            raise RuntimeError(f"other tensors: {sorted(tensors.keys() ^ own.keys())}")
        other = [n for n, tensor in tensors.items() if tensor.is_floating_point() != own[n].is_floating_point()]
        if other:
            raise RuntimeError(f"{other[0]} holds {tensors[other[0]].dtype} numbers, expected {own[other[0]].dtype}")
        network.load_state_dict(tensors, strict=False)  # the second names of shared tensors are missing
    except (SafetensorError, RuntimeError) as error:
        raise ModelError(f"{path}: the weights do not fit {SPEC} or are damaged ({one_line(error)})") from error
    broken = [name for name, tensor in tensors.items() if not tensor.isfinite().all()]
    if broken:
        raise ModelError(
            f"{path}: {len(broken)} of {len(tensors)} tensors hold NaN or infinite numbers (the first is {broken[0]}); "
            "copy the model folder again, or train anew with a lower optim.lr"
        )


def _each_once(network: nn.Module) -> dict[str, Tensor]:
    """The state by name, without second names: MONAI's DynUNet holds its blocks under two."""
    state: dict[int, tuple[str, Tensor]] = {}
    for name, tensor in network.state_dict().items():
        state.setdefault(tensor.data_ptr(), (name, tensor))
    return dict(state.values())
