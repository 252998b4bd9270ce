"""Prompts that are wrong on purpose: what people and programs send by mistake, and a server should refuse.

    mistakes = Mistakes(graph, kinds)          # ScenarioError for a kind that does not fit this graph
    mistake = mistakes.draw(rng)
    wrong = edited(graph, mistake.edits)       # send this; the answer should be 400

A server refuses a prompt only when none of its outputs is left, so a mistake is made as often as it takes to reach them
all. Edits are plain JSON, by path: what stands in the row of a prompt is all it takes to make the same mistake again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any, Final

from comfysoak_core.comfyui.places import place_of
from comfysoak_core.comfyui.shape import Graph, GraphShape, is_link, links_of, upstream
from comfysoak_core.comfyui.stock import GIVES, INPUTS, TAKES, Kind, Number
from comfysoak_core.errors import ScenarioError

BROKEN_JSON: Final = "broken-json"
KILLS_WORKER: Final = "node-without-inputs"
UNREADABLE: Final = frozenset({BROKEN_JSON})  # real servers answer 500, and have refused it all the same

Edits = Mapping[str, Any]  # `node.input` or `node` -> its new value; None takes it out
NO_EDITS: Final[Edits] = {}


@dataclass(frozen=True, slots=True)
class Mistake:
    """One mistake: its kind, and what it changes."""

    kind: str
    edits: Edits


@dataclass(frozen=True, slots=True)
class _Slip:
    """One place where a mistake can be made, and the outputs that fail by it."""

    edits: Edits
    reaches: frozenset[str]


def edited(graph: Mapping[str, Any], edits: Edits) -> dict[str, Any]:
    """The graph with the edits made; only nodes that change are copied. ScenarioError for a path that leads nowhere."""
    changed = dict(graph)
    for path, value in edits.items():
        if path in graph or "." not in path:
            changed[path] = value
            if value is None:
                del changed[path]
            continue
        place = place_of(graph, path)
        node = changed[place.node_id]
        inputs = {name: held for name, held in node["inputs"].items() if name != place.input_name}
        changed[place.node_id] = {**node, "inputs": inputs if value is None else {**inputs, place.input_name: value}}
    return changed


class Mistakes:
    """The mistakes that can be made in one graph; `kinds` names those that are wanted, none means all that fit."""

    def __init__(self, graph: Graph, kinds: Sequence[str] = ()) -> None:
        ends = _ends(graph)
        if not ends:
            what = "no node of this workflow is an output, so a server refuses it as it is"
            raise ScenarioError(what, "Mistakes are for prompts that would succeed without them.")
        found = {kind: tuple(_KINDS[kind](graph, ends)) for kind in kinds or DEFAULT_KINDS}
        fitting = {kind: slips for kind, slips in found.items() if _reach(slips) >= ends}
        unfit = [kind for kind in kinds if kind not in fitting]
        if unfit:
            what = f"this workflow has no place for the mistake {', '.join(unfit)}"
            raise ScenarioError(what, f"Those that fit it: {', '.join(Mistakes(graph).kinds)}.")
        self._ends = ends
        self._slips = fitting

    @property
    def kinds(self) -> tuple[str, ...]:
        """Those that fit the graph."""
        return tuple(self._slips)

    def draw(self, rng: Random) -> Mistake:
        """A mistake, each kind as often as the others."""
        kind = rng.choice(self.kinds)
        slips, missed = self._slips[kind], self._ends
        edits: dict[str, Any] = {}
        while True:
            slip = rng.choice([slip for slip in slips if not missed or slip.reaches & missed])
            edits |= slip.edits
            missed -= slip.reaches
            if not missed:
                return Mistake(kind, edits)


def _ends(graph: Graph) -> frozenset[str]:
    """Nodes for whose sake a server may run the graph: by their class, or because nobody takes anything from them."""
    used = {source for node in graph.values() for _, source, _ in links_of(node["inputs"])}
    return GraphShape.of(graph).outputs | (frozenset(graph) - used)


def _reach(slips: Sequence[_Slip]) -> frozenset[str]:
    return frozenset().union(*(slip.reaches for slip in slips))


def _on_inputs(graph: Graph, ends: frozenset[str], wrong: Callable[[str, str], Iterator[Any]]) -> Iterator[_Slip]:
    """A slip for each wrong value that `wrong` has for an input of a stock node that some output needs."""
    needs = {end: upstream(graph, frozenset({end})) for end in ends}
    for node_id, node in graph.items():
        reaches = frozenset(end for end, needed in needs.items() if node_id in needed)
        for name in INPUTS.get(node["class_type"], ()):
            if reaches and name in node["inputs"]:
                for value in wrong(node_id, name):
                    yield _Slip({f"{node_id}.{name}": value}, reaches)


def _missing_input(graph: Graph, ends: frozenset[str]) -> Iterator[_Slip]:
    yield from _on_inputs(graph, ends, lambda _node, _name: iter((None,)))
    for end in sorted(ends):  # of a node not known here some input will be required
        if graph[end]["class_type"] not in INPUTS and graph[end]["inputs"]:
            yield _Slip({f"{end}.{name}": None for name in graph[end]["inputs"]}, frozenset({end}))


def _of_kind(graph: Graph, ends: frozenset[str], kind: Kind, value: str) -> Iterator[_Slip]:
    def wrong(node_id: str, name: str) -> Iterator[Any]:
        if INPUTS[graph[node_id]["class_type"]][name] is kind:
            yield value

    return _on_inputs(graph, ends, wrong)


def _bad_type(graph: Graph, ends: frozenset[str]) -> Iterator[_Slip]:
    def wrong(node_id: str, name: str) -> Iterator[Any]:
        if isinstance(INPUTS[graph[node_id]["class_type"]][name], Number):
            yield "many"

    return _on_inputs(graph, ends, wrong)


def _out_of_range(graph: Graph, ends: frozenset[str]) -> Iterator[_Slip]:
    def wrong(node_id: str, name: str) -> Iterator[Any]:
        bounds = INPUTS[graph[node_id]["class_type"]][name]
        if isinstance(bounds, Number):
            yield int(bounds.least) - 1
            if bounds.most < _WIDEST:
                yield int(bounds.most) * 100

    return _on_inputs(graph, ends, wrong)


_WIDEST: Final = 2**50  # beyond, numbers are no longer the same in every JSON


def _links(
    graph: Graph, ends: frozenset[str], wrong: Callable[[str, str, list[Any]], Iterator[list[Any]]]
) -> Iterator[_Slip]:
    """A slip for each wrong link that `wrong` has in place of a link into a stock node, or of those into an output."""

    def of_input(node_id: str, name: str) -> Iterator[Any]:
        value = graph[node_id]["inputs"][name]
        if is_link(value):
            yield from wrong(node_id, name, value)

    yield from _on_inputs(graph, ends, of_input)
    for end in sorted(ends):
        links = {name: value for name, value in graph[end]["inputs"].items() if is_link(value)}
        edits = {f"{end}.{name}": found for name, link in links.items() for found in wrong(end, name, link)}
        if edits and graph[end]["class_type"] not in INPUTS:
            yield _Slip(edits, frozenset({end}))


def _missing_link(graph: Graph, ends: frozenset[str]) -> Iterator[_Slip]:
    return _links(graph, ends, lambda _node, _name, link: iter(([f"{link[0]}-is-not-there", link[1]],)))


def _bad_link(graph: Graph, ends: frozenset[str]) -> Iterator[_Slip]:
    return _links(graph, ends, lambda _node, _name, link: iter(([*link, 0],)))


def _wrong_link(graph: Graph, ends: frozenset[str]) -> Iterator[_Slip]:
    """What comes in is of another type: a model where a picture is wanted."""

    def wrong(node_id: str, name: str, _link: list[Any]) -> Iterator[list[Any]]:
        wanted = TAKES.get(name)
        above = upstream(graph, frozenset({node_id})) - {node_id}
        for other in sorted(above) if wanted and graph[node_id]["class_type"] in INPUTS else ():
            given = GIVES.get(graph[other]["class_type"])
            if given is not None and given != wanted:
                yield [other, 0]

    return _links(graph, ends, wrong)


def _cycle(graph: Graph, ends: frozenset[str]) -> Iterator[_Slip]:
    """A node that takes what it gives."""

    def wrong(node_id: str, name: str, _link: list[Any]) -> Iterator[list[Any]]:
        given = GIVES.get(graph[node_id]["class_type"])
        if given is not None and given == TAKES.get(name):
            yield [node_id, 0]

    return _links(graph, ends, wrong)


def _unknown_node(graph: Graph, ends: frozenset[str]) -> Iterator[_Slip]:
    for node_id, node in graph.items():
        yield _Slip({node_id: {**node, "class_type": f"{node['class_type']}ThatNobodyHas"}}, ends)


def _no_class_type(graph: Graph, ends: frozenset[str]) -> Iterator[_Slip]:
    for node_id, node in graph.items():
        yield _Slip({node_id: {name: value for name, value in node.items() if name != "class_type"}}, ends)


def _no_output(_graph: Graph, ends: frozenset[str]) -> Iterator[_Slip]:
    yield _Slip(dict.fromkeys(sorted(ends)), ends)


def _empty_prompt(graph: Graph, ends: frozenset[str]) -> Iterator[_Slip]:
    yield _Slip(dict.fromkeys(graph), ends)


def _broken_json(_graph: Graph, ends: frozenset[str]) -> Iterator[_Slip]:
    yield _Slip(NO_EDITS, ends)


def _node_without_inputs(graph: Graph, ends: frozenset[str]) -> Iterator[_Slip]:
    """Accepted, and the worker thread may die of it (WORKER_DEAD)."""
    node_class = next(iter(graph.values()))["class_type"]
    yield _Slip({"without-inputs": {"class_type": node_class}}, ends)


_KINDS: Final[Mapping[str, Callable[[Graph, frozenset[str]], Iterator[_Slip]]]] = {
    "missing-input": _missing_input,
    "bad-type": _bad_type,
    "out-of-range": _out_of_range,
    "not-in-list": lambda graph, ends: _of_kind(graph, ends, Kind.CHOICE, "none of these"),
    "missing-file": lambda graph, ends: _of_kind(graph, ends, Kind.FILE, "comfysoak-is-not-there.png"),
    "missing-link": _missing_link,
    "bad-link": _bad_link,
    "wrong-link": _wrong_link,
    "cycle": _cycle,
    "unknown-node": _unknown_node,
    "no-class-type": _no_class_type,
    "no-output": _no_output,
    "empty-prompt": _empty_prompt,
    BROKEN_JSON: _broken_json,
    KILLS_WORKER: _node_without_inputs,
}
KINDS: Final = tuple(_KINDS)
DEFAULT_KINDS: Final = tuple(kind for kind in KINDS if kind != KILLS_WORKER)
