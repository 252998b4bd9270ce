"""Node classes as /object_info tells of them: what each takes, in which bounds, and what it gives.

Inputs are declared as `[type, settings]`; a choice is `[[a, b], settings]` or, in the newer style,
`["COMBO", {"options": [a, b]}]`. Three types of 0.33 stand for inputs that depend on what the prompt holds; they are
spread out for a node by `inputs_for`, as the server does before it validates.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final

Json = Any  # whatever JSON may hold

_COMBO: Final = "COMBO"
_MATCH: Final = "COMFY_MATCHTYPE_V3"  # what is linked here is compared by the editor only
_DYNAMIC_COMBO, _AUTOGROW, _SLOT = "COMFY_DYNAMICCOMBO_V3", "COMFY_AUTOGROW_V3", "COMFY_DYNAMICSLOT_V3"
DYNAMIC: Final = frozenset({_DYNAMIC_COMBO, _AUTOGROW, _SLOT})
MODEL_FILE: Final = re.compile(r"\.(safetensors|sft|ckpt|pth?|pt2|pkl|bin|gguf|onnx)$", re.IGNORECASE)
_MOST_GROWN: Final = 1000  # inputs that one template may stand for, whatever a server says
_DEEPEST: Final = 8


@dataclass(frozen=True, slots=True)
class Input:
    """One input of a node class; `declared` is its entry in /object_info."""

    name: str
    declared: list[Json]
    required: bool
    choices: tuple[Json, ...] | None  # the list a value has to be in; None: any value
    newer_choices: bool  # declared as ["COMBO", {"options": ...}]

    @classmethod
    def of(cls, name: str, declared: list[Json], *, required: bool) -> Input:
        """From its entry."""
        kind = declared[0]
        newer = kind == _COMBO if isinstance(kind, str) else False
        choices: Json = kind if isinstance(kind, list) else None
        if newer and len(declared) > 1 and isinstance(declared[1], dict):
            choices = declared[1].get("options")
        return cls(name, declared, required, tuple(choices) if isinstance(choices, list) else None, newer)

    @property
    def type(self) -> str:
        """The type of what may be linked here; COMBO for choices."""
        return _COMBO if isinstance(self.declared[0], list) else str(self.declared[0])

    @property
    def settings(self) -> dict[str, Json]:
        """Bounds, default and the like."""
        return self.declared[1] if len(self.declared) > 1 and isinstance(self.declared[1], dict) else {}

    @property
    def is_file(self) -> bool:
        """Whether it names an uploaded file: the node looks for it, the list is what the editor offers."""
        return any(name.endswith("_upload") and value is True for name, value in self.settings.items())

    def is_model(self, value: object) -> bool:
        """Whether it is a choice among model files, by what is offered or, where nothing is, by what was chosen."""
        if self.choices is None or self.is_file:
            return False
        named = [choice for choice in (*self.choices, value) if isinstance(choice, str)]
        return any(MODEL_FILE.search(name) for name in named)


@dataclass(frozen=True)
class NodeClass:
    """A node class by what /object_info says of it."""

    name: str
    info: Mapping[str, Json]

    @cached_property
    def inputs(self) -> dict[str, Input]:
        """Required and optional inputs by name, in the order declared."""
        return {spec.name: spec for spec in _declared(self._groups(), "")}

    def inputs_for(self, held: Mapping[str, Json]) -> dict[str, Input]:
        """The inputs of a node that holds these, with those that depend on it spread out (`format.bit_depth`)."""
        return {spec.name: spec for spec in _spread(_declared(self._groups(), ""), held, _DEEPEST)}

    def _groups(self) -> Mapping[str, Json]:
        groups = self.info.get("input")
        return groups if isinstance(groups, dict) else {}

    @cached_property
    def outputs(self) -> tuple[str, ...]:
        """Types of the outputs, in order; a list of choices counts as COMBO."""
        told = self.info.get("output")
        return tuple(kind if isinstance(kind, str) else _COMBO for kind in told) if isinstance(told, list) else ()

    @cached_property
    def is_output(self) -> bool:
        """Whether a prompt runs for the sake of such a node."""
        return bool(self.info.get("output_node"))

    @cached_property
    def has_intermediate_output(self) -> bool:
        """Whether it reports an output of its own without being an output node (0.33)."""
        return bool(self.info.get("has_intermediate_output"))

    @cached_property
    def knows_its_id(self) -> bool:
        """Whether the node's id is part of what it works from, so that equal nodes do not share a result."""
        hidden = self._groups().get("hidden") or {}
        return any("UNIQUE_ID" in (kind if isinstance(kind, list) else [kind]) for kind in hidden.values())

    @cached_property
    def is_async(self) -> bool:
        """Whether its function is a coroutine, so that several run at once."""
        return self.name == "HarnessAsync"

    @cached_property
    def is_stock(self) -> bool:
        """Whether it comes with ComfyUI, so that it is known which inputs it validates by itself."""
        return not str(self.info.get("python_module", "")).startswith("custom_nodes.")


