"""The node mapping as the gateway reads it: its form, its ids, and the inputs it writes to. Pure."""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from comfysoak.check.checking import failed, ok, skipped
from comfysoak.check.parts.gateway.layout import mapping_of
from comfysoak.check.row import Row
from comfysoak_core.comfyui.choices import OWN_KEYS
from comfysoak_core.comfyui.json_text import excerpt
from comfysoak_core.comfyui.judgement import label
from comfysoak_core.comfyui.shape import Graph
from comfysoak_core.comfyui.vary import NodeMapping

Json = Any
TYPES: Final = ("prompt", "negative_prompt", "model", "width", "height", "n", "steps", "seed")
NOT_JSON: Final = (
    'Write JSON, such as [{"type": "prompt", "key": "text", "node_ids": ["6"]}]; as it is, a gateway of today takes an '
    "empty list for it without a word, and nothing that users ask for arrives."
)
_FORM: Final = 'Write a list such as [{"type": "prompt", "key": "text", "node_ids": ["6"]}].'


@dataclass(frozen=True, slots=True)
class Target:
    """One input that an entry writes to; `number` is the entry's, from 1."""

    number: int
    mapping: NodeMapping
    node_id: str
    key: str | None  # None: there is none, and no type's own
    key_is_absent: bool

    @property
    def type(self) -> str:
        """In words."""
        return self.mapping.type or "fixed value"


def targets_of(document: Json, mappings: Sequence[NodeMapping]) -> list[Target]:
    """All inputs written to, in the order in which they are."""
    found = []
    for number, (item, mapping) in enumerate(zip(document, mappings, strict=True), 1):
        key = mapping.key or OWN_KEYS.get(mapping.type or "")
        absent = "key" not in item
        found += [Target(number, mapping, node_id, key, absent) for node_id in mapping.node_ids]
    return found


def form_row(document: Json, *, old_gateway: bool) -> tuple[Row, tuple[NodeMapping, ...] | None]:
    """nodes.form, and the mappings; None: the gateway cannot read them."""
    id_ = "nodes.form"
    if not isinstance(document, list):
        kind = "an object" if isinstance(document, dict) else "no list"
        seen = (
            f"it is {kind}, and no list: the gateway cannot read its own configuration (500), and every request fails"
        )
        return failed(id_, seen, _FORM), None
    complaints = [
        complaint for number, item in enumerate(document, 1) for complaint in _form(number, item, old_gateway)
    ]
    found = [mapping_of(_ids_as_text(item)) for item in document]
    mappings = None if None in found else tuple(one for one in found if one is not None)
    if complaints:
        return failed(id_, joined(what for what, _ in complaints), " ".join(r for _, r in complaints[:2])), mappings
    types = [mapping.type or "fixed value" for mapping in mappings or () if mapping.node_ids]
    return ok(id_, f"{len(document)} entries, mapped: {', '.join(types) or 'none'}"), mappings


def _ids_as_text(item: Json) -> Json:
    """With ids that are numbers as texts: told in the row of ids, and the rest is looked at all the same."""
    if isinstance(item, dict) and isinstance(item.get("node_ids"), list):
        return {**item, "node_ids": [str(one) if type(one) is int else one for one in item["node_ids"]]}
    if isinstance(item, dict) and "node_ids" in item:
        return {**item, "node_ids": []}
    return item


