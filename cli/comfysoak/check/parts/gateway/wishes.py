"""What to ask for: something that differs from what stands there, and something ComfyUI refuses without running it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Final

from comfysoak.check.conversation.graphs import SEED_MOST
from comfysoak.check.parts.gateway.arrival import Arrival, Way, class_of, inputs, places_of
from comfysoak.check.parts.gateway.layout import Configuration
from comfysoak_core.comfyui.node_classes import NodeClass
from comfysoak_core.comfyui.shape import Graph, is_output_class, upstream
from comfysoak_core.comfyui.vary import NodeMapping
from comfysoak_core.gateway.api import Api, Wish

PROMPT: Final = "a red apple"
Range = tuple[float | None, float | None]  # least and greatest value of an input; None: not told
Described = Callable[[str], Mapping[str, Any] | None]  # a class as /object_info has it; None: not known
RangeOf = Callable[[str, str], Range]  # by class and input
_SIZES: Final = ((256, 192), (192, 256), (320, 256), (512, 384), (768, 512), (1024, 768))


def telling_wish(
    api: Api, graph: Graph | None, mappings: tuple[NodeMapping, ...] | None, range_of: RangeOf, *, ignores_size: bool
) -> Wish:
    """Two pictures of a small size that the workflow does not have, so that both can be told when they arrive."""
    n = 2 if api.n is not None and _takes("n", 2, graph, mappings, range_of) else 1
    taken = _numbers(graph)
    sizes = [
        size
        for size in _SIZES
        if not taken & set(size)
        and _takes("width", size[0], graph, mappings, range_of)
        and _takes("height", size[1], graph, mappings, range_of)
    ]
    size = None if api.size is None or ignores_size or not sizes else sizes[0]
    return Wish(PROMPT, n=n, size=size)


def refused_wish(graph: Graph, arrivals: Iterable[Arrival], range_of: RangeOf) -> Wish | None:
    """One that ComfyUI's validation refuses, so that nothing runs; None: nothing is known to be refused.

    From where the fields of an earlier request arrived. ComfyUI runs the outputs that are sound beside one that is
    not: every output must need the input.
    """
    outputs = frozenset(node_id for node_id in graph if is_output_class(class_of(graph, node_id)))
    for one in arrivals:
        node_id, _, key = one.place.rpartition(".")
        if one.way is not Way.ARRIVED or one.field not in {"n", "width"} or not outputs:
            continue
        least, _ = range_of(class_of(graph, node_id), key)
        needed = all(node_id in upstream(graph, frozenset({output})) for output in outputs)
        if least is not None and least > 0 and needed:
            return Wish(PROMPT, n=0) if one.field == "n" else Wish(PROMPT, size=(0, 0))
    return None


def refusals(
    found: Configuration, graph: Graph, mappings: tuple[NodeMapping, ...], model: str, described: Described
) -> Iterator[str]:
    """What of its configuration ComfyUI refuses, when it is written into the workflow: in words, with the remedy."""
    for node_id, key in places_of("model", mappings):
        offered = offered_in(described(class_of(graph, node_id)) or {}, key)
        if offered is not None and model not in offered:
            near = ", ".join(offered[:3]) or "none"
            yield f"IMAGE_GENERATION_MODEL is {model!r}, and {class_of(graph, node_id)} offers {near}"
    for node_id, key in places_of("seed", mappings):
        _, most = range_in(described(class_of(graph, node_id)) or {}, key)
        if most is not None and most < SEED_MOST:
            yield f"seeds go up to 2^50, and {node_id}.{key} takes {most:.0f} at most: take the mapping of seed away"
    for kind, value in _configured(found).items():
        for node_id, key in places_of(kind, mappings):
            least, most = range_in(described(class_of(graph, node_id)) or {}, key)
            if (least is not None and value < least) or (most is not None and value > most):
                yield f"{kind} is {value} by default, and {node_id}.{key} takes {least} to {most}"


def offered_in(described: Mapping[str, Any], name: str) -> list[str] | None:
    """The values an input may be chosen from, as /object_info has them; None: it is no choice."""
    spec = NodeClass("", described).inputs.get(name)
    return None if spec is None or spec.choices is None else [str(value) for value in spec.choices]


def range_in(described: Mapping[str, Any], name: str) -> Range:
    """The range of an input in a class as /object_info describes it."""
    spec = NodeClass("", described).inputs.get(name)
    settings = spec.settings if spec is not None else {}
    return _number(settings.get("min")), _number(settings.get("max"))


def input_names(described: Mapping[str, Any]) -> frozenset[str]:
    """The names of all inputs of a class, hidden ones too."""
    by_kind = described.get("input")
    groups = by_kind.values() if isinstance(by_kind, dict) else ()
    return frozenset(str(name) for group in groups if isinstance(group, dict) for name in group)


def _takes(
    kind: str, value: int, graph: Graph | None, mappings: tuple[NodeMapping, ...] | None, range_of: RangeOf
) -> bool:
    """Whether every input it is mapped to takes this value, as far as is known."""
    if graph is None or mappings is None:
        return True
    for node_id, key in places_of(kind, mappings):
        least, most = range_of(class_of(graph, node_id), key)
        if (least is not None and value < least) or (most is not None and value > most):
            return False
    return True


def _configured(found: Configuration) -> dict[str, int]:
    """The numbers a gateway writes that nobody asked for."""
    steps = found.document.get("IMAGE_STEPS")
    return {"steps": steps} if type(steps) is int else {}


def _numbers(graph: Graph | None) -> set[int]:
    values = (value for node_id in graph or () for value in inputs(graph or {}, node_id).values())
    return {value for value in values if type(value) is int}


def _number(value: object) -> float | None:
    return value if isinstance(value, int | float) and not isinstance(value, bool) else None
