"""Workflows known again by the shape of their graphs, and what of them is nobody's business.

Two graphs are of one workflow when they have the same nodes, linked in the same way; values and node ids may differ.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import orjson

from comfysoak_core.comfyui.shape import Graph, is_link, links_of
from comfysoak_core.value import value

MOST_WORKFLOWS: Final = 1000  # of which an example is kept; of callers that make up graphs there may be any number
MOST_SEEN: Final = 20_000
LONGEST_VALUE: Final = 64 * 1024  # bytes; pictures within a graph do not go into a trace
LEFT_OUT: Final = "left-out"  # also fit for a file name


@value()
class Likeness:
    """What a graph is: the name of its workflow, and its node ids -> those of the workflow's example."""

    name: str
    ids: Mapping[str, str]


@dataclass(slots=True)
class Workflows:
    """The workflows met so far. `examples` has the first graph of each, by name."""

    examples: dict[str, Graph] = field(default_factory=dict)
    _seen: dict[bytes, Likeness] = field(default_factory=dict)

    def know(self, graph: Graph) -> Likeness:
        """The workflow this graph is of; its name is the same in every trace."""
        key = _skeleton(graph)
        found = self._seen.get(key)
        if found is None:
            found = self._meet(graph)
            if len(self._seen) < MOST_SEEN:
                self._seen[key] = found
        return found

    def _meet(self, graph: Graph) -> Likeness:
        marks = _marks(graph)
        name = f"graph-{_hash(sorted(marks.values())).hex()[:8]}"
        if name not in self.examples:
            if len(self.examples) < MOST_WORKFLOWS:
                self.examples[name] = graph
            return Likeness(name, {node_id: node_id for node_id in graph})
        own, example = _by_mark(marks), _by_mark(_marks(self.examples[name]))
        return Likeness(name, dict(zip(own, example, strict=True)))


def inputs_of(graph: Graph, ids: Mapping[str, str]) -> dict[str, Any]:
    """Every value of a graph that is no link, by its path in the workflow's example; no very long ones."""
    return {
        f"{ids[node_id]}.{name}": found
        for node_id, node in graph.items()
        for name, found in node["inputs"].items()
        if not is_link(found) and len(orjson.dumps(found)) <= LONGEST_VALUE
    }


def without_texts(graph: Graph, is_choice: Callable[[str, str], bool]) -> dict[str, Any]:
    """The graph with numbers, links and choices (`is_choice(class, input)`); other texts may be anybody's words."""

    def kept(node_class: str, name: str, found: object) -> object:
        if is_link(found) or found is None or isinstance(found, bool | int | float):
            return found
        return found if is_choice(node_class, name) else LEFT_OUT

    return {
        node_id: {
            "class_type": node["class_type"],
            "inputs": {name: kept(node["class_type"], name, found) for name, found in node["inputs"].items()},
        }
        for node_id, node in graph.items()
    }


def choices_in(info: Mapping[str, Any] | None) -> Iterator[str]:
    """The inputs of a node class whose value is one of a list, by its entry of /object_info; no uploaded files."""
    inputs = info.get("input") if info is not None else None
    for part in inputs.values() if isinstance(inputs, dict) else ():
        for name, declared in part.items() if isinstance(part, dict) else ():
            if not isinstance(declared, list) or not declared:
                continue
            options = declared[1] if len(declared) > 1 and isinstance(declared[1], dict) else {}
            if (isinstance(declared[0], list) or declared[0] == "COMBO") and not _is_upload(options):
                yield name


def _is_upload(options: Mapping[str, Any]) -> bool:
    return any(options.get(key) for key in options if key.endswith("_upload"))


def _skeleton(graph: Graph) -> bytes:
    """A key for graphs that are the same but for their values."""
    nodes = [
        [node_id, node["class_type"], [[name, is_link(found) and found] for name, found in node["inputs"].items()]]
        for node_id, node in graph.items()
    ]
    return _hash(nodes)


def _marks(graph: Graph) -> dict[str, bytes]:
    """For each node a hash of its class, its inputs and all that leads into it; ids have no part in it."""
    marks: dict[str, bytes] = {}
    for node_id in graph:
        waiting = [node_id]
        begun: set[str] = set()
        while waiting:
            here = waiting[-1]
            sources = [source for _, source, _ in links_of(graph[here]["inputs"]) if source in graph]
            missing = [source for source in sources if source not in marks and source not in begun]
            begun.add(here)
            if missing and here not in marks:
                waiting.extend(missing)
                continue
            waiting.pop()
            if here not in marks:
                marks[here] = _mark(graph, here, marks)
    return marks


def _mark(graph: Graph, node_id: str, marks: Mapping[str, bytes]) -> bytes:
    node = graph[node_id]
    parts = [
        [name, marks.get(found[0], b"").hex(), found[1]] if is_link(found) else [name]
        for name, found in sorted(node["inputs"].items())
    ]
    return _hash([node["class_type"], parts])


def _by_mark(marks: Mapping[str, bytes]) -> list[str]:
    return sorted(marks, key=lambda node_id: (marks[node_id], node_id))


def _hash(what: object) -> bytes:
    return hashlib.blake2b(orjson.dumps(what, default=bytes.hex), digest_size=16).digest()
