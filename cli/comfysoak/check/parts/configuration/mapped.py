"""What a node mapping does to a workflow: whether its keys fit, prompt and seed arrive, the model is there. Pure.

For each id of an entry the gateway sets `workflow[id]["inputs"][key]`. ComfyUI takes inputs that a class does not have,
so what is mapped wrongly is lost in silence.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from comfysoak.check.checking import failed, ok, skipped, warning
from comfysoak.check.conversation.graphs import SEED_MOST
from comfysoak.check.parts.configuration.mapping import TYPES, Target, joined
from comfysoak.check.row import Row
from comfysoak_core.codes import Code
from comfysoak_core.comfyui.choices import OWN_KEYS
from comfysoak_core.comfyui.json_text import excerpt
from comfysoak_core.comfyui.judgement import label
from comfysoak_core.comfyui.node_classes import Input, NodeClass
from comfysoak_core.comfyui.places import SEED_INPUTS, seed_places
from comfysoak_core.comfyui.shape import Graph, GraphShape, is_link, upstream

Classes = Mapping[str, NodeClass]
_WORDS: Final = frozenset({"prompt", "negative_prompt"})
_WHOLE: Final = frozenset({"width", "height", "n", "steps", "seed"})
SEED_MOST_OLD: Final = 2**64 - 2


def keys_row(targets: Sequence[Target], graph: Graph, classes: Classes) -> Row:
    """nodes.keys."""
    id_ = "nodes.keys"
    known = [target for target in targets if target.node_id in graph]
    wrong = [found for target in known for found in _wrong_key(target, graph, classes)]
    wrong += list(_written_twice(known))
    if wrong:
        remedies = dict.fromkeys(remedy for _, remedy in wrong[:3])
        return failed(id_, joined(what for what, _ in wrong), " ".join(remedies))
    cut = [target for target in known if is_link(graph[target.node_id]["inputs"].get(target.key))]
    if cut:
        first = cut[0]
        source = label(graph, graph[first.node_id]["inputs"][first.key][0])
        what = f"{first.type} overwrites the link from {source} into {first.key} of {label(graph, first.node_id)}"
        remedy = f"Map {first.type} onto {source} instead, or take that node out of the workflow."
        return warning(id_, f"{what}, which has no effect there any longer", remedy)
    if not known:
        return skipped(id_, "nothing is mapped onto a node of the workflow")
    return ok(id_, ", ".join(f"{target.type} to {target.node_id}.{target.key}" for target in known[:10]))


def _inputs(node_id: str, graph: Graph, classes: Classes) -> Mapping[str, Input] | None:
    node_class = classes.get(graph[node_id]["class_type"])
    return None if node_class is None else node_class.inputs_for(graph[node_id]["inputs"])


def _wrong_key(target: Target, graph: Graph, classes: Classes) -> Iterator[tuple[str, str]]:
    where = label(graph, target.node_id)
    inputs = _inputs(target.node_id, graph, classes)
    fitting = _fitting(target, inputs) if inputs is not None else []
    suggestion = f'"key": "{fitting[0]}"' if fitting else f"an id of a node that takes {target.type}"
    if target.key is None:
        what = f"entry {target.number} ({target.type}) has no key, and this type has none of its own"
        yield f"{what}: nothing arrives at {where}", f"Write {suggestion}."
        return
    if inputs is None:
        return
    spec = inputs.get(target.key)
    if spec is None:
        has = ", ".join(list(inputs)[:12])
        what = f'{target.type} goes to "{excerpt(target.key, 40)}", which is no input of {where}'
        why = 'a key that is left out means "text"' if target.key_is_absent else f"it has {has or 'none'}"
        yield f"{what}: ComfyUI ignores it in silence ({why})", f"Write {suggestion}."
    elif not _takes(target, spec):
        what = f"{target.type} goes to {target.key} of {where}, which takes {excerpt(spec.type, 40)}"
        yield f"{what}: every request is refused", f"Write {suggestion}."
    elif (other := _own_of_another(target)) is not None:
        what = f"{target.type} goes to {target.key} of {where}, which is where {other} belongs"
        yield what, f"Write {suggestion}."


def _own_of_another(target: Target) -> str | None:
    """The type whose own key this is, when it is not this one's."""
    if target.mapping.type not in TYPES:
        return None
    own = {key: kind for kind, key in OWN_KEYS.items() if kind not in _WORDS} | dict.fromkeys(SEED_INPUTS, "seed")
    other = own.get(target.key or "")
    return None if other in (None, target.mapping.type) else other


