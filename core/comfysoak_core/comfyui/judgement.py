"""What a server would say of a graph, told from /object_info before anything is sent, with place and remedy.

The rules are those of the server's own validation (`validate_inputs`), in both versions. Two things cannot be told from
/object_info: what a custom node checks by itself (such a fault is not `certain`), and the files that were uploaded
(`absent_files`, asked for apart).
"""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from comfysoak_core.comfyui.json_text import excerpt
from comfysoak_core.comfyui.node_classes import DYNAMIC, Input, NodeClass, fits
from comfysoak_core.comfyui.shape import Graph

Json = Any
FileInput = tuple[str, str]  # node id, input name
_NUMBERS: Final = {"INT": int, "FLOAT": float}
_CHECKED_BY_THE_NODE: Final = frozenset({
    ("LoadLatent", "latent"), ("CustomCombo", "choice"),
    ("Load3D", "model_file"), ("Load3DAnimation", "model_file"), ("Load3DAdvanced", "model_file"),
})  # fmt: skip
_CHOICES_CHECKED_SINCE: Final = (0, 3, 65)  # 0.3.64 looks at lists in the older style only


class FaultKind(StrEnum):
    """What is wrong."""

    MISSING = "missing"  # a required input is not there
    LINK = "link"
    VALUE = "value"
    MODEL = "model"  # a model file that the loader does not list


@dataclass(frozen=True, slots=True)
class Fault:
    """One mistake at one input. `refused`: the server refuses outputs that need this node, unless not `certain`."""

    kind: FaultKind
    node_id: str
    input_name: str
    what: str
    remedy: str
    refused: bool = True
    certain: bool = True


@dataclass(frozen=True, slots=True)
class Judgement:
    """All faults in nodes that outputs need, and the output nodes: those there are, and those that would run."""

    faults: tuple[Fault, ...]
    outputs: tuple[str, ...]
    good_outputs: tuple[str, ...]


def version_of(text: str | None) -> tuple[int, ...]:
    """`0.3.64` as numbers, which compare rightly; empty when it is no version."""
    parts = (text or "").removeprefix("v").split(".")
    numbers = [int(part) for part in parts if part.isascii() and part.isdecimal()]
    return tuple(numbers) if len(numbers) == len(parts) else ()


def checks_newer_choices(version: str | None) -> bool:
    """Whether a server of this version looks at choices declared in the newer style; of an unknown one: it does."""
    numbers = version_of(version)
    return not numbers or numbers >= _CHOICES_CHECKED_SINCE


def label(graph: Graph, node_id: str) -> str:
    """A node as people find it: id, class, and its title where it has one of its own."""
    node = graph.get(node_id, {})
    node_class, meta = str(node.get("class_type")), node.get("_meta")
    title = meta.get("title") if isinstance(meta, dict) else None
    named = f', "{excerpt(title, 40)}"' if isinstance(title, str) and title != node_class else ""
    return f"node {node_id} ({excerpt(node_class, 60)}{named})"


def file_inputs(graph: Graph, classes: Mapping[str, NodeClass]) -> dict[FileInput, str]:
    """The inputs that name an uploaded file which the server does not list, and the names."""
    found = {}
    for node_id, node in graph.items():
        for spec in _specs(node, classes):
            value = node["inputs"].get(spec.name)
            if spec.is_file and isinstance(value, str) and value not in (spec.choices or ()):
                found[node_id, spec.name] = value
    return found


def judge(
    graph: Graph,
    classes: Mapping[str, NodeClass],
    *,
    checks_newer_choices: bool = True,
    absent_files: Collection[FileInput] = (),
) -> Judgement:
    """The judgement on a checked graph; nodes whose class is not in `classes` are left alone."""
    outputs = tuple(
        node_id
        for node_id, node in graph.items()
        if (node_class := classes.get(node["class_type"])) is not None and node_class.is_output
    )
    needs = {output: _needed(graph, classes, output) for output in outputs}
    needed = set().union(*needs.values()) if needs else set()
    judge_input = _Judge(graph, classes, absent_files, checks_newer_choices)
    faults = [fault for node_id in graph if node_id in needed for fault in judge_input.of_node(node_id)]
    faults += _cycles(graph, classes, outputs)
    bad = {fault.node_id for fault in faults if fault.refused and fault.certain}
    return Judgement(tuple(faults), outputs, tuple(output for output in outputs if not needs[output] & bad))


def _specs(node: Mapping[str, Json], classes: Mapping[str, NodeClass]) -> Iterator[Input]:
    node_class = classes.get(node["class_type"])
    if node_class is not None:
        yield from node_class.inputs_for(node["inputs"]).values()


