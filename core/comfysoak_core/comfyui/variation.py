"""The variation of a workflow from one prompt to the next, as a pure function of a random generator.

variation = Variation(workflow, vary)       # ScenarioError for every path that names no input
draw = variation.draw(rng, index)           # a few microseconds: pieces of JSON are joined, no graph is copied
body = draw.body(prompt_id, client_id)      # what POST /prompt takes
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Any, Final, Protocol

import orjson

from comfysoak_core.comfyui.choices import choices_of
from comfysoak_core.comfyui.expected import ExpectedFiles, expected_outputs, size_inputs
from comfysoak_core.comfyui.places import NO_LIMITS, Limits, Place, place_of
from comfysoak_core.comfyui.shape import Graph, upstream
from comfysoak_core.comfyui.vary import NodeMapping, Range, SeedMode, Vary
from comfysoak_core.comfyui.workflow import Workflow

__all__ = [
    "Draw",
    "NodeMapping",
    "Range",
    "SeedMode",
    "Variation",
    "Vary",
    "applied",
    "check_variation",
    "warnings_for",
]

MAX_SIZES: Final = 256  # sizes of pictures whose expectation is kept

NOTHING_VARIES: Final = (
    "nothing varies, so every prompt after the first is a cache hit and does no work;"
    " vary a seed (seed: random) or an input (inputs: {3.steps: [20, 30]})"
)
ONLY_OUTPUTS_VARY: Final = (
    "only inputs of outputs vary, so every prompt after the first takes its pictures from the cache;"
    " vary a seed or an input of a node that does the work"
)


@dataclass(frozen=True, slots=True)
class Draw:
    """One prompt of a workload."""

    values: Mapping[str, Any]  # path -> value: with the workflow, all it takes to send it again
    graph_json: bytes
    expected: Mapping[str, ExpectedFiles]  # output node id -> what it will put out

    @property
    def variation(self) -> str:
        """`values` as JSON, for the row of the prompt."""
        return orjson.dumps(self.values).decode()

    @property
    def graph(self) -> dict[str, Any]:
        """The graph, decoded."""
        graph: dict[str, Any] = orjson.loads(self.graph_json)
        return graph

    def body(self, prompt_id: str, client_id: str, extra: Mapping[str, Any] | None = None) -> bytes:
        """The body of POST /prompt; `extra` has further fields (`front`, `extra_data`, ...)."""
        head = orjson.dumps({**(extra or {}), "prompt_id": prompt_id, "client_id": client_id})
        return head[:-1] + b',"prompt":' + self.graph_json + b"}"


class Variation:
    """All prompts of a workload. `limits` are those of the server's nodes, where they are known."""

    def __init__(self, workflow: Workflow, vary: Vary, limits: Limits = NO_LIMITS) -> None:
        self.workflow = workflow
        self._choices = choices_of(workflow.graph, vary, limits)
        self._template = _Template(workflow.graph, [choice.places for choice in self._choices])
        read = size_inputs(workflow.graph)
        self._sizing = tuple(
            place.path
            for choice in self._choices
            for place in choice.places
            if (place.node_id, place.input_name) in read
        )
        self._expected: dict[bytes, Mapping[str, ExpectedFiles]] = {}

    @property
    def paths(self) -> tuple[str, ...]:
        """The inputs that vary."""
        return tuple(place.path for choice in self._choices if choice.varies for place in choice.places)

    @property
    def warnings(self) -> tuple[str, ...]:
        """What makes this workload mean less than it seems."""
        return self.warnings_beside(())

    def warnings_beside(self, paths: Iterable[str]) -> tuple[str, ...]:
        """The same where something else puts new values into the inputs `paths`: uploads do."""
        varied = {place.node_id for choice in self._choices if choice.varies for place in choice.places}
        varied |= {place_of(self.workflow.graph, path).node_id for path in paths}
        if not varied:
            return (NOTHING_VARIES,)
        if not varied & upstream(self.workflow.graph, self.workflow.shape.working):
            return (ONLY_OUTPUTS_VARY,)
        return ()

    def draw(self, rng: Random, index: int = 0) -> Draw:
        """The prompt with this number; `index` counts for `seed: increment` alone, the rest comes from `rng`."""
        drawn = [choice.draw(rng, index) for choice in self._choices]
        values = {
            place.path: value for choice, value in zip(self._choices, drawn, strict=True) for place in choice.places
        }
        return Draw(values, self._template.filled(drawn), self._expectation(values))

    def with_inputs(self, drawn: Draw, inputs: Mapping[str, Any]) -> Draw:
        """`drawn` with `inputs` (path -> value) in the place of what it has; ScenarioError when a path names none."""
        values = {**drawn.values, **inputs}
        graph = applied(self.workflow.graph, values)
        return Draw(values, orjson.dumps(graph), expected_outputs(graph))

    def _expectation(self, values: Mapping[str, Any]) -> Mapping[str, ExpectedFiles]:
        if not self._sizing:
            return self.workflow.expected
        sizing = {path: values[path] for path in self._sizing}
        key = orjson.dumps(sizing)
        found = self._expected.get(key)
        if found is None:
            found = expected_outputs(applied(self.workflow.graph, sizing))
            if len(self._expected) < MAX_SIZES:
                self._expected[key] = found
        return found


