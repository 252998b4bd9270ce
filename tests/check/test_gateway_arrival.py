"""What arrived in a graph, and what would be refused: values in, values out."""

from __future__ import annotations

from typing import Any

import pytest

from comfysoak.check.parts.gateway.arrival import Arrival, Way, arrivals, seed_arrival
from comfysoak.check.parts.gateway.layout import LAYOUTS, Configuration, handed_over, mapping_of
from comfysoak.check.parts.gateway.wishes import offered_in, range_in, refused_wish, telling_wish
from comfysoak_core.comfyui.vary import NodeMapping
from comfysoak_core.gateway.api import OPEN_WEBUI, Wish

SIZE = ("width", "height")
MAPPINGS = (
    NodeMapping("prompt", "value", ("2",)),
    NodeMapping("width", "", ("1",)),  # the type's own key
    NodeMapping("height", "height", ("1",)),
    NodeMapping("n", None, ("1",)),
)
CLASSES = {
    "EmptyImage": frozenset({"width", "height", "batch_size", "color"}),
    "PrimitiveString": frozenset({"value"}),
    "SaveImage": frozenset({"images", "filename_prefix"}),
}


def graph(**inputs: Any) -> dict[str, Any]:
    """What the example of the contract becomes, with these inputs of its first node."""
    first = {"width": 256, "height": 192, "batch_size": 2, "color": 0} | inputs
    return {
        "1": {"class_type": "EmptyImage", "inputs": first},
        "2": {"class_type": "PrimitiveString", "inputs": {"value": "cat"}},
        "9": {"class_type": "SaveImage", "inputs": {"images": ["1", 0], "filename_prefix": ["2", 0]}},
    }


WISH = Wish("cat", n=2, size=(256, 192))


def ways(found: dict[str, Any], mappings: tuple[NodeMapping, ...] | None = MAPPINGS) -> dict[str, Way]:
    return {one.field: one.way for one in arrivals(WISH, found, mappings, CLASSES.get)}


@pytest.mark.parametrize("mappings", [MAPPINGS, None], ids=["known", "not known"])
def test_all_of_a_wish_arrives(mappings: tuple[NodeMapping, ...] | None) -> None:
    """By the mapping, or by value where that is not known; an empty key is the type's own."""
    assert set(ways(graph(), mappings).values()) == {Way.ARRIVED}


@pytest.mark.parametrize(
    ("found", "mappings", "field", "way"),
    [
        (graph(width=64), MAPPINGS, "width", Way.DIFFERENT),
        (graph(width=64), None, "width", Way.DIFFERENT),
        (graph(batch_size=1), None, "n", Way.DIFFERENT),
        (graph(breadth=256), (NodeMapping("width", "breadth", ("1",)),), "width", Way.NO_INPUT),
        (graph(width=192, height=256), (NodeMapping("width", "height", ("1",)),), "width", Way.CROSSED),
        (graph(), (NodeMapping("prompt", "value", ("2",)),), "n", Way.NOT_MAPPED),
        (graph(), (NodeMapping("width", "width", ("77",)),), "width", Way.DIFFERENT),
        ({"1": None, "2": 3}, None, "prompt", Way.NOT_MAPPED),
    ],
)
def test_each_way_of_not_arriving_is_told_apart(
    found: dict[str, Any], mappings: tuple[NodeMapping, ...] | None, field: str, way: Way
) -> None:
    """A key that is no input is written, and nothing looks at it."""
    assert ways(found, mappings)[field] is way


def test_a_seed_is_one_that_differs_between_two_requests() -> None:
    """A mapped one that stays is told; one that nobody mapped is no seed."""
    seed = (NodeMapping("seed", "color", ("1",)),)
    assert seed_arrival(graph(color=1), graph(color=2), seed, CLASSES.get).way is Way.ARRIVED
    assert seed_arrival(graph(color=1), graph(color=1), seed, CLASSES.get).way is Way.DIFFERENT
    assert seed_arrival(graph(color=1), None, seed, CLASSES.get).way is Way.NOT_MAPPED
    assert seed_arrival(graph(), graph(), (), CLASSES.get).way is Way.NOT_MAPPED
    assert seed_arrival(graph(seed=1), graph(seed=2), None, lambda _: None).way is Way.ARRIVED


def ranged(_class: str, name: str) -> tuple[float | None, float | None]:
    return {"width": (1.0, 4096.0), "height": (1.0, 4096.0), "batch_size": (1.0, 4096.0)}.get(name, (None, None))


def test_a_wish_differs_from_what_stands_there_and_fits_its_inputs() -> None:
    """So that what arrives can be told from what was there."""
    wish = telling_wish(OPEN_WEBUI, graph(), MAPPINGS, ranged, ignores_size=False)
    assert wish.size is not None
    assert not set(wish.size) & {256, 192}
    assert wish.n == 2
    small = telling_wish(OPEN_WEBUI, graph(), MAPPINGS, lambda *_: (0.0, 1.0), ignores_size=False)
    assert (small.size, small.n) == (None, 1)


def test_a_request_that_must_fail_is_one_that_every_output_needs() -> None:
    """ComfyUI runs the sound outputs beside one that is refused."""
    arrived = [Arrival("width", Way.ARRIVED, "1.width", 256, "EmptyImage")]
    assert refused_wish(graph(), arrived, ranged) == Wish("a red apple", size=(0, 0))
    assert refused_wish(graph(), arrived, lambda *_: (0.0, 9.0)) is None
    two = graph() | {"10": {"class_type": "SaveImage", "inputs": {"images": ["11", 0], "filename_prefix": "x"}}}
    assert refused_wish(two, arrived, ranged) is None
    assert refused_wish(graph(), [Arrival("width", Way.DIFFERENT, "1.width")], ranged) is None


def test_object_info_of_both_ages_is_read() -> None:
    """Lists of values stand first, or among the options."""
    old = {"input": {"required": {"ckpt_name": [["a", "b"]], "width": ["INT", {"min": 16, "max": 512}]}}}
    new = {"input": {"required": {"ckpt_name": ["COMBO", {"options": ["a", "b"]}]}}}
    assert offered_in(old, "ckpt_name") == offered_in(new, "ckpt_name") == ["a", "b"]
    assert offered_in(old, "width") is None
    assert range_in(old, "width") == (16, 512)
    assert range_in({}, "width") == (None, None)


def test_pictures_that_are_handed_over_depend_on_the_gateway() -> None:
    """New ones take those of some classes; old ones all, once for each node that has any."""
    classes, nodes = {"9": "SaveImage", "10": "SaveAnimatedWEBP"}, ["9", "9", "10"]
    assert handed_over(LAYOUTS["open-webui"], classes, nodes) == 2
    assert handed_over(LAYOUTS["open-webui-old"], classes, nodes) == 6


@pytest.mark.parametrize(
    "document", [{}, {"comfyui": None}, {"comfyui": {"COMFYUI_WORKFLOW": 1}}, {"COMFYUI_WORKFLOW_NODES": {"a": 1}}]
)
def test_a_configuration_that_is_none_is_read_as_that(document: dict[str, Any]) -> None:
    """Nothing raises."""
    found = Configuration.of(document)
    assert (found.graph, found.mappings, found.engine) == (None, None, "")


@pytest.mark.parametrize(
    "entry", [None, [], {"node_ids": [1]}, {"node_ids": None}, {"type": 1}, {"type": "", "value": 5, "node_ids": []}]
)
def test_entries_that_the_gateway_refuses_are_known(entry: object) -> None:
    """Ids that are numbers or null, and values that are no texts."""
    assert mapping_of(entry) is None