def _sources(graph: Graph, classes: Mapping[str, NodeClass], node_id: str) -> Iterator[str]:
    """The nodes that a node takes from, by its declared inputs; of an unknown class by all that look like links."""
    node = graph[node_id]
    names: Collection[str] = [spec.name for spec in _specs(node, classes)]
    if node["class_type"] not in classes:
        names = list(node["inputs"])
    for name in names:
        value = node["inputs"].get(name)
        if isinstance(value, list) and len(value) == 2 and isinstance(value[0], str) and value[0] in graph:
            yield value[0]


def _needed(graph: Graph, classes: Mapping[str, NodeClass], output: str) -> set[str]:
    needed: set[str] = set()
    waiting = [output]
    while waiting:
        node_id = waiting.pop()
        if node_id not in needed:
            needed.add(node_id)
            waiting.extend(_sources(graph, classes, node_id))
    return needed


def _cycles(graph: Graph, classes: Mapping[str, NodeClass], outputs: Collection[str]) -> Iterator[Fault]:
    """One fault for each node on a chain of links that leads back to itself."""
    done: set[str] = set()
    for output in outputs:
        path: list[str] = []
        stack = [(output, iter(_sources(graph, classes, output)))] if output not in done else []
        path.extend(node_id for node_id, _ in stack)
        while stack:
            node_id, sources = stack[-1]
            source = next(sources, None)
            if source is None:
                done.add(node_id)
                stack.pop()
                path.pop()
            elif source in path:
                yield from _cycle(graph, path[path.index(source) :])
                done.update(path[path.index(source) :])
            elif source not in done:
                stack.append((source, iter(_sources(graph, classes, source))))
                path.append(source)


def _cycle(graph: Graph, nodes: list[str]) -> Iterator[Fault]:
    way = " <- ".join([*nodes, nodes[0]])
    what = f"{label(graph, nodes[0])} takes from itself, by way of {way}"
    for index, node_id in enumerate(nodes):
        told = what if index == 0 else f"{label(graph, node_id)} is part of a cycle: {way}"
        yield Fault(
            FaultKind.LINK,
            node_id,
            "",
            told,
            "Open the circle: take one of these links out in the editor, and export it again.",
        )


