"""A workflow: a graph in ComfyUI's API format, checked before it is sent a thousand times.

Its mistakes are told here, with place and remedy, where a server would answer 400, or 500, or lose its worker thread.
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Final

import orjson

from comfysoak_core.comfyui.expected import ExpectedFiles, expected_outputs
from comfysoak_core.comfyui.shape import Graph, GraphShape, is_link
from comfysoak_core.errors import Problem, ScenarioError

MAX_BYTES: Final = 64 * 1024 * 1024
MAX_PROBLEMS: Final = 20

EXPORT_REMEDY: Final = (
    "Open the workflow in ComfyUI and save it with the menu entry File > Export (API); older versions call it"
    ' Workflow > Export (API), or "Save (API Format)" once dev mode is on in the settings.'
)
_ON_PURPOSE: Final = "If that is on purpose: take the right file, and mistakes: {share: 100%, kinds: [no-class-type]}."
_API_EXAMPLE: Final = '{"3": {"class_type": "KSampler", "inputs": {"seed": 1, "model": ["4", 0], ...}}, ...}'


@dataclass(frozen=True)
class Workflow:
    """A checked graph. `size_bytes` is what it weighs in the body of POST /prompt."""

    name: str
    graph: Graph
    size_bytes: int

    @classmethod
    def load(cls, path: Path | str, *, wrong: bool = False) -> Workflow:
        """The workflow in a file; ScenarioError with the file's name if it is none.

        `wrong`: it is meant to be refused, so mistakes stay that a server's validation answers with 400.
        """
        path = Path(path)
        try:
            if path.stat().st_size > MAX_BYTES:
                raise ScenarioError("the file is larger than 64 MiB", "Is this a workflow?", where=str(path))
            text = path.read_text(encoding="utf-8-sig")
        except UnicodeDecodeError as error:
            raise ScenarioError("the file is no text in UTF-8", EXPORT_REMEDY, where=str(path)) from error
        except OSError as error:
            remedy = "Check the path; relative paths are relative to the scenario."
            raise ScenarioError(f"cannot read the workflow: {error.strerror}", remedy, where=str(path)) from error
        return cls.from_text(text, where=str(path), name=path.stem, wrong=wrong)

    @classmethod
    def from_text(cls, text: str, *, where: str = "workflow", name: str = "workflow", wrong: bool = False) -> Workflow:
        """The workflow in a JSON text; `where` stands before the mistakes."""
        try:
            document = json.loads(text.removeprefix("\ufeff"), parse_constant=_refuse_constant)
        except json.JSONDecodeError as error:
            place = f"{where}:{error.lineno}:{error.colno}"
            raise ScenarioError(f"broken JSON: {error.msg}", EXPORT_REMEDY, where=place) from error
        except (ValueError, RecursionError) as error:
            raise ScenarioError(f"not JSON that can be sent: {error}", EXPORT_REMEDY, where=where) from error
        return cls.from_graph(document, where=where, name=name, wrong=wrong)

    @classmethod
    def from_graph(
        cls, graph: object, *, where: str = "workflow", name: str = "workflow", wrong: bool = False
    ) -> Workflow:
        """The workflow in a decoded document; a whole request body (`{"prompt": graph}`) will do as well."""
        found = _unwrapped(graph)
        problems = list(_problems(found, where, wrong=wrong))
        if problems:
            raise ScenarioError.of(problems[:MAX_PROBLEMS])
        assert isinstance(found, dict)  # noqa: S101  # `_problems` says so
        try:
            return cls(name, found, len(orjson.dumps(found)))
        except orjson.JSONEncodeError as error:  # a number beyond 64 bits, half a character
            raise ScenarioError(f"not JSON that can be sent: {error}", EXPORT_REMEDY, where=where) from error

    @cached_property
    def shape(self) -> GraphShape:
        """Classes, outputs and working nodes, as the life of a prompt needs them."""
        return GraphShape.of(self.graph)

    @cached_property
    def expected(self) -> Mapping[str, ExpectedFiles]:
        """Output node id -> what it will put out, as far as the graph tells; varied inputs may change it."""
        return expected_outputs(self.graph)

    @property
    def classes(self) -> Mapping[str, str]:
        """Node id -> class."""
        return self.shape.classes


def _refuse_constant(word: str) -> None:
    raise ValueError(f"it holds {word}, which is no JSON")


def _unwrapped(document: object) -> object:
    inner = document.get("prompt") if isinstance(document, dict) else None
    return inner if isinstance(inner, dict) and "class_type" not in inner and "inputs" not in inner else document


def _problems(graph: object, where: str, *, wrong: bool) -> Iterator[Problem]:
    """What is wrong with it; of a graph that is `wrong` on purpose only what is not for validation to tell."""
    if not isinstance(graph, dict):
        what = f"expected a graph in API format, an object of nodes; got {_kind(graph)}"
        yield Problem(what, f"It looks like this: {_API_EXAMPLE}", where)
    elif is_editor_format(graph):
        yield Problem("this is the editor's own format, which no server runs", EXPORT_REMEDY, where)
    elif not graph:
        if wrong:
            return
        yield Problem("the workflow has no nodes", EXPORT_REMEDY, where)
    elif not any(isinstance(node, dict) and "class_type" in node for node in graph.values()):
        what = f"expected a graph in API format, found no node (keys: {', '.join(map(str, list(graph)[:5]))})"
        yield Problem(what, f"It looks like this: {_API_EXAMPLE}", where)
    else:
        for node_id, node in graph.items():
            yield from _node_problems(graph, node_id, node, where, wrong=wrong)


def is_editor_format(document: Mapping[str, Any]) -> bool:
    """Whether this is what File > Save writes: lists of nodes and links, with places on the canvas."""
    return isinstance(document.get("nodes"), list) and ("links" in document or "version" in document)


def _node_problems(
    graph: Mapping[str, Any], node_id: str, node: object, where: str, *, wrong: bool
) -> Iterator[Problem]:
    here = f"{where}: node {node_id}"
    if not isinstance(node, dict):
        yield Problem(f"expected an object with class_type and inputs; got {_kind(node)}", EXPORT_REMEDY, here)
        return
    if not isinstance(node.get("class_type"), str) or not node["class_type"]:
        yield Problem("the node has no class_type", _ON_PURPOSE if wrong else EXPORT_REMEDY, here)
    if "inputs" not in node:
        what = "the node has no `inputs`; ComfyUI accepts that, and its worker thread may die of it"
        yield Problem(what, 'Write "inputs": {} if it takes none, or take the node out.', here)
    elif not isinstance(node["inputs"], dict):
        yield Problem(f"`inputs` should be an object; it is {_kind(node['inputs'])}", EXPORT_REMEDY, here)
    elif not wrong:
        yield from _link_problems(graph, node["inputs"], here)


def _link_problems(graph: Mapping[str, Any], inputs: Mapping[str, Any], here: str) -> Iterator[Problem]:
    for name, value in inputs.items():
        if is_link(value) and value[0] not in graph:
            near = difflib.get_close_matches(value[0], list(graph), 1)
            remedy = f"The nearest node is {near[0]}." if near else f"Nodes are: {', '.join(list(graph)[:20])}."
            yield Problem(f"input {name} takes from node {value[0]}, which is not there", remedy, here)


def _kind(value: object) -> str:
    words = {dict: "an object", list: "a list", str: "a text", bool: "true or false", int: "a number"}
    return "null" if value is None else words.get(type(value), "a number")