def _fitting(target: Target, inputs: Mapping[str, Input]) -> list[str]:
    """The inputs of a node that this entry should go to, likely ones first."""
    kind = target.mapping.type or ""
    likely = {"seed": SEED_INPUTS, "n": ("batch_size", "amount", "value")}.get(kind, (OWN_KEYS.get(kind, ""), "value"))
    fitting = [name for name, spec in inputs.items() if _takes(target, spec)]
    if kind == "model":
        return [name for name in fitting if inputs[name].choices is not None] or fitting
    if target.key:
        likely = (*likely, *difflib.get_close_matches(target.key, fitting, 1))
    first = [name for name in likely if name in fitting]
    return first + ([name for name in fitting if name not in first] if kind in _WORDS else [])


def _takes(target: Target, spec: Input) -> bool:
    """Whether an input takes what this entry puts into it."""
    kind, kinds = target.mapping.type, {one.strip() for one in spec.type.split(",")}
    if "*" in kinds:
        return True
    if kind in _WORDS:
        return "STRING" in kinds
    if kind in _WHOLE:
        return bool(kinds & {"INT", "FLOAT"})
    if kind == "model":
        return spec.choices is not None or "STRING" in kinds
    return bool(kinds & {"STRING", "INT", "FLOAT", "BOOLEAN", "COMBO"}) or spec.choices is not None


def _written_twice(targets: Sequence[Target]) -> Iterator[tuple[str, str]]:
    written: dict[tuple[str, str | None], Target] = {}
    for target in targets:
        first = written.setdefault((target.node_id, target.key), target)
        if first is not target and not {first.mapping.type, target.mapping.type} <= _WORDS:
            what = f"entries {first.number} ({first.type}) and {target.number} ({target.type}) both write"
            yield f"{what} {target.node_id}.{target.key}: the later one wins", "Keep one of them."


def _arriving(
    kind: str, document: Sequence[Any], targets: Sequence[Target], graph: Graph, classes: Classes
) -> tuple[list[Target], str]:
    """Where a type arrives; where it is mapped and arrives nowhere, which row says why."""
    entries = [item for item in document if isinstance(item, dict) and item.get("type") == kind]
    named = any(item.get("node_ids", []) != [] for item in entries)
    known = [target for target in targets if target.mapping.type == kind and target.node_id in graph]
    arriving = [target for target in known if not any(_wrong_key(target, graph, classes))]
    if arriving or not named:
        return arriving, ""
    return [], "it is mapped, and its keys are wrong: see nodes.keys" if known else "its ids are wrong: see nodes.ids"


def prompt_row(document: Sequence[Any], targets: Sequence[Target], graph: Graph, classes: Classes) -> Row:
    """nodes.prompt."""
    id_ = "nodes.prompt"
    mapped, why_not = _arriving("prompt", document, targets, graph, classes)
    if why_not:
        return skipped(id_, why_not)
    if not mapped:
        seen = "no prompt is mapped: every picture is made from what stands in the workflow, whatever users ask for"
        place = _text_place(graph)
        example = f': {{"type": "prompt", "key": {place}}}.' if place else " to a node that takes the text."
        return failed(id_, seen, f"Map it by its node_ids{example}")
    places = {(target.node_id, target.key) for target in mapped}
    negatives = [target for target in targets if target.mapping.type == "negative_prompt"]
    both = [target for target in negatives if (target.node_id, target.key) in places]
    if both:
        seen = f"prompt and negative_prompt both go to {both[0].node_id}.{both[0].key}: the later one wins"
        return failed(id_, seen, "Map the prompt to the node of the positive text, and negative_prompt to the other.")
    used = upstream(graph, GraphShape.of(graph).outputs)
    idle = [target for target in mapped if target.node_id not in used]
    if len(idle) == len(mapped):
        seen = f"the prompt goes to {label(graph, idle[0].node_id)}, which no output needs"
        return failed(id_, seen, "Map it to a node of the positive text, on the way to an output.")
    against = _only_negative(graph)
    if all(target.node_id in against for target in mapped):
        seen = f"the prompt goes to {label(graph, mapped[0].node_id)}, which is the negative text only"
        return failed(id_, seen, f"Map it to the node of the positive text {_text_place(graph, against)}".strip() + ".")
    note = "; a request without a negative prompt makes it the text None" if negatives else ""
    return ok(id_, f"it goes to {', '.join(f'{target.node_id}.{target.key}' for target in mapped[:5])}{note}")


