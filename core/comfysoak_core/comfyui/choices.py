"""What is drawn for each prompt, and into which inputs it goes: `vary` and a graph made into a list of choices."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from random import Random
from typing import Any, Final

from comfysoak_core.comfyui.places import (
    SEED_INPUTS,
    Limits,
    Place,
    batch_places,
    place_of,
    positive_prompt_places,
    seed_limits,
    seed_places,
)
from comfysoak_core.comfyui.shape import Graph
from comfysoak_core.comfyui.vary import NodeMapping, Range, Vary
from comfysoak_core.errors import Problem, ScenarioError

Drawing = Callable[[Random, int], Any]


@dataclass(frozen=True, slots=True)
class Choice:
    """One value a prompt, put into one or more places."""

    places: tuple[Place, ...]
    draw: Drawing
    varies: bool = True


def choices_of(graph: Graph, vary: Vary, limits: Limits) -> list[Choice]:
    """The choices of a workload; of two that go for one place the one named more explicitly wins.

    Raises ScenarioError for all that does not fit the graph together.
    """
    problems: list[Problem] = []
    found: list[Choice] = []
    for part in (_seed_choices(graph, vary, limits), _prompt_choices(graph, vary), _batch_choices(graph, vary)):
        found.extend(_collected(part, problems))
    for number, mapping in enumerate(vary.nodes):
        found.extend(_collected(_mapped(graph, vary, mapping, limits), problems, f"node mapping {number + 1}"))
    for path, values in vary.inputs.items():
        found.extend(_collected(_input_choice(graph, path, values), problems, "vary.inputs"))
    if problems:
        raise ScenarioError.of(problems)
    return list(_each_place_once(found))


def _collected(part: Iterator[Choice], problems: list[Problem], where: str = "") -> list[Choice]:
    try:
        return list(part)
    except ScenarioError as error:
        problems.extend(replace(problem, where=problem.where or where) for problem in error.problems)
        return []


def _each_place_once(choices: list[Choice]) -> Iterator[Choice]:
    """Later choices take places from earlier ones; a choice without places is none."""
    taken: set[Place] = set()
    kept: list[Choice] = []
    for choice in reversed(choices):
        places = tuple(place for place in choice.places if place not in taken)
        taken.update(places)
        if places:
            kept.append(replace(choice, places=places))
    return reversed(kept)


def _seed_choices(graph: Graph, vary: Vary, limits: Limits) -> Iterator[Choice]:
    for place in seed_places(graph):
        yield from _seed_choice(graph, vary, (place,), limits)


def _seed_choice(graph: Graph, vary: Vary, places: tuple[Place, ...], limits: Limits) -> Iterator[Choice]:
    """One seed for `places`: drawn, counted up from what the graph has, or one number."""
    bounds = [seed_limits(graph, place, limits) for place in places]
    least, most = max(low for low, _ in bounds), min(high for _, high in bounds)
    if vary.seed == "random":
        yield Choice(places, lambda rng, _index: rng.randint(least, most))
    elif vary.seed == "increment":
        value = places[0].value(graph)
        begin = value if type(value) is int else least
        span = most - least + 1
        yield Choice(places, lambda _rng, index: least + (begin - least + index) % span)
    elif type(vary.seed) is int:
        yield _constant(places, vary.seed)


def _prompt_choices(graph: Graph, vary: Vary) -> Iterator[Choice]:
    if vary.prompts and not any(mapping.type == "prompt" for mapping in vary.nodes):
        yield _one_of(tuple(positive_prompt_places(graph)), vary.prompts)


def _batch_choices(graph: Graph, vary: Vary) -> Iterator[Choice]:
    if vary.batch:
        named = vary.batch_input
        yield _one_of(tuple(batch_places(graph)) if named is None else (place_of(graph, named),), vary.batch)


def _input_choice(graph: Graph, path: str, values: tuple[Any, ...] | Range) -> Iterator[Choice]:
    place = place_of(graph, path)
    if isinstance(values, Range):
        yield Choice((place,), _from_range(values, place.value(graph)), values.low != values.high)
    elif values:
        yield _one_of((place,), values)
    else:
        raise ScenarioError(f"{path} has no values", "Write a list such as [20, 30], or {from: 10, to: 30}.")


def _from_range(values: Range, present: object) -> Drawing:
    """Whole numbers where both ends are, and the input holds one; 0 to 1 is taken for a share, unless written whole."""
    low, high = values.low, values.high
    whole = float(low).is_integer() and float(high).is_integer()
    if whole and (type(low) is type(high) is int or (type(present) is int and high - low > 1)):
        return lambda rng, _index: rng.randint(int(low), int(high))
    return lambda rng, _index: rng.uniform(low, high)


def _one_of(places: tuple[Place, ...], values: tuple[Any, ...]) -> Choice:
    return Choice(places, lambda rng, _index: rng.choice(values), len(values) > 1)


def _constant(places: tuple[Place, ...], value: Any) -> Choice:
    return Choice(places, lambda _rng, _index: value, varies=False)


OWN_KEYS: Final = {  # where the key of a mapping is empty or null
    "prompt": "text",
    "negative_prompt": "text",
    "width": "width",
    "height": "height",
    "n": "batch_size",
    "steps": "steps",
}


def _mapped(graph: Graph, vary: Vary, mapping: NodeMapping, limits: Limits) -> Iterator[Choice]:
    """One entry of COMFYUI_WORKFLOW_NODES. Types whose value a request brings (size, steps, ...) stay as they are."""
    places = tuple(_mapped_place(graph, mapping, node_id) for node_id in mapping.node_ids)
    if not places:
        return
    if mapping.type == "seed":
        yield from _seed_choice(graph, vary, places, limits)
    elif mapping.type == "prompt" and vary.prompts:
        yield _one_of(places, vary.prompts)
    elif not mapping.type and mapping.value is not None:
        yield _constant(places, mapping.value)


def _mapped_place(graph: Graph, mapping: NodeMapping, node_id: str) -> Place:
    key = mapping.key or OWN_KEYS.get(mapping.type or "")
    named = f"the mapping of type {mapping.type!r}"
    if not key:
        raise ScenarioError(f"{named} has no key", 'Write the input it goes into: "key": "seed"')
    if node_id not in graph:
        remedy = f"Nodes of the workflow are: {', '.join(list(graph)[:20])}."
        raise ScenarioError(f"{named} names node {node_id}, which is not there", remedy)
    try:
        return place_of(graph, f"{node_id}.{key}")
    except ScenarioError as error:
        what, remedy = error.problems[0].what, error.problems[0].remedy
        if mapping.key == "text" and mapping.type not in {"prompt", "negative_prompt"}:
            hint = next((name for name in SEED_INPUTS if name in graph[node_id]["inputs"]), "")
            remedy = f'A key that is left out means "text": write the right one. {remedy}'
            remedy = f'{remedy} For example "key": "{hint}".' if mapping.type == "seed" and hint else remedy
        raise ScenarioError(f"{named}: {what}", remedy) from None
