"""Did what was asked for arrive in the graph that ComfyUI got? Pure: graphs and mappings in, findings out."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from comfysoak_core.comfyui.choices import OWN_KEYS
from comfysoak_core.comfyui.places import SEED_INPUTS
from comfysoak_core.comfyui.shape import graph_or_none, links_of, upstream
from comfysoak_core.comfyui.vary import NodeMapping
from comfysoak_core.gateway.api import Wish

InputsOf = Callable[[str], frozenset[str] | None]  # the inputs a node class has; None: not known
Inputs = Mapping[str, Any]

_NAMES: Final = {
    "width": ("width",),
    "height": ("height",),
    "n": ("batch_size", "n", "amount", "num_images"),
    "seed": SEED_INPUTS,
}


class Way(StrEnum):
    """What became of one field of a request."""

    ARRIVED = "arrived"
    NO_INPUT = "was written where no input is"  # ComfyUI takes it, and nothing looks at it
    DIFFERENT = "did not arrive"
    CROSSED = "was written where another belongs"
    NOT_MAPPED = "is not mapped"


@dataclass(frozen=True, slots=True)
class Arrival:
    """One field: where it was looked for, as `node.input`, and what stands there."""

    field: str
    way: Way
    place: str = ""
    found: object = None
    node_class: str = ""


def arrivals(
    wish: Wish, graph: Mapping[str, Any], mappings: tuple[NodeMapping, ...] | None, inputs_of: InputsOf
) -> Iterator[Arrival]:
    """Each field that was asked for, but the seed, which no request names. `mappings` None: they are not known."""
    wanted: dict[str, object] = {"prompt": wish.prompt}
    if wish.size is not None:
        wanted |= {"width": wish.size[0], "height": wish.size[1]}
    if wish.n > 1:
        wanted["n"] = wish.n
    for name, value in wanted.items():
        if mappings is None:
            yield _searched(name, value, graph)
        else:
            places = places_of(name, mappings)
            yield _worst([_written(name, value, *place, graph, inputs_of) for place in places], name, graph)


def seed_arrival(
    first: Mapping[str, Any],
    second: Mapping[str, Any] | None,
    mappings: tuple[NodeMapping, ...] | None,
    inputs_of: InputsOf,
) -> Arrival:
    """Whether a seed is drawn: another in each of two graphs. `second` None: there is but one."""
    places = list(_named_places(first, SEED_INPUTS)) if mappings is None else list(places_of("seed", mappings))
    if not places or second is None:
        return Arrival("seed", Way.NOT_MAPPED)
    found = [_drawn(node_id, key, first, second, inputs_of) for node_id, key in places]
    if mappings is None:  # a seed that somebody left fixed is no mistake where another is drawn
        return next((one for one in found if one.way is Way.ARRIVED), Arrival("seed", Way.NOT_MAPPED))
    return _worst(found, "seed", first)


def places_of(kind: str, mappings: tuple[NodeMapping, ...]) -> Iterator[tuple[str, str]]:
    """Node and key of each place that a type is mapped to, as the gateway reads it."""
    for mapping in mappings:
        if mapping.type == kind:
            for node_id in mapping.node_ids:
                yield node_id, mapping.key or OWN_KEYS.get(kind, "")


def unmapped_place(field: str, graph: Mapping[str, Any]) -> tuple[str, str] | None:
    """An input of the graph that a field could be mapped to, where one has its usual name and holds a value."""
    return next(_named_places(graph, _NAMES.get(field, ())), None)


def inputs(graph: Mapping[str, Any], node_id: str) -> Inputs:
    """The inputs of a node; none where there is no such node."""
    node = graph.get(node_id)
    found = node.get("inputs") if isinstance(node, dict) else None
    return found if isinstance(found, dict) else {}


def class_of(graph: Mapping[str, Any], node_id: str) -> str:
    """The class of a node."""
    node = graph.get(node_id)
    return str(node.get("class_type", "")) if isinstance(node, dict) else ""


def _written(
    name: str, value: object, node_id: str, key: str, graph: Mapping[str, Any], inputs_of: InputsOf
) -> Arrival:
    node_class = class_of(graph, node_id)
    found = inputs(graph, node_id).get(key)
    known = inputs_of(node_class)
    way = Way.ARRIVED if found == value else Way.DIFFERENT
    if way is Way.ARRIVED and known is not None and key not in known:
        way = Way.NO_INPUT
    elif (way is Way.ARRIVED and _belongs_to_another(name, key)) or (name == "prompt" and _is_negative(node_id, graph)):
        way = Way.CROSSED
    return Arrival(name, way, f"{node_id}.{key}", found, node_class)


def _drawn(node_id: str, key: str, first: Mapping[str, Any], other: Mapping[str, Any], inputs_of: InputsOf) -> Arrival:
    node_class = class_of(first, node_id)
    value, before = inputs(first, node_id).get(key), inputs(other, node_id).get(key)
    known = inputs_of(node_class)
    if known is not None and key not in known:
        return Arrival("seed", Way.NO_INPUT, f"{node_id}.{key}", value, node_class)
    drawn = type(value) is int and value != before
    return Arrival("seed", Way.ARRIVED if drawn else Way.DIFFERENT, f"{node_id}.{key}", value, node_class)


def _searched(name: str, value: object, graph: Mapping[str, Any]) -> Arrival:
    """By value, where the mappings are not known."""
    for node_id in graph:
        for key, found in inputs(graph, node_id).items():
            if found == value and type(found) is type(value) and (name == "prompt" or key in _NAMES[name]):
                return Arrival(name, Way.ARRIVED, f"{node_id}.{key}", found, class_of(graph, node_id))
    place = unmapped_place(name, graph)
    if place is None:
        return Arrival(name, Way.NOT_MAPPED)
    node_id, key = place
    return Arrival(name, Way.DIFFERENT, f"{node_id}.{key}", inputs(graph, node_id)[key], class_of(graph, node_id))


def _worst(found: list[Arrival], field: str, graph: Mapping[str, Any]) -> Arrival:
    """Of several places the one that tells most; none: it is not mapped, and where it could be."""
    order = (Way.NO_INPUT, Way.DIFFERENT, Way.CROSSED, Way.ARRIVED)
    if found:
        return min(found, key=lambda one: order.index(one.way))
    place = unmapped_place(field, graph)
    return Arrival(field, Way.NOT_MAPPED, "" if place is None else ".".join(place))


def _belongs_to_another(field: str, key: str) -> bool:
    return (field, key) in {("width", "height"), ("height", "width")}


def _is_negative(node_id: str, graph: Mapping[str, Any]) -> bool:
    """Whether what a node makes is what the picture must not show, and nothing else."""
    whole = graph_or_none(graph)
    if whole is None:
        return False
    fed: dict[str, set[str]] = {"positive": set(), "negative": set()}
    for node in whole.values():
        for name, source, _ in links_of(node["inputs"]):
            if name in fed:
                fed[name] |= upstream(whole, frozenset({source}))
    return node_id in fed["negative"] - fed["positive"]


def _named_places(graph: Mapping[str, Any], names: tuple[str, ...]) -> Iterator[tuple[str, str]]:
    for node_id in graph:
        for name in names:
            if type(inputs(graph, node_id).get(name)) is int:
                yield node_id, name
