"""Workflows known again by the shape of their graphs."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from comfysoak_core.comfyui.shape import graph_or_none
from comfysoak_core.trace.graphs import Workflows, choices_in, inputs_of

NAMES = st.sampled_from("abcdef")
LINKS = st.tuples(st.integers(0, 7), st.integers(0, 1))


@st.composite
def graphs(draw: st.DrawFn, *, sound: bool = False) -> dict[str, Any]:
    """Up to eight nodes; unless they are to be `sound` linked in any way, also in circles and to none that is there."""
    count = draw(st.integers(1, 8))
    nodes = {}
    for number in range(count):
        inputs: dict[str, Any] = {name: draw(st.integers(0, 9)) for name in draw(st.sets(NAMES, max_size=2))}
        links = [(to, slot) for to, slot in draw(st.lists(LINKS, max_size=3)) if to < number or not sound]
        inputs |= {f"link{index}": [str(to), slot] for index, (to, slot) in enumerate(links)}
        nodes[str(number)] = {"class_type": draw(st.sampled_from(["A", "B", "C"])), "inputs": inputs}
    return nodes


def renamed(graph: dict[str, Any], prefix: str) -> dict[str, Any]:
    """The same graph with other ids, in another order, and other values."""

    def value(found: Any) -> Any:
        return [f"{prefix}{found[0]}", found[1]] if isinstance(found, list) else 77

    return {
        f"{prefix}{node_id}": {
            "class_type": node["class_type"],
            "inputs": {name: value(found) for name, found in reversed(node["inputs"].items())},
        }
        for node_id, node in reversed(graph.items())
    }


@given(graphs(sound=True))
def test_ids_and_values_do_not_matter(graph: dict[str, Any]) -> None:
    """Another export of the same workflow has its name, and its inputs are those of the first one's nodes."""
    workflows = Workflows()
    first, second = workflows.know(graph), workflows.know(renamed(graph, "x"))
    assert first.name == second.name
    assert sorted(second.ids.values()) == sorted(graph)
    for theirs, ours in second.ids.items():
        assert graph[ours]["class_type"] == graph[theirs.removeprefix("x")]["class_type"]
    assert set(inputs_of(renamed(graph, "x"), second.ids)) == set(inputs_of(graph, first.ids))
    assert len(workflows.examples) == 1


@given(graphs(), graphs())
def test_a_name_is_the_same_in_every_trace(one: dict[str, Any], other: dict[str, Any]) -> None:
    """Names do not depend on what was met before."""
    workflows = Workflows()
    workflows.know(one)
    assert workflows.know(other).name == Workflows().know(other).name


def test_what_is_no_graph() -> None:
    """Documents of another shape are none."""
    odds: list[object] = [None, [], {}, {"1": None}, {"1": {"class_type": 3, "inputs": {}}}, {"1": {"class_type": "A"}}]
    for odd in odds:
        assert graph_or_none(odd) is None


def test_choices_are_lists_and_no_uploaded_files() -> None:
    """Old and new declarations of a choice count; names of uploaded pictures are somebody's."""
    required = {
        "a": [["x", "y"]],
        "b": ["COMBO", {"options": ["x"]}],
        "c": ["STRING", {}],
        "d": [["me.png"], {"image_upload": True}],
    }
    told = {"input": {"required": required, "optional": {"e": [[], {}], "f": None}, "hidden": 3}}
    assert set(choices_in(told)) == {"a", "b", "e"}
    assert list(choices_in(None)) == list(choices_in({"input": None})) == []
