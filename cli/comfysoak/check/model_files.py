"""The model files a workflow names, each with its loader's list, as the server tells it. Pure."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from comfysoak_core.comfyui.shape import Graph, GraphShape, is_link, upstream

ObjectInfo = Mapping[str, Mapping[str, Any]]
_MODEL_FILE: Final = re.compile(r"\.(safetensors|sft|ckpt|pt|pt2|pth|bin|gguf|onnx|pkl|engine)$", re.IGNORECASE)
_EMBEDDING: Final = re.compile(r"\bembedding:([^\s,:()]+)")
_NAMED_MOST: Final = 5


@dataclass(frozen=True, slots=True)
class ModelFile:
    """One input that names a model file. `choices` is the loader's list; None: the server does not tell one."""

    node_id: str
    node_class: str
    input_name: str
    name: str
    choices: tuple[str, ...] | None

    @property
    def is_listed(self) -> bool:
        """Whether it is in the list, or there is no list to look at."""
        return self.choices is None or self.name in self.choices

    @property
    def place(self) -> str:
        """`node 4 (CheckpointLoaderSimple), ckpt_name`."""
        return f"node {self.node_id} ({self.node_class}), {self.input_name}"

    @property
    def nearest(self) -> tuple[str, ...]:
        """The files of the list that come nearest to it, first those of the same name in another folder."""
        choices = self.choices or ()
        last = _last(self.name)
        same = [choice for choice in choices if _last(choice) == last]
        near = difflib.get_close_matches(self.name, choices, _NAMED_MOST, 0.5)
        return tuple(dict.fromkeys([*same, *near]))[:_NAMED_MOST]


def _last(name: str) -> str:
    return re.split(r"[/\\]", name)[-1].lower()


def model_files(graph: Graph, object_info: ObjectInfo) -> tuple[ModelFile, ...]:
    """The model files that the outputs of this graph need: what has the name of one, or is chosen from such names."""
    needed = upstream(graph, GraphShape.of(graph).outputs)
    return tuple(_in(graph, [node_id for node_id in graph if node_id in needed], object_info))


def _in(graph: Graph, node_ids: list[str], object_info: ObjectInfo) -> Iterator[ModelFile]:
    for node_id in node_ids:
        node = graph[node_id]
        for name, value in node["inputs"].items():
            if isinstance(value, str) and not is_link(value):
                choices = choices_of_input(object_info.get(node["class_type"]), name)
                if is_model_file(value, choices):
                    yield ModelFile(node_id, node["class_type"], name, value, choices)


def is_model_file(value: str, choices: tuple[str, ...] | None) -> bool:
    """Whether an input with this value, chosen from these, names a model file; what is no file (`taesd`) does not.

    A text without choices is a prompt, whatever it ends in.
    """
    if choices is None:
        return False
    if _MODEL_FILE.search(value):
        return True
    return value not in choices and any(_MODEL_FILE.search(choice) for choice in choices)


def choices_of_input(info: Mapping[str, Any] | None, input_name: str) -> tuple[str, ...] | None:
    """The texts an input may hold, as either style declares them; None when it is not chosen from a list."""
    declared = info.get("input") if isinstance(info, dict) else None
    for group in ("required", "optional"):
        inputs = declared.get(group) if isinstance(declared, dict) else None
        kind = inputs.get(input_name) if isinstance(inputs, dict) else None
        if not isinstance(kind, list) or not kind:
            continue
        options = kind[0]
        if options == "COMBO" and len(kind) > 1 and isinstance(kind[1], dict):
            options = kind[1].get("options")
        if isinstance(options, list):
            return tuple(choice for choice in options if isinstance(choice, str))
    return None


def embeddings(graph: Graph) -> tuple[str, ...]:
    """The embeddings its texts name (`embedding:bad_hands`)."""
    texts = [value for node in graph.values() for value in node["inputs"].values() if isinstance(value, str)]
    return tuple(dict.fromkeys(name for text in texts for name in _EMBEDDING.findall(text)))


def embedding_is_listed(name: str, listed: list[str]) -> bool:
    """Whether the server has it; names are listed without their extension."""
    bare = _MODEL_FILE.sub("", name)
    return any(bare in {choice, _MODEL_FILE.sub("", choice)} for choice in listed)
