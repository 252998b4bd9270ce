"""YAML that people wrote, as values and as nodes with line numbers, within bounds.

A few lines of YAML can stand for more values than fit into memory (an alias of an alias of an alias), for a value that
holds itself, or for brackets deeper than Python can follow. All of these are mistakes of the file.
"""

from __future__ import annotations

from typing import Any, Final

import yaml

MOST_VALUES: Final = 200_000
DEEPEST: Final = 100


def load_yaml(text: str) -> tuple[yaml.Node | None, Any]:
    """The root node of a document (None for an empty one) and its value.

    Raises yaml.YAMLError for what is not YAML, and for what is nested more than DEEPEST levels or holds more than
    MOST_VALUES values once its aliases are written out.
    """
    try:
        root = yaml.compose(text, Loader=yaml.SafeLoader)
    except RecursionError:
        raise yaml.YAMLError(f"it is nested more than {DEEPEST} levels deep") from None
    if root is not None:
        _check_bounds(root)
    return root, yaml.safe_load(text)


def _check_bounds(root: yaml.Node) -> None:
    """Walk the document as it will be written out; an alias counts each time."""
    values = 0
    left = [(root, 1)]
    while left:
        node, depth = left.pop()
        values += 1
        if depth > DEEPEST:
            raise _beyond(node, f"it is nested more than {DEEPEST} levels deep, or an alias holds itself")
        if values > MOST_VALUES:
            raise _beyond(root, f"it holds more than {MOST_VALUES:,} values once its aliases are written out")
        if isinstance(node, yaml.MappingNode):
            left += [(part, depth + 1) for pair in node.value for part in pair]
        elif isinstance(node, yaml.SequenceNode):
            left += [(part, depth + 1) for part in node.value]


def _beyond(node: yaml.Node, what: str) -> yaml.MarkedYAMLError:
    return yaml.MarkedYAMLError(problem=what, problem_mark=node.start_mark)
