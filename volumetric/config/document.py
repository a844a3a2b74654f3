"""YAML text as plain values, bounded in length and depth, without anchors and aliases."""

from __future__ import annotations

import re
from typing import Any

import yaml

from volumetric.errors import InputError

MAX_CHARACTERS = 100_000
MAX_DEPTH = 20
"""Lists and sections inside one another; the whole configuration needs four."""
_PLAIN_INTEGER = re.compile(r"[-+]?(0|[1-9][0-9_]*)")


class ConfigError(InputError):
    """A configuration that cannot be used; the message names each key."""


def load_yaml(text: str, name: str) -> Any:
    """Parse YAML.

    Args:
        text: the document.
        name: of the document, for messages.

    Raises:
        ConfigError: the text is not YAML, or passes `MAX_CHARACTERS` or `MAX_DEPTH`, or uses an anchor or an alias,
            by which a few lines can stand for billions of values, or gives a key twice.
    """
    if len(text) > MAX_CHARACTERS:
        raise ConfigError(
            f"{name}: {len(text)} characters, expected at most {MAX_CHARACTERS}; is this a configuration?"
        )
    try:
        return yaml.load(text, _BoundedLoader)  # a subclass of SafeLoader
    except (yaml.YAMLError, ValueError) as error:
        raise ConfigError(f"{name}: not valid YAML ({' '.join(str(error).split())}); correct it") from error


class _BoundedLoader(yaml.SafeLoader):
    depth = 0

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        event: Any = self.peek_event()  # type: ignore[no-untyped-call]
        if event.anchor is not None:
            raise yaml.YAMLError(f"line {event.start_mark.line + 1} has an anchor or alias; write the value out")
        if self.depth > MAX_DEPTH:
            raise yaml.YAMLError(
                f"line {event.start_mark.line + 1} lies more than {MAX_DEPTH} brackets or sections deep"
            )
        self.depth += 1
        node = super().compose_node(parent, index)
        self.depth -= 1
        return node

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[str] = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode) and key.value in seen:
                raise yaml.YAMLError(f"line {key.start_mark.line + 1} has the key `{key.value}` again; keep one")
            seen.add(key.value if isinstance(key, yaml.ScalarNode) else "")
        return super().construct_mapping(node, deep)

    def construct_yaml_int(self, node: yaml.ScalarNode) -> int:
        if not _PLAIN_INTEGER.fullmatch(node.value):  # YAML 1.1 reads 010 as 8 and 1:30 as 90
            raise yaml.YAMLError(f"line {node.start_mark.line + 1} has the number {node.value}; write it in decimals")
        return int(node.value)


_BoundedLoader.add_constructor("tag:yaml.org,2002:int", _BoundedLoader.construct_yaml_int)
