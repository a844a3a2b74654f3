"""Parts of the site that the program itself provides: commands, configuration, metrics and an example.

MkDocs calls `on_page_markdown` for each page; a line `<!-- generated: NAME -->` becomes the part of that name,
`<!-- generated: NAME ARGUMENT -->` the part for an argument.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

WORDS = {
    bool: "`true` · `false`",
    float: "number",
    int: "integer",
    str: "text",
    Path: "path",
    type(None): "`null`",
}
ROOT = Path(__file__).parents[2]
MARKER = re.compile(r"^<!-- generated: ([a-z-]+)(?: (\w+))? -->$", re.MULTILINE)


def on_page_markdown(markdown: str, **_: object) -> str:
    """Replace the markers of a page by what they name."""
    return MARKER.sub(lambda match: PARTS[match[1]](*filter(None, [match[2]])), markdown)


def commands() -> str:
    """Each command with its help, arguments and options."""
    from typer.main import get_command

    from volumetric.cli import app

    group: Any = get_command(app)
    return "\n\n".join(_command(name, command) for name, command in group.commands.items())


def configuration() -> str:
    """Each key of a training configuration."""
    from volumetric.config.run import RunConfig

    return "\n\n".join(_sections(RunConfig))


def recipe() -> str:
    """Each key of the recipe of `prepare`."""
    from volumetric.config.preparation import PreparationConfig

    return "\n\n".join(_sections(PreparationConfig))


def metrics() -> str:
    """Each column of numbers in `per_subject.csv`."""
    from volumetric.metrics.downstream import definitions

    keys = ("label", "unit", "better", "formula", "source")
    rows = [[f"`{name}`", *(str(about[key]) for key in keys)] for name, about in definitions().items()]
    return _table(["column", "name", "unit", "better", "formula", "source"], rows)


def example() -> str:
    """The example of a MONAI pipeline."""
    return f"```python\n{(ROOT / 'examples' / 'monai_pipeline.py').read_text()}```"


def card(name: str) -> str:
    """The model card of a shipped model."""
    from volumetric.model.shipped import read_card

    return read_card(name)


def reliability() -> str:
    """The table that `make reliability` wrote last."""
    with (ROOT / "benchmarks" / "reliability" / "results.csv").open(newline="") as file:
        columns, *rows = csv.reader(file)
    return _table(columns, rows)


PARTS: dict[str, Callable[..., str]] = {
    "commands": commands,
    "configuration": configuration,
    "recipe": recipe,
    "metrics": metrics,
    "example": example,
    "card": card,
    "reliability": reliability,
}


def _command(name: str, command: Any) -> str:
    parameters = [p for p in command.params if p.name != "help"]
    arguments = [p for p in parameters if p.param_type_name == "argument"]
    options = [p for p in parameters if p.param_type_name == "option"]
    usage = " ".join(["volumetric", name, *(_usage(p) for p in arguments), "[OPTIONS]"])
    parts = [f"## {name}", f"```sh\n{usage}\n```", _help(command.help)]
    if arguments:
        parts.append(_table(["argument", "what"], [[f"`{p.metavar or p.name}`", _what(p)] for p in arguments]))
    parts.append(_table(["option", "value", "default", "what"], [_option(p) for p in options]))
    return "\n\n".join(parts)


def _usage(argument: Any) -> str:
    label = argument.metavar or argument.name.upper()
    return str(label if argument.required else f"[{label.strip('[]')}]")


def _help(text: str) -> str:
    return re.sub(r"[ \t]+$", "", text, flags=re.MULTILINE).replace("\f", "")


def _what(parameter: Any) -> str:
    return (parameter.help or "") + (" Required." if parameter.required else "")


def _option(option: Any) -> list[str]:
    names = ", ".join(f"`{name}`" for name in (*option.opts, *option.secondary_opts))
    annotation = option.type_descriptor.annotation
    value = "" if annotation is bool else _annotation(annotation)
    value += ", repeatable" if option.multiple else ""
    if isinstance(option.default, bool):
        default = (option.opts if option.default else option.secondary_opts)[:1]
    else:
        default = [] if option.default in (None, "") or option.multiple else [str(option.default)]
    return [names, value, "".join(f"`{text}`" for text in default), _what(option)]


def _sections(model: type[BaseModel], prefix: str = "") -> Iterator[str]:
    """The keys of a model as a table, then those of its sections; a choice of sections gives one table each."""
    plain = [(name, field) for name, field in model.model_fields.items() if not _models(field.annotation)]
    nested = [(name, field) for name, field in model.model_fields.items() if _models(field.annotation)]
    if plain:
        title = f"### `{prefix.rstrip('.')}`\n\n{_summary(model)}\n\n" if prefix else ""
        rows = [[f"`{prefix}{name}`", _type(field), _default(field), field.description or ""] for name, field in plain]
        yield title + _table(["key", "value", "default", "what"], rows)
    for name, field in nested:
        for section in _models(field.annotation):
            choice = section.model_fields.get("name")
            if choice is not None and len(_models(field.annotation)) > 1:
                (kind,) = get_args(choice.annotation)
                yield f"### `{name}`, `name: {kind}`\n\n{_summary(section)}\n\n" + _keys(section, f"{name}.")
            else:
                yield from _sections(section, f"{prefix}{name}.")


def _keys(section: type[BaseModel], prefix: str) -> str:
    rows = [
        [f"`{prefix}{name}`", _type(field), _default(field), field.description or ""]
        for name, field in section.model_fields.items()
        if name != "name"
    ]
    return _table(["key", "value", "default", "what"], rows) if rows else ""


def _models(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    if get_origin(annotation) in (Union, UnionType, Annotated):
        return [model for part in get_args(annotation) for model in _models(part)]
    return []


def _summary(model: type[BaseModel]) -> str:
    return (model.__doc__ or "").strip()


def _type(field: FieldInfo) -> str:
    limits = [_limit(part) for part in field.metadata]
    return ", ".join([_annotation(field.annotation), *(limit for limit in limits if limit)])


def _annotation(annotation: Any) -> str:
    if get_origin(annotation) is Annotated:
        return _annotation(get_args(annotation)[0])
    if get_origin(annotation) is Literal:
        return " · ".join(f"`{'null' if choice is None else choice}`" for choice in get_args(annotation))
    if get_origin(annotation) in (Union, UnionType):
        return " or ".join(_annotation(part) for part in get_args(annotation))
    if get_origin(annotation) is tuple:
        parts = get_args(annotation)
        return f"list of {_annotation(parts[0])}" if parts[-1] is ... else f"{len(parts)} × {_annotation(parts[0])}"
    if get_origin(annotation) is list:
        return _annotation(get_args(annotation)[0])
    return WORDS.get(annotation, str(annotation))


def _limit(part: Any) -> str:
    for name, sign in (("ge", "≥"), ("gt", ">"), ("le", "≤"), ("lt", "<")):
        if getattr(part, name, None) is not None:
            return f"{sign} {getattr(part, name)}"
    return ""


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return ""
    value = field.default
    if value is None:
        return "`null`"
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    if isinstance(value, tuple):
        return f"`[{', '.join(map(str, value))}]`"
    return f"`{value}`"


def _table(header: list[str], rows: list[list[str]]) -> str:
    lines = [header, ["---"] * len(header), *([cell.replace("|", "\\|") for cell in row] for row in rows)]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)
