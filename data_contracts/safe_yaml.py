"""YAML that cannot hurt: plain values only, of bounded size, each key once.

`yaml.safe_load` builds no objects, but still expands aliases (a 1 kB "billion laughs" file fills
the memory) and lets a repeated key silently win. Both are refused here, for contracts and recipes
alike. The pure-Python loader costs about 0.1 ms a line; such files have a few hundred.
"""

from __future__ import annotations

from typing import Any

import yaml
from yaml.composer import ComposerError
from yaml.constructor import ConstructorError

from data_contracts.errors import UserError

MAX_CHARS = 1_000_000


def load_yaml(text: str, *, name: str, error: type[UserError]) -> Any:
    """The plain value (mappings, lists, strings, numbers, booleans, null) that `text` spells.

    Args:
        text: the YAML document.
        name: what to call it in messages.
        error: the kind of user error to raise.

    Raises:
        error: if it is too large, not YAML, holds tags, anchors or aliases, or repeats a key.
    """
    if len(text) > MAX_CHARS:
        raise error(
            f"{name} has {len(text):,} characters",
            rule=f"a YAML file here has at most {MAX_CHARS:,}",
            remedy="give the file you meant",
        )
    try:
        return yaml.load(text, Loader=_PlainLoader)  # a SafeLoader, made stricter
    # PyYAML lets through what a value cannot be: the date 2026-13-01, `!!bool maybe`, `!!int x`.
    except (yaml.YAMLError, RecursionError, ValueError, LookupError, AttributeError) as cause:
        raise error(
            f"{name} cannot be read: {cause}",
            rule="YAML with plain values, each key once, without tags, anchors or aliases",
            remedy="correct the line named above",
        ) from cause


class _PlainLoader(yaml.SafeLoader):
    """A SafeLoader without aliases and without repeated keys."""

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        event = self.peek_event()
        if getattr(event, "anchor", None) is not None:  # an anchor, or an alias to one
            raise ComposerError(None, None, "anchors and aliases are not read", event.start_mark)
        return super().compose_node(parent, index)

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if isinstance(key, str | int | float | bool | None):
                if key in seen:
                    raise ConstructorError(
                        None, None, f"the key {key!r} is given twice", key_node.start_mark
                    )
                seen.add(key)
        return super().construct_mapping(node, deep=deep)
