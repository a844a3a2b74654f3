"""The model folder: `model.safetensors` and `model.yaml`, written once and read without unpickling anything."""

from __future__ import annotations

from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor, nn

from volumetric.config.choices import DEFAULT_MODEL
from volumetric.config.inference import InferenceOptions
from volumetric.config.resolve import as_yaml
from volumetric.errors import one_line
from volumetric.model.files import read_spec_bytes, read_weights
from volumetric.model.networks import build_network
from volumetric.model.predict import Model
from volumetric.model.shipped import LISTING, check_as_shipped, engine_cache, find_model
from volumetric.model.spec import SPEC as SPEC
from volumetric.model.spec import WEIGHTS, ModelError, ModelSpec, parse_spec
from volumetric.outputs import hash_bytes, write_bytes, write_text

_COPY = "copy the model folder again"
_DEFAULTS = InferenceOptions()


def save_model(folder: Path, network: nn.Module, spec: ModelSpec, *, half: bool = False) -> None:
    """Write a model folder; equal weights give equal bytes.

    Args:
        folder: to write into.
        network: whose weights are written.
        spec: what the model is.
        half: store the weights in float16, at half the size; they are loaded into float32 again.
    """
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in _each_once(network).items()}
    if half:
        tensors = {name: tensor.half() if tensor.is_floating_point() else tensor for name, tensor in tensors.items()}
    weights = save(tensors)
    write_bytes(folder / WEIGHTS, weights)
    write_text(folder / SPEC, as_yaml(spec.model_copy(update={"weights_sha256": hash_bytes(weights)})))


def load_model(path: Path | str = DEFAULT_MODEL, *, options: InferenceOptions = _DEFAULTS) -> Model:
    """Read a model.

    Args:
        path: the name of a shipped model, a model folder, or a run folder that has one in it. A text without a slash
            that is a shipped name means the shipped model; a `Path`, or `./name`, means a folder.
        options: how to run it.

    Raises:
        ModelError: no model there, a format this version does not know, damaged files, or a shipped model whose files
            are not those that were shipped.
    """
    folder = find_model(path)
    weights, specification = read_weights(folder), read_spec_bytes(folder)
    sha256 = hash_bytes(weights, specification)
    is_shipped = (folder / LISTING).is_file()
    if is_shipped:
        check_as_shipped(folder, sha256)
    spec = parse_spec(specification, folder / SPEC)
    network = build_network(spec.network, spec.in_channels, spec.out_channels)
    _load_weights(network, weights, folder / WEIGHTS)
    if spec.weights_sha256 not in (None, hash_bytes(weights)):
        raise ModelError(
            f"{folder / WEIGHTS}: these are not the weights that {SPEC} names (SHA-256 {hash_bytes(weights)[:12]}, "
            f"expected {str(spec.weights_sha256)[:12]}); copy the model folder again"
        )
    cache = engine_cache() if is_shipped else folder / "engines"
    return Model(spec, network, options=options, sha256=sha256, cache=cache)


def _load_weights(network: nn.Module, weights: bytes, path: Path) -> None:
    try:
        tensors, own = load(weights), _each_once(network)
        if tensors.keys() != own.keys():
            raise RuntimeError(f"other tensors: {sorted(tensors.keys() ^ own.keys())}")
        other = [n for n, tensor in tensors.items() if tensor.is_floating_point() != own[n].is_floating_point()]
        if other:
            raise RuntimeError(f"{other[0]} holds {tensors[other[0]].dtype} numbers, expected {own[other[0]].dtype}")
        network.load_state_dict(tensors, strict=False)  # the second names of shared tensors are missing
    except (SafetensorError, RuntimeError) as error:
        raise ModelError(
            f"{path}: the weights do not fit {SPEC} or are damaged ({one_line(error)}); {_COPY}"
        ) from error
    broken = [name for name, tensor in tensors.items() if not tensor.isfinite().all()]
    if broken:
        raise ModelError(
            f"{path}: {len(broken)} of {len(tensors)} tensors hold NaN or infinite numbers (the first is {broken[0]}); "
            f"{_COPY}, or train anew with a lower optim.lr"
        )


def _each_once(network: nn.Module) -> dict[str, Tensor]:
    """The state by name, without second names: MONAI's DynUNet holds its blocks under two."""
    state: dict[int, tuple[str, Tensor]] = {}
    for name, tensor in network.state_dict().items():
        state.setdefault(tensor.data_ptr(), (name, tensor))
    return dict(state.values())