@dataclass(frozen=True, slots=True)
class _Judge:
    graph: Graph
    classes: Mapping[str, NodeClass]
    absent_files: Collection[FileInput]
    checks_newer_choices: bool

    def of_node(self, node_id: str) -> Iterator[Fault]:
        """The faults of one node's inputs."""
        node = self.graph[node_id]
        for spec in _specs(node, self.classes):
            if spec.name not in node["inputs"]:
                if spec.required:
                    yield self._missing(node_id, spec)
            elif isinstance(node["inputs"][spec.name], list):
                yield from self._link(node_id, spec, node["inputs"][spec.name])
            else:
                yield from self._value(node_id, spec, node["inputs"][spec.name])

    def _fault(self, kind: FaultKind, node_id: str, spec: Input, what: str, remedy: str, **how: bool) -> Fault:
        where = label(self.graph, node_id)
        return Fault(kind, node_id, spec.name, f"{where}: {what}", remedy, **how)

    def _missing(self, node_id: str, spec: Input) -> Fault:
        held = self.graph[node_id]["inputs"]
        declared = {each.name for each in _specs(self.graph[node_id], self.classes)}
        near = difflib.get_close_matches(spec.name, [name for name in held if name not in declared], 1, 0.7)
        if near:
            remedy = f'Rename its input "{near[0]}", which no such node has, to "{spec.name}".'
        elif spec.choices or "default" in spec.settings:
            value = spec.settings.get("default", spec.choices[0] if spec.choices else None)
            remedy = f'Write "{spec.name}": {excerpt(_json(value), 60)} into its inputs, or export the workflow again.'
        else:
            remedy = f"Connect its {spec.name} (type {excerpt(spec.type, 60)}) in the editor, and export it again."
        what = f"its required input {spec.name} is missing"
        return self._fault(FaultKind.MISSING, node_id, spec, what, remedy, refused=spec.type not in DYNAMIC)

    def _link(self, node_id: str, spec: Input, value: list[Json]) -> Iterator[Fault]:
        what, remedy = self._wrong_link(spec, value)
        if what:
            yield self._fault(FaultKind.LINK, node_id, spec, what, remedy)

    def _wrong_link(self, spec: Input, value: list[Json]) -> tuple[str, str]:
        shown = excerpt(_json(value), 60)
        if len(value) != 2:
            return f"{spec.name} is {shown}, which is no link", 'A link is ["node id", number of its output].'
        source, slot = value
        if not isinstance(source, str) or source not in self.graph:
            near = difflib.get_close_matches(str(source), list(self.graph), 1)
            other = f"the nearest is {near[0]}" if near else f"there are: {', '.join(list(self.graph)[:20])}"
            hint = f"Name a node that is there in the place of {excerpt(str(source), 40)} ({other})"
            if not isinstance(source, str) and str(source) in self.graph:
                hint = f'Write the id as a string: "{source}"'
            what = f"{spec.name} takes from node {excerpt(str(source), 40)}, which is not there"
            return what, f"{hint}, or export the workflow again."
        given = self.classes.get(self.graph[source]["class_type"])
        if given is None:
            return "", ""
        count = len(given.outputs)
        if not isinstance(slot, int) or not -count <= slot < count:
            outputs = ", ".join(f"{number} {kind}" for number, kind in enumerate(given.outputs[:10])) or "none"
            what = f"{spec.name} takes output {excerpt(_json(slot), 20)} of {label(self.graph, source)}"
            return f"{what}, which has {count}", f"Its outputs are: {outputs}."
        if not fits(given.outputs[slot], spec.type):
            what = f"{spec.name} wants {spec.type}, and output {slot} of {label(self.graph, source)} gives"
            right = [str(number) for number, kind in enumerate(given.outputs) if fits(kind, spec.type)]
            remedy = f"Its output {right[0]} would fit." if right else f"Connect a node that gives {spec.type}."
            return f"{what} {given.outputs[slot]}", remedy
        return "", ""

    def _value(self, node_id: str, spec: Input, value: Json) -> Iterator[Fault]:
        node_class = self.classes[self.graph[node_id]["class_type"]]
        if isinstance(value, dict) and "__value__" in value:
            value = value["__value__"]
        if spec.is_file:
            yield from self._file(node_id, spec, value)
            return
        convert = _NUMBERS.get(spec.type)
        if convert is not None:
            try:
                value = convert(value)
            except (ValueError, TypeError, OverflowError):
                what = f"{spec.name} is {excerpt(_json(value), 60)}, where a number is wanted ({spec.type})"
                yield self._fault(FaultKind.VALUE, node_id, spec, what, _range_of(spec) or "Write a number.")
                return
        by_itself = (node_class.name, spec.name) in _CHECKED_BY_THE_NODE
        if not by_itself:
            yield from self._bounds(node_id, spec, value, certain=node_class.is_stock)

    def _file(self, node_id: str, spec: Input, value: Json) -> Iterator[Fault]:
        if (node_id, spec.name) in self.absent_files:
            what = f"{spec.name} names the file {excerpt(str(value), 80)}, which the server does not have"
            remedy = "Put it into the server's input folder, or upload it: POST /upload/image."
            yield self._fault(FaultKind.VALUE, node_id, spec, what, remedy)

    def _bounds(self, node_id: str, spec: Input, value: Json, *, certain: bool) -> Iterator[Fault]:
        least, most = spec.settings.get("min"), spec.settings.get("max")
        if isinstance(value, int | float):
            if isinstance(least, int | float) and value < least:
                what = f"{spec.name} is {value}, below its minimum of {least}"
                yield self._fault(FaultKind.VALUE, node_id, spec, what, _range_of(spec), certain=certain)
                return
            if isinstance(most, int | float) and value > most:
                what = f"{spec.name} is {value}, above its maximum of {most}"
                yield self._fault(FaultKind.VALUE, node_id, spec, what, _range_of(spec), certain=certain)
                return
        wrong = _not_in_list(spec, value)
        if wrong is not None:
            refused = self.checks_newer_choices if spec.newer_choices else spec.type not in DYNAMIC
            yield self._listed(node_id, spec, wrong, refused=refused, certain=certain)

    def _listed(self, node_id: str, spec: Input, value: Json, **how: bool) -> Fault:
        shown, choices = excerpt(_json(value), 80), [str(choice) for choice in spec.choices or ()]
        kind = FaultKind.MODEL if spec.is_model(value) else FaultKind.VALUE
        near = difflib.get_close_matches(str(value), choices, 3, 0.5)
        offered = f"The nearest is {', '.join(near)}." if near else f"It offers: {', '.join(choices[:8]) or 'nothing'}."
        what = f"{spec.name} is {shown}, which is not in its list of {len(choices)}"
        return self._fault(kind, node_id, spec, what, excerpt(offered, 300), **how)


def _not_in_list(spec: Input, value: Json) -> Json | None:
    """The first value that is not in the list; None: all is well."""
    if spec.choices is None:
        return None
    several = isinstance(value, list) and spec.settings.get("multiselect") is True
    wrong = [item for item in (value if several else [value]) if item not in spec.choices]
    return ("null" if wrong[0] is None else wrong[0]) if wrong else None


def _range_of(spec: Input) -> str:
    least, most = spec.settings.get("min"), spec.settings.get("max")
    if least is None and most is None:
        return ""
    low, high = ("any" if bound is None else str(bound) for bound in (least, most))
    return f"Set it to a number from {low} to {high}."


def _json(value: Json) -> str:
    """As it stands in the file, nearly."""
    if isinstance(value, str):
        return f'"{value}"'
    return {True: "true", False: "false", None: "null"}[value] if isinstance(value, bool | None) else str(value)
