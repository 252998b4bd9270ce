"""What the shape of a graph tells before it runs: which nodes put something out, and which do the work.

Without the server's /object_info this goes by class names and links; names are ComfyUI's own habits and those of the
common custom node packs.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import isfinite
from typing import Any, Final

Graph = Mapping[str, Mapping[str, Any]]  # API format: node id -> {"class_type", "inputs"}

_OUTPUT_CLASS: Final = re.compile(r"^(Save|Preview)(?!.*Loader)|^VHS_VideoCombine$|^SaveImageWebsocket$")
_INPUT_CLASS: Final = re.compile(
    r"Load|^Empty|^Primitive|^(Int|Float|String|Boolean|Seed)(Constant)?$|^Note$|Latent\w*Empty"
)


def graph_or_none(found: object) -> Graph | None:
    """`found` if it is a graph of nodes with class and inputs."""
    if not isinstance(found, dict) or not found:
        return None
    for node in found.values():
        if not (isinstance(node, dict) and isinstance(node.get("class_type"), str)):
            return None
        if not isinstance(node.get("inputs"), dict):
            return None
    return found


def links_of(inputs: Mapping[str, Any]) -> Iterator[tuple[str, str, int]]:
    """Input name, source node id and slot of each link among `inputs`; a link is `["node id", slot]`."""
    for name, value in inputs.items():
        if is_link(value):
            yield name, str(value[0]), int(value[1])


def is_link(value: object) -> bool:
    """Whether an input's value is a link to another node."""
    if not isinstance(value, list) or len(value) != 2 or not isinstance(value[0], str):
        return False
    return type(value[1]) is int or (type(value[1]) is float and isfinite(value[1]))


def is_output_class(node_class: str) -> bool:
    """Whether nodes of this class put something out, by its name."""
    return _OUTPUT_CLASS.search(node_class) is not None


def is_input_class(node_class: str) -> bool:
    """Whether nodes of this class only load or make what others work on."""
    return _INPUT_CLASS.search(node_class) is not None


@dataclass(frozen=True, slots=True)
class GraphShape:
    """Made once a workflow, shared by the lives of all its prompts."""

    classes: Mapping[str, str]  # node id -> class
    outputs: frozenset[str]  # nodes that put something out
    working: frozenset[str]  # nodes an output needs that are neither inputs nor outputs; outputs where there are none

    @classmethod
    def of(cls, graph: Graph) -> GraphShape:
        """The shape of a graph that has been checked (`Workflow`)."""
        classes = {node_id: str(node["class_type"]) for node_id, node in graph.items()}
        outputs = _outputs(graph, classes)
        needed = upstream(graph, outputs)
        inputs = {node_id for node_id in needed if is_input_class(classes[node_id])}
        working = frozenset(needed - outputs - inputs) or outputs
        return cls(classes, outputs, working)

    def origin(self, node_id: str) -> str | None:
        """The node of the graph that `node_id` stands for: itself, or what it was expanded from (`2.0.0.1` -> `2`)."""
        while node_id not in self.classes:
            head, dot, _ = node_id.rpartition(".")
            if not dot:
                return None
            node_id = head
        return node_id


def _outputs(graph: Graph, classes: Mapping[str, str]) -> frozenset[str]:
    """Nodes of an output class; where there are none, nodes nobody takes anything from."""
    named = frozenset(node_id for node_id, node_class in classes.items() if is_output_class(node_class))
    if named:
        return named
    used = {source for node in graph.values() for _, source, _ in links_of(node["inputs"])}
    return frozenset(graph) - used


def upstream(graph: Graph, nodes: frozenset[str], *, but_by: str | None = None) -> set[str]:
    """`nodes` and every node they need; `but_by`: links into inputs of this name are not followed."""
    needed: set[str] = set()
    waiting = list(nodes)
    while waiting:
        node_id = waiting.pop()
        if node_id in needed or node_id not in graph:
            continue
        needed.add(node_id)
        waiting.extend(source for name, source, _ in links_of(graph[node_id]["inputs"]) if name != but_by)
    return needed
