"""Resolution of a YAML file of differences and `--set` into a whole, checked configuration."""

from __future__ import annotations

import difflib
import reprlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, TypeVar, Union, get_args, get_origin

import yaml
from pydantic import BaseModel, ValidationError

from volumetric.config.document import MAX_CHARACTERS, MAX_DEPTH, ConfigError, load_yaml
from volumetric.config.network import DEFAULT_NETWORK, NETWORK_NAMES
from volumetric.config.run import RunConfig
from volumetric.config.section import Section
from volumetric.config.shipped import configuration_file, shipped

S = TypeVar("S", bound=Section)


def resolve(path: str | Path | None, overrides: Sequence[str] = ()) -> RunConfig:
    """`resolve_as` of a training run."""
    return resolve_as(RunConfig, path, overrides)


def resolve_as(kind: type[S], path: str | Path | None, overrides: Sequence[str] = ()) -> S:
    """Read a configuration file over the defaults, then apply overrides.

    Args:
        kind: of the configuration: `RunConfig` or `PreparationConfig`.
        path: YAML holding differences from the defaults, the name of a shipped configuration, or None.
            `extends: other.yaml` (relative to the file, or a shipped name) takes another file's differences first.
        overrides: `section.key=value`, the value written as YAML; applied in order.

    Raises:
        ConfigError: an unreadable file, an unknown key (the closest known one is named), a value out of range.
    """
    tree = _read(configuration_file(path), ()) if path else {}
    for override in overrides:
        tree = _set(tree, override)
    return _validated(kind, tree, str(path or "the configuration"))


def with_defaults(config: S, defaults: Mapping[str, Any]) -> S:
    """The configuration with other values, nested by section, wherever it leaves the default.

    Raises:
        ConfigError: values that do not go together.
    """
    return _validated(type(config), _merged(defaults, config.model_dump(exclude_unset=True)), "the configuration")


def with_values(config: S, values: Mapping[str, Any]) -> S:
    """The configuration with other values, nested by section.

    Raises:
        ConfigError: values that do not go together with the others.
    """
    return _validated(type(config), _merged(config.model_dump(), values), "the configuration")


def _validated(kind: type[S], tree: Mapping[str, Any], name: str) -> S:
    try:
        return kind.model_validate(tree)
    except ValidationError as error:
        raise ConfigError(f"{name}: " + "; ".join(_sentences(error, kind))) from error


def as_yaml(config: BaseModel) -> str:
    """The whole configuration as YAML text, in the order of its definition."""
    return yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False, default_flow_style=None)


def _read(path: Path, ancestors: tuple[Path, ...]) -> dict[str, Any]:
    if not path.is_file():
        names = ", ".join(shipped())
        raise ConfigError(
            f"{path}: there is no such configuration file; check the path, or name a shipped one: {names}"
        )
    if path.resolve() in ancestors:
        raise ConfigError(f"{path}: `extends` leads in a circle; name another file, or leave it out")
    try:
        with path.open(encoding="utf-8") as file:
            text = file.read(MAX_CHARACTERS + 1)
    except (UnicodeDecodeError, OSError) as error:
        raise ConfigError(f"{path}: not valid YAML ({error}); correct it, or write it again") from error
    tree = load_yaml(text, str(path))
    tree = {} if tree is None else tree
    if not isinstance(tree, dict):
        raise ConfigError(f"{path}: expected keys and values, got {type(tree).__name__}; correct it, or write it again")
    parent = tree.pop("extends", None)
    if parent is None:
        return tree
    return _merged(_read(configuration_file(str(parent), path.parent), (*ancestors, path.resolve())), tree)


def _merged(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(below)
    for key, value in above.items():
        old = merged.get(key)
        merged[key] = _merged(old, value) if isinstance(old, dict) and isinstance(value, dict) else value
        if isinstance(value, dict) and isinstance(old, dict) and _network_changes(old, value):
            merged[key] = value
    return merged


def _network_changes(below: Mapping[str, Any], above: Mapping[str, Any]) -> bool:
    """Another network starts its section anew: the keys of the one before mean nothing to it."""
    before = below.get("name", DEFAULT_NETWORK)
    return bool(above.get("name", before) != before)


def _set(tree: dict[str, Any], override: str) -> dict[str, Any]:
    key, equals, text = override.partition("=")
    if not equals or not key.strip():
        raise ConfigError(f"--set {override}: expected key=value, for example optim.lr=3e-4")
    value = load_yaml(text, f"--set {key}")
    *sections, last = key.strip().split(".")
    if len(sections) > MAX_DEPTH:
        raise ConfigError(f"--set: a key of {len(sections) + 1} parts; see `volumetric config --schema` for the keys")
    below: Any = tree
    for section in sections:
        below = below.get(section, {})
        if not isinstance(below, dict):
            raise ConfigError(f"--set {override}: `{section}` is a value, not a section; set that one")
    change: Any = {last: value}
    for section in reversed(sections):
        change = {section: change}
    return _merged(tree, change)


def _sentences(error: ValidationError, kind: type[BaseModel]) -> Iterator[str]:
    for problem in error.errors():
        keys = [str(part) for part in problem["loc"] if not isinstance(part, int) and part not in NETWORK_NAMES]
        where = ".".join(keys)
        if problem["type"] == "extra_forbidden":
            meant = _closest(where, sorted(_keys(kind)))
            hint = f"did you mean `{meant}`?" if meant else "see `volumetric config --schema`"
            yield f"unknown key `{where}`; {hint}"
        elif problem["type"] == "value_error":
            yield str(problem["ctx"]["error"])
        else:
            message = problem["msg"][0].lower() + problem["msg"][1:]
            yield f"`{where}` = {reprlib.repr(problem['input'])}: {message}; see `volumetric config --schema`"


def _keys(model: type[BaseModel], prefix: str = "") -> Iterator[str]:
    for name, field in model.model_fields.items():
        yield prefix + name
        for section in _sections(field.annotation):
            yield from _keys(section, f"{prefix}{name}.")


def _sections(annotation: Any) -> Iterator[type[BaseModel]]:
    """The sections that an annotation allows, through unions and `Annotated`."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    elif get_origin(annotation) in (Union, UnionType, Annotated):
        for part in get_args(annotation):
            yield from _sections(part)


def _closest(word: str, known: Sequence[str]) -> str | None:
    """The known word nearest to a misspelled one, or None if none is near."""
    return next(iter(difflib.get_close_matches(word, known, n=1, cutoff=0.5)), None)
