"""The model folder: `model.safetensors` and `model.yaml`, written once and read without unpickling anything."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from volumetric.config.choices import DEFAULT_MODEL
from volumetric.config.inference import InferenceOptions
from volumetric.config.resolve import as_yaml
from volumetric.model.predict import Model
from volumetric.model.shipped import LISTING, check_as_shipped, engine_cache, find_model
from volumetric.model.spec import SPEC as SPEC
from volumetric.model.spec import WEIGHTS, ModelError, ModelSpec, parse_spec
from volumetric.outputs import hash_bytes, write_bytes, write_text

if TYPE_CHECKING:
    from torch import nn

_DEFAULTS = InferenceOptions()


def save_model(folder: Path, network: nn.Module, spec: ModelSpec, *, half: bool = False) -> None:
    """Write a model folder; equal weights give equal bytes.

    Args:
        folder: to write into.
        network: whose weights are written.
        spec: what the model is.
        half: store the weights in float16, at half the size; they are loaded into float32 again.
    """
    from volumetric.model.weights import pack_weights  # torch takes 2 s, and reading a model may need none

    write_bytes(folder / WEIGHTS, pack_weights(network, half=half))
    write_text(folder / SPEC, as_yaml(spec))


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
    if not (folder / WEIGHTS).is_file():
        raise ModelError(f"{folder}: {WEIGHTS} is missing; copy the whole model folder")
    weights, specification = (folder / WEIGHTS).read_bytes(), (folder / SPEC).read_bytes()
    sha256 = hash_bytes(weights, specification)
    is_shipped = (folder / LISTING).is_file()
    if is_shipped:
        check_as_shipped(folder, sha256)
    spec = parse_spec(specification, folder / SPEC)
    build = partial(_network, spec, weights, folder / WEIGHTS)
    cache = engine_cache() if is_shipped else folder / "engines"
    return Model(spec, build, options=options, sha256=sha256, cache=cache)


def _network(spec: ModelSpec, weights: bytes, path: Path) -> nn.Module:
    """The network of a specification with the weights of a file."""
    from volumetric.model.networks import build_network  # torch takes 2 s, and a kept conversion needs none
    from volumetric.model.weights import unpack_weights

    network = build_network(spec.network, len(spec.sources))
    unpack_weights(network, weights, path)
    return network