def fits(given: str, wanted: str) -> bool:
    """Whether an output of one type may be linked into an input of another, as the server compares them."""
    if given == wanted or _MATCH in (given, wanted):
        return True
    gives, takes = ({kind.strip() for kind in kinds.split(",")} for kinds in (given, wanted))
    return "*" in gives | takes or not gives.isdisjoint(takes)


def _declared(groups: Mapping[str, Json], prefix: str) -> Iterator[Input]:
    for group in ("required", "optional"):
        members = groups.get(group)
        for name, declared in members.items() if isinstance(members, dict) else ():
            if isinstance(declared, list) and declared:
                yield Input.of(f"{prefix}{name}", declared, required=group == "required")


def _spread(specs: Iterator[Input], held: Mapping[str, Json], depth: int) -> Iterator[Input]:
    for spec in specs:
        if spec.type not in DYNAMIC:
            yield spec
        elif depth > 0:
            yield from _SPREADS[spec.type](spec, held, depth - 1)


def _of_choice(spec: Input, held: Mapping[str, Json], depth: int) -> Iterator[Input]:
    """The chosen option's inputs, and the choice itself as one of a list; one that chose nothing has no inputs."""
    told = spec.settings.get("options")
    options = [option for option in told if isinstance(option, dict)] if isinstance(told, list) else []
    yield Input(spec.name, spec.declared, spec.required, tuple(option.get("key") for option in options), False)  # noqa: FBT003  # a field
    chosen = next((option for option in options if option.get("key") == held.get(spec.name)), None)
    inner = chosen.get("inputs") if chosen is not None else None
    if isinstance(inner, dict):
        yield from _spread(_declared(inner, f"{spec.name}."), held, depth)


def _of_template(spec: Input, _held: Mapping[str, Json], _depth: int) -> Iterator[Input]:
    """As many inputs as the template allows; the first `min` of them required, where the template is."""
    template = spec.settings.get("template")
    template = template if isinstance(template, dict) else {}
    told = template.get("input")
    inner = next(_declared(told, ""), None) if isinstance(told, dict) else None
    least, most = template.get("min"), template.get("max")
    names = template.get("names")
    if not isinstance(names, list):
        names = [f"{template.get('prefix', '')}{index}" for index in range(most if isinstance(most, int) else 0)]
    if inner is None:
        return
    for index, name in enumerate(names[:_MOST_GROWN]):
        required = inner.required and isinstance(least, int) and index < least
        yield Input.of(f"{spec.name}.{name}", inner.declared, required=required)


def _of_slot(spec: Input, held: Mapping[str, Json], depth: int) -> Iterator[Input]:
    yield Input.of(spec.name, [spec.settings.get("slotType", "*"), spec.settings], required=spec.required)
    inner = spec.settings.get("inputs")
    if spec.name in held and isinstance(inner, dict):
        yield from _spread(_declared(inner, f"{spec.name}."), held, depth)


_SPREADS: Final = {_DYNAMIC_COMBO: _of_choice, _AUTOGROW: _of_template, _SLOT: _of_slot}
