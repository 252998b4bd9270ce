"""A prompt as a graph to be dissolved: which node can run next, by ComfyUI's rules for the order."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from comfysoak_core.comfyui.node_classes import NodeClass
from comfysoak_simulator.catalogue import Catalogue

Json = Any


def is_link(value: Json) -> bool:
    """Whether an input's value is a link `["node id", slot]`."""
    return (
        isinstance(value, list) and len(value) == 2 and isinstance(value[0], str) and isinstance(value[1], int | float)
    )


@dataclass(frozen=True, slots=True)
class Node:
    """One node of a graph, given by the prompt or made at run time by `parent`."""

    id: str
    node_class: NodeClass
    inputs: dict[str, Json]
    parent: str | None = None
    display: str | None = None

    @property
    def display_id(self) -> str:
        """The node of the prompt it shows up as."""
        return self.display if self.display is not None else self.id

    def links(self) -> Iterator[tuple[str, str, int]]:
        """Its inputs that are links: name, node id, slot."""
        for name, value in self.inputs.items():
            if is_link(value):
                yield name, value[0], int(value[1])


class Graph:
    """The nodes of one prompt, with those made while it runs."""

    def __init__(self, prompt: dict[str, Json], catalogue: Catalogue) -> None:
        self._catalogue = catalogue
        self.nodes: dict[str, Node] = {}
        for node_id, entry in prompt.items():
            node_class = catalogue.get(entry.get("class_type"))
            if node_class is not None:  # validation let no other through
                self.nodes[node_id] = Node(node_id, node_class, entry["inputs"])

    @property
    def has_unknown_inputs(self) -> bool:
        """Whether some node is given an input that its class does not declare."""
        return any(not node.inputs.keys() <= node.node_class.inputs.keys() for node in self.nodes.values())

    def add(self, node_id: str, class_name: str, inputs: dict[str, Json], parent: Node) -> None:
        """Add a node made at run time by `parent`; raises KeyError for an unknown class."""
        node_class = self._catalogue.classes[class_name]
        self.nodes[node_id] = Node(node_id, node_class, inputs, parent.id, parent.display_id)


class Dissolve:
    """What is left to run: nodes wait for the nodes they link to, unless `is_cached` says these have a result."""

    def __init__(self, graph: Graph, is_cached: Callable[[str], bool]) -> None:
        self._graph = graph
        self._is_cached = is_cached
        self.pending: dict[str, None] = {}
        self._waits_for: dict[str, set[str]] = {}
        self._blocks: dict[str, dict[str, None]] = {}
        self.held: set[str] = set()  # nodes that wait for something outside the graph

    def need(self, node_id: str) -> None:
        """Have this node run, and first all it depends on that has no result yet."""
        to_add, found = [node_id], []
        while to_add:
            current = to_add.pop()
            if current in self.pending:
                continue
            self.pending[current] = None
            self._waits_for[current] = set()
            self._blocks[current] = {}
            for _, source, _ in self._graph.nodes[current].links():
                if not self._is_cached(source):
                    to_add.append(source)
                    found.append((source, current))
        for source, target in found:
            self.link(source, target)

    def link(self, source: str, target: str) -> None:
        """`target` waits for `source`, unless that has a result."""
        if self._is_cached(source):
            return
        if source not in self.pending:
            self.need(source)
        self._blocks[source][target] = None
        self._waits_for[target].add(source)

    def done(self, node_id: str) -> None:
        """Take out a node that has its result."""
        del self.pending[node_id], self._waits_for[node_id]
        for blocked in self._blocks.pop(node_id):
            self._waits_for[blocked].discard(node_id)

    def next(self) -> str | None:
        """The node to run now; None when all are done or wait for something outside.

        Output nodes and coroutines first, then what an output waits for, then what such a node waits for.
        """
        ready = [node_id for node_id in self.pending if not self._waits_for[node_id] and node_id not in self.held]
        if len(ready) < 2:
            return ready[0] if ready else None
        for node_id in ready:
            if self._is_output(node_id) or self._graph.nodes[node_id].node_class.is_async:
                return node_id
        for node_id in ready:
            if any(self._is_output(blocked) for blocked in self._blocks[node_id]):
                return node_id
        for node_id in ready:
            if any(self._is_output(last) for blocked in self._blocks[node_id] for last in self._blocks[blocked]):
                return node_id
        return ready[0]

    def _is_output(self, node_id: str) -> bool:
        return self._graph.nodes[node_id].node_class.is_output