def _form(number: int, item: Json, old_gateway: bool) -> Iterator[tuple[str, str]]:  # noqa: FBT001  # a fact
    entry = f"entry {number}"
    if not isinstance(item, dict):
        yield f"{entry} is {_short(item)}, and no object", _FORM
        return
    kind = item.get("type")
    if "type" not in item:
        yield f"{entry} has no `type`: the list of models breaks (400)", 'Write its "type"; "" for a fixed value.'
    elif kind is not None and not isinstance(kind, str):
        yield (
            f"{entry} has the type {_short(kind)}, and no text: every request fails",
            'Write a text: "type": "prompt".',
        )
    elif kind == "image" and not old_gateway:
        what = f"{entry} is of type image, which a request for new pictures does not have: every request fails"
        yield what, "Keep it for IMAGES_EDIT_COMFYUI_WORKFLOW_NODES."
    elif kind and kind not in TYPES:
        near = difflib.get_close_matches(kind, TYPES, 1) or (["prompt"] if "positive" in kind else [])
        nearest = f' Here probably "{near[0]}".' if near else ""
        what = f'{entry} has the type "{excerpt(kind, 40)}", which the gateway does not know and leaves out in silence'
        yield what, f"Types are {', '.join(TYPES)}.{nearest}"
    if not isinstance(item.get("key", ""), str | None):
        yield f"{entry} has the key {_short(item['key'])}, and no text: every request fails", 'Write "key": "text".'
    yield from _value_form(entry, item)


def _value_form(entry: str, item: Mapping[str, Json]) -> Iterator[tuple[str, str]]:
    value = item.get("value")
    if value is not None and not isinstance(value, str):
        what = f"{entry} has the value {_short(value)}, and no text: every request fails (400)"
        yield what, f'Write it as a string in quotes: "value": "{_short(value)}"; ComfyUI makes a number of it.'
    elif value is None and "type" in item and not item["type"] and item.get("node_ids"):
        yield f"{entry} has neither type nor value: it puts null into its inputs", "Give it one of both."


def ids_row(document: Json, graph: Graph | None) -> Row:
    """nodes.ids."""
    id_ = "nodes.ids"
    complaints = [
        complaint
        for number, item in enumerate(document, 1)
        if isinstance(item, dict)
        for complaint in _ids(number, item, graph)
    ]
    if complaints:
        remedies = dict.fromkeys(remedy for _, remedy in complaints[:3])
        return failed(id_, joined(what for what, _ in complaints), " ".join(remedies))
    if graph is None:
        return skipped(id_, "there is no workflow to find them in")
    ids = {one for item in document if isinstance(item, dict) for one in item.get("node_ids") or ()}
    return ok(id_, f"{len(ids)} nodes of the workflow are written to: {', '.join(sorted(ids)[:10]) or 'none'}")


def _ids(number: int, item: Mapping[str, Json], graph: Graph | None) -> Iterator[tuple[str, str]]:
    entry, ids = f"entry {number} ({excerpt(str(item.get('type') or 'fixed value'), 20)})", item.get("node_ids", [])
    if not isinstance(ids, list):
        what = f"{entry} has node_ids {_short(ids)}, and no list: every request fails (400)"
        example = ids if isinstance(ids, str | int) and not isinstance(ids, bool) else "6"
        yield what, f'Write a list of strings: "node_ids": ["{excerpt(str(example), 40)}"].'
        return
    for one in ids:
        if not isinstance(one, str):
            what = f"{entry} names node {_short(one)} as {_kind(one)}, and no string: every request fails (400)"
            yield what, f'Write ids in quotes, as strings: "{_short(one)}".'
        elif graph is not None and one not in graph:
            what = f'{entry} names node "{excerpt(one, 40)}", which is not in the workflow: every request fails (400)'
            near = difflib.get_close_matches(one, list(graph), 1)
            nodes = ", ".join(label(graph, node_id) for node_id in (near or list(graph)[:8]))
            yield what, f"Its nodes are: {nodes}." if not near else f"The nearest node of the workflow is {nodes}."


def joined(complaints: Iterator[str]) -> str:
    """The first three, and how many more there are."""
    told = list(complaints)
    return "; ".join(told[:3]) + (f"; and {len(told) - 3} more" if len(told) > 3 else "")


def _short(value: Json) -> str:
    return excerpt(json.dumps(value), 40)


def _kind(value: Json) -> str:
    return {int: "a number", float: "a number", bool: "true or false", list: "a list"}.get(type(value), "an object")
