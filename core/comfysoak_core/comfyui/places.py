"""Where in a graph seeds and the positive prompt are, and what a path like `3.seed` names."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from comfysoak_core.comfyui.shape import Graph, GraphShape, is_link, upstream
from comfysoak_core.errors import ScenarioError

SEED_INPUTS: Final = ("seed", "noise_seed")
_NUMBER_INPUTS: Final = ("value", "seed", "int", "number")
_TEXT_INPUTS: Final = ("text", "text_g", "text_l", "clip_l", "clip_g", "t5xxl", "prompt")
_STRING_INPUTS: Final = ("value", "text", "string", "prompt")

_REPEATERS: Final = ("RepeatLatentBatch", "RepeatImageBatch")

Limits = Mapping[tuple[str, str], tuple[int, int]]  # (class, input) -> least and greatest value, from /object_info
NO_LIMITS: Final[Limits] = {}
_SEED_MOST: Final = 2**32 - 1  # what nodes take that use numpy; the stock samplers take 64 bits
_WIDE_SEED_MOST: Final = 2**50 - 1
_WIDE: Final = frozenset({"KSampler", "KSamplerAdvanced", "SamplerCustom", "RandomNoise"})


@dataclass(frozen=True, slots=True, order=True)
class Place:
    """One input of one node."""

    node_id: str
    input_name: str

    @property
    def path(self) -> str:
        """`node.input`, as scenarios and recordings write it."""
        return f"{self.node_id}.{self.input_name}"

    def value(self, graph: Graph) -> Any:
        """What the graph has there."""
        return graph[self.node_id]["inputs"][self.input_name]


def place_of(graph: Graph, path: str) -> Place:
    """The input a path names; ScenarioError with the nearest right one when it names none."""
    nodes = [node_id for node_id in graph if path.startswith(f"{node_id}.")]
    for node_id in sorted(nodes, key=len, reverse=True):
        name = path[len(node_id) + 1 :]
        if name in graph[node_id]["inputs"]:
            return Place(node_id, name)
    raise ScenarioError(f"{path} names no input of the workflow", _nearest(graph, path))


def _nearest(graph: Graph, path: str) -> str:
    """A remedy: the path that was meant, by spelling, or by the class or title of its node."""
    paths: dict[str, str] = {}
    for node_id, node in graph.items():
        title = node.get("_meta", {}).get("title") if isinstance(node.get("_meta"), dict) else None
        for name in node["inputs"]:
            for known_as in (node_id, node["class_type"], title):
                paths.setdefault(f"{known_as}.{name}".lower(), f"{node_id}.{name} ({node['class_type']})")
    found = difflib.get_close_matches(path.lower(), list(paths), 1, 0.5)
    if found:
        return f"Write `node.input`; the nearest is {paths[found[0]]}."
    return f"Write `node.input`, for example {', '.join(list(dict.fromkeys(paths.values()))[:5])}."


def seed_places(graph: Graph) -> list[Place]:
    """Every seed: whole numbers in inputs called seed or noise_seed, or in the node they are linked to."""
    found: dict[Place, None] = {}
    for node_id in graph:
        for name in SEED_INPUTS:
            place = _held(graph, Place(node_id, name), _NUMBER_INPUTS, int)
            if place is not None:
                found[place] = None
    return list(found)


def seed_limits(graph: Graph, place: Place, limits: Limits = NO_LIMITS) -> tuple[int, int]:
    """The least and the greatest seed that may be put there."""
    node_class = graph[place.node_id]["class_type"]
    told = limits.get((node_class, place.input_name))
    if told is not None:
        return told
    return 0, _WIDE_SEED_MOST if node_class in _WIDE else _SEED_MOST


def batch_places(graph: Graph) -> list[Place]:
    """Where it is said how many pictures there are: `batch_size` of what makes them, else what repeats them.

    Raises ScenarioError when there is neither: then the scenario has to name it.
    """
    needed = upstream(graph, GraphShape.of(graph).outputs)
    for name, classes in (("batch_size", None), ("amount", _REPEATERS)):
        asked = [node for node in graph if node in needed and (not classes or graph[node]["class_type"] in classes)]
        places = [_held(graph, Place(node_id, name), _NUMBER_INPUTS, int) for node_id in asked]
        found = list(dict.fromkeys(place for place in places if place is not None))
        if found:
            return found
    what = "no node of the workflow makes a batch: none has a batch_size, and none repeats a batch"
    raise ScenarioError(what, "Name the input: batch: {input: 5.amount, sizes: [1, 2, 4]}")


def positive_prompt_places(graph: Graph) -> list[Place]:
    """The text inputs of the one encoder whose conditioning the samplers take as positive.

    Raises ScenarioError when there is none, or more than one: then the scenario has to name it.
    """
    encoders: dict[str, list[Place]] = {}
    for node_id, source in _positive_sources(graph):
        _collect_encoders(graph, source, encoders, {node_id})
    if len(encoders) == 1:
        return next(iter(encoders.values()))
    if not encoders:
        what = "no positive prompt was found in the workflow: no sampler's `positive` leads to a text"
        raise ScenarioError(what, "Name the input: inputs: {6.text: [a cat, a dog]}")
    names = " and ".join(f"{places[0].path} ({graph[places[0].node_id]['class_type']})" for places in encoders.values())
    path = next(iter(encoders.values()))[0].path
    what = f"the positive prompt is ambiguous: {names} lead to it"
    raise ScenarioError(what, f"Name the one you mean: inputs: {{{path}: [a cat, a dog]}}")


def _positive_sources(graph: Graph) -> Iterator[tuple[str, str]]:
    """Node id and source of each link into an input that takes the positive conditioning."""
    for node_id, node in graph.items():
        for name, value in node["inputs"].items():
            wanted = name == "positive" or (name == "conditioning" and "Guider" in node["class_type"])
            if wanted and is_link(value):
                yield node_id, value[0]


def _collect_encoders(graph: Graph, node_id: str, encoders: dict[str, list[Place]], seen: set[str]) -> None:
    """Go up from `node_id` through nodes that change conditioning to those that make it from a text."""
    waiting = [node_id]
    while waiting:
        here = waiting.pop()
        if here in seen or here not in graph:
            continue
        seen.add(here)
        texts = [_held(graph, Place(here, name), _STRING_INPUTS, str) for name in _TEXT_INPUTS]
        places = [place for place in texts if place is not None]
        if places:
            encoders[here] = places
            continue
        for name, value in graph[here]["inputs"].items():
            if is_link(value) and (name == "positive" or "conditioning" in name):
                waiting.append(value[0])


def _held(graph: Graph, place: Place, names: tuple[str, ...], kind: type) -> Place | None:
    """Where the value of an input of this kind is held: there, or in the node it is linked to; None: nowhere."""
    value = graph[place.node_id]["inputs"].get(place.input_name)
    if type(value) is kind:
        return place
    if not is_link(value) or value[0] not in graph:
        return None
    inputs = graph[value[0]]["inputs"]
    name = next((name for name in names if type(inputs.get(name)) is kind), None)
    return None if name is None else Place(value[0], name)