def check_variation(workflow: Workflow, vary: Vary) -> None:
    """Raises ScenarioError for what in `vary` does not fit the workflow, all mistakes together."""
    choices_of(workflow.graph, vary, NO_LIMITS)


class _Workload(Protocol):
    """What a scenario's plan calls a workload, as far as it matters here."""

    @property
    def graph(self) -> Mapping[str, Any]: ...
    @property
    def vary(self) -> Vary: ...


def warnings_for(workload: _Workload, besides: Iterable[str] = ()) -> tuple[str, ...]:
    """What makes this workload mean less than it seems, in words to show; `besides` vary without its `vary`."""
    return Variation(Workflow.from_graph(workload.graph), workload.vary).warnings_beside(besides)


def applied(graph: Graph, values: Mapping[str, Any]) -> dict[str, Any]:
    """The graph with `values` (path -> value) put in; only the nodes that change are copied."""
    changed: dict[str, Any] = dict(graph)
    for path, value in values.items():
        place = place_of(graph, path)
        node = changed[place.node_id]
        changed[place.node_id] = {**node, "inputs": {**node["inputs"], place.input_name: value}}
    return changed


@dataclass(slots=True)
class _Template:
    """The graph as pieces of JSON, with a gap for each place; `order` says which choice fills each gap."""

    pieces: list[bytes] = field(init=False)
    order: list[int] = field(init=False)

    def __init__(self, graph: Graph, groups: Sequence[Iterable[Place]]) -> None:
        places = [(place, number) for number, group in enumerate(groups) for place in group]
        mark = _unused_mark(orjson.dumps(graph))
        marked = applied(graph, {place.path: f"{mark}{number}" for place, number in places})
        first, *rest = orjson.dumps(marked).split(f'"{mark}'.encode())
        numbered = [piece.split(b'"', 1) for piece in rest]
        self.pieces = [first, *(after for _, after in numbered)]
        self.order = [int(number) for number, _ in numbered]

    def filled(self, drawn: Sequence[Any]) -> bytes:
        """The graph with one value a choice put into its gaps."""
        values = [orjson.dumps(value) for value in drawn]
        parts = [self.pieces[0]]
        for number, piece in zip(self.order, self.pieces[1:], strict=True):
            parts.append(values[number])
            parts.append(piece)
        return b"".join(parts)


def _unused_mark(graph_json: bytes) -> str:
    """A text that stands nowhere in the graph."""
    mark = "place:"
    while mark.encode() in graph_json:
        mark = f"_{mark}"
    return mark
