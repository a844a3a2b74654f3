"""The model folder: `model.safetensors` and `model.yaml`, written once and read without unpickling anything."""

from __future__ import annotations

from pathlib import Path

from pydantic import ValidationError
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor, nn

from volumetric.config.document import ConfigError, load_yaml
from volumetric.config.inference import InferenceOptions
from volumetric.config.resolve import as_yaml
from volumetric.errors import InputError, one_line
from volumetric.model.networks import build_network
from volumetric.model.predict import Model
from volumetric.model.spec import FORMAT_VERSION, ModelSpec
from volumetric.outputs import hash_bytes, write_bytes, write_text

WEIGHTS = "model.safetensors"
SPEC = "model.yaml"

_DEFAULTS = InferenceOptions()


class ModelError(InputError):
    """A folder that holds no usable model."""


def save_model(folder: Path, network: nn.Module, spec: ModelSpec) -> None:
    """Write a model folder; equal weights give equal bytes."""
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in _each_once(network).items()}
    write_bytes(folder / WEIGHTS, save(tensors))
    write_text(folder / SPEC, as_yaml(spec))


def load_model(path: Path | str, *, options: InferenceOptions = _DEFAULTS) -> Model:
    """Read a model.

    Args:
        path: a model folder, or a run folder that has one in it.
        options: how to run it.

    Raises:
        ModelError: no model there, a format this version does not know, or damaged files.
    """
    path = Path(path)
    folder = next((f for f in (path, path / "model") if (f / SPEC).is_file()), None)
    if folder is None:
        raise ModelError(
            f"{path}: no {SPEC} there or in its `model` folder; name the run folder of a finished training"
        )
    if not (folder / WEIGHTS).is_file():
        raise ModelError(f"{folder}: {WEIGHTS} is missing; copy the whole model folder")
    specification = (folder / SPEC).read_bytes()
    spec = _parsed_spec(specification, folder / SPEC)
    network = build_network(spec.network, len(spec.sources))
    weights = (folder / WEIGHTS).read_bytes()
    _load_weights(network, weights, folder / WEIGHTS)
    sha256 = hash_bytes(weights, specification)
    return Model(spec, network, options=options, sha256=sha256, cache=folder / "engines")


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


def _parsed_spec(data: bytes, path: Path) -> ModelSpec:
    try:
        content = load_yaml(data.decode(), str(path))
        version = content.get("format_version") if isinstance(content, dict) else None
        if version != FORMAT_VERSION:
            raise ModelError(
                f"{path}: format_version is {version}, this version of volumetric reads {FORMAT_VERSION}; "
                "use the version that wrote the model (named under `versions` in the file)"
            )
        return ModelSpec.model_validate(content)
    except (ConfigError, UnicodeDecodeError) as error:
        raise ModelError(f"{path}: not a YAML file of a model; copy the model folder again") from error
    except ValidationError as error:
        problem = error.errors()[0]
        where = ".".join(str(part) for part in problem["loc"])
        raise ModelError(f"{path}: `{where}`: {problem['msg']}; copy the model folder again") from error
