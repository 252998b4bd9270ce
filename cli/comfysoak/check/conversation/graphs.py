"""The graphs a check sends: the workflow as the platform sends it, with other seeds; and one of its own."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import suppress
from random import Random
from typing import Any, Final

from comfysoak.check.checking import Known
from comfysoak.check.settings import Given
from comfysoak_core.comfyui.choices import choices_of
from comfysoak_core.comfyui.node_classes import NodeClass
from comfysoak_core.comfyui.places import Limits
from comfysoak_core.comfyui.shape import Graph
from comfysoak_core.comfyui.variation import applied
from comfysoak_core.comfyui.vary import NodeMapping, Vary
from comfysoak_core.errors import ScenarioError

MODEL_VARIABLE: Final = "IMAGE_GENERATION_MODEL"
SEED_MOST: Final = 2**50  # that new gateways draw, old ones up to 2^64 - 2; what is beyond 2**53 not every JSON keeps
LEAST_SEEDS: Final = 2**31  # an input that takes fewer is no seed
NOISE_SIDE: Final = 768  # pixels; noise does not compress: 768 x 768 x 3 bytes are 1.7 MiB
NOISE_CLASSES: Final = ("EmptyImage", "ImageAddNoise", "SaveImageWebsocket")


def graph_as_sent(known: Known, variables: Mapping[str, Given]) -> Graph | None:
    """The workflow with what the platform puts into it always: the model of its settings, and fixed values."""
    if known.workflow is None:
        return None
    graph = known.workflow.graph
    for path, value in _fixed(known.mappings or (), variables):
        with suppress(ScenarioError):  # what names no input is told in the part that looks at the mapping
            graph = applied(graph, {path: value})
    return graph


def mapped_models(known: Known, variables: Mapping[str, Given]) -> frozenset[str]:
    """The paths (`4.ckpt_name`) of models that the platform's settings choose, not the workflow."""
    chosen = tuple(mapping for mapping in known.mappings or () if mapping.type == "model")
    return frozenset(path for path, _ in _fixed(chosen, variables))


def _fixed(mappings: tuple[NodeMapping, ...], variables: Mapping[str, Given]) -> Iterator[tuple[str, str]]:
    model = variables.get(MODEL_VARIABLE)
    for mapping in mappings:
        value = model.value if mapping.type == "model" and model is not None else None
        if not mapping.type:
            value = mapping.value
        if value and mapping.key:
            yield from ((f"{node_id}.{mapping.key}", value) for node_id in mapping.node_ids)


def seeds_drawn(graph: Graph, known: Known, rng: Random) -> dict[str, Any]:
    """Path -> a seed: where one is mapped, there and nowhere else, as the platform does; else for the workflow's own.

    Empty: nothing in it is a seed. A mapping onto what cannot be one is not followed: as steps, a seed takes hours.
    """
    limits = _limits(known.object_info)
    mapped = tuple(
        mapping for mapping in known.mappings or () if mapping.type == "seed" and _takes_seeds(graph, mapping, limits)
    )
    paths = {f"{node_id}.{mapping.key}" for mapping in mapped for node_id in mapping.node_ids}
    try:
        choices = choices_of(graph, Vary(nodes=mapped), limits)
    except ScenarioError:
        choices, paths = choices_of(graph, Vary(), limits), set()
    values = {place.path: seed for choice in choices for seed in [choice.draw(rng, 0)] for place in choice.places}
    return {path: seed for path, seed in values.items() if path in paths} or values


def _takes_seeds(graph: Graph, mapping: NodeMapping, limits: Limits) -> bool:
    inputs = [
        (str(graph[node_id].get("class_type")), mapping.key or "") for node_id in mapping.node_ids if node_id in graph
    ]
    return all(limits[one][1] >= LEAST_SEEDS for one in inputs if one in limits)


def _limits(object_info: Mapping[str, Mapping[str, Any]]) -> Limits:
    """The bounds of whole numbers, as the server's own classes declare them."""
    return {
        (name, input_name): (bounds["min"], min(bounds["max"], SEED_MOST))
        for name, info in object_info.items()
        for input_name, bounds in _whole_numbers(info)
        if type(bounds.get("min")) is int and type(bounds.get("max")) is int and bounds["min"] <= SEED_MOST
    }


def _whole_numbers(info: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    for name, spec in NodeClass("", info).inputs.items():
        if spec.type == "INT":
            yield name, spec.settings


def noise_graph(seed: int) -> dict[str, Any]:
    """A picture over 1 MiB that comes as one message and leaves no file."""
    empty, noise, send = NOISE_CLASSES
    side = {"width": NOISE_SIDE, "height": NOISE_SIDE, "batch_size": 1, "color": 0x808080}
    return {
        "1": {"class_type": empty, "inputs": side},
        "2": {"class_type": noise, "inputs": {"image": ["1", 0], "seed": seed, "strength": 0.2}},
        "3": {"class_type": send, "inputs": {"images": ["2", 0]}},
    }