def _text_place(graph: Graph, without: frozenset[str] = frozenset()) -> str:
    """`"text", "node_ids": ["6"]` of the first node that holds a text; empty where none does."""
    for node_id, node in graph.items():
        for name in ("text", "prompt", "value", "text_g"):
            if isinstance(node["inputs"].get(name), str) and node_id not in without:
                return f'"{name}", "node_ids": ["{node_id}"]'
    return ""


def _only_negative(graph: Graph) -> frozenset[str]:
    """Nodes that outputs need by way of an input called negative, and by no other."""
    outputs = GraphShape.of(graph).outputs
    return frozenset(upstream(graph, outputs) - upstream(graph, outputs, but_by="negative"))


def seed_row(
    document: Sequence[Any], targets: Sequence[Target], graph: Graph, classes: Classes, *, old_gateway: bool
) -> Row:
    """nodes.seed."""
    id_ = "nodes.seed"
    mapped, why_not = _arriving("seed", document, targets, graph, classes)
    if why_not:
        return skipped(id_, why_not)
    if not mapped:
        places = [place for place in seed_places(graph) if place.node_id in graph]
        how = ""
        if places:
            how = f' Map one: {{"type": "seed", "key": "{places[0].input_name}", "node_ids": ["{places[0].node_id}"]}}.'
        seen = "no seed is mapped: equal requests are answered from ComfyUI's cache, with the same picture"
        return warning(id_, seen, f"Map a seed, or have prompts vary.{how}", code=Code.CACHE_HIT)
    for target in mapped:
        wrong = _seed_bounds(target, graph, classes, SEED_MOST_OLD if old_gateway else SEED_MOST)
        if wrong is not None:
            return failed(id_, *wrong, code=Code.VALIDATION_REJECTED)
    most = "2^64 - 2" if old_gateway else "2^50"
    return ok(id_, f"it goes to {', '.join(f'{t.node_id}.{t.key}' for t in mapped[:5])}, which takes 0 to {most}")


def _seed_bounds(target: Target, graph: Graph, classes: Classes, most: int) -> tuple[str, str] | None:
    spec = (_inputs(target.node_id, graph, classes) or {}).get(target.key or "")
    largest = spec.settings.get("max") if spec is not None else None
    if not isinstance(largest, int | float) or largest >= most:
        return None
    share = f"{max(0.0, 100 * (1 - (largest + 1) / (most + 1))):.4g} %"
    seen = (
        f"the gateway draws seeds from 0 to {most}, and {target.key} of {label(graph, target.node_id)} takes at most "
        f"{largest}: {share} of all requests are refused"
    )
    places = [
        place for place in seed_places(graph) if (place.node_id, place.input_name) != (target.node_id, target.key)
    ]
    other = f" such as {places[0].path}" if places else ""
    return seen, f"Map the seed to an input whose range takes it{other}."


def model_row(targets: Sequence[Target], graph: Graph, classes: Classes, model: str | None, source: str) -> Row:
    """nodes.model. `model`: what the gateway puts in; None: not known, since nothing sets it and nobody could ask."""
    id_, name = "nodes.model", "IMAGE_GENERATION_MODEL"
    mapped = [target for target in targets if target.mapping.type == "model" and target.node_id in graph and target.key]
    if not mapped:
        note = f"{name} is {excerpt(model, 60)!r}, and goes nowhere" if model else "no model is mapped"
        return skipped(id_, f"{note}: the workflow's own is used")
    target = mapped[0]
    spec = (_inputs(target.node_id, graph, classes) or {}).get(target.key or "")
    if spec is None or spec.choices is None:
        return skipped(id_, f"{target.node_id}.{target.key} has no list to look it up in")
    if model is None:
        return skipped(id_, f"{name} is not set here, and the gateway's configuration was not read")
    choices = [str(choice) for choice in spec.choices]
    if model in choices:
        return ok(id_, f"{excerpt(model, 80)} ({source}) goes to {target.node_id}.{target.key}, and is in its list")
    near = difflib.get_close_matches(model, choices, 3, 0.5) or choices[:5]
    offered = f"Set {name} to one of: {', '.join(near)}." if near else "Put a model into the loader's folder first."
    shown = repr(excerpt(model, 80)) if model else "empty"
    seen = f"{name} ({source}) is {shown}, which is not in the list of {label(graph, target.node_id)}"
    return failed(id_, f"{seen}: every request is refused", offered, code=Code.VALIDATION_REJECTED)
