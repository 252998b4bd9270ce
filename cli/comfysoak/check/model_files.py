"""The model files a workflow names, each with its loader's list, as the server tells it. Pure."""

from __future__ import annotations

import difflib
import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from comfysoak_core.comfyui.judgement import label
from comfysoak_core.comfyui.node_classes import MODEL_FILE, NodeClass
from comfysoak_core.comfyui.shape import Graph, GraphShape, upstream

ObjectInfo = Mapping[str, Mapping[str, Any]]
_EMBEDDING: Final = re.compile(r"\bembedding:([^\s,:()]+)")
_NAMED_MOST: Final = 5


@dataclass(frozen=True, slots=True)
class ModelFile:
    """One input that names a model file; `choices` is the loader's list."""

    node_id: str
    place: str  # as people find it: `node 4 (CheckpointLoaderSimple), ckpt_name`
    node_class: str
    name: str
    choices: tuple[str, ...]

    @property
    def is_listed(self) -> bool:
        """Whether it is in the list."""
        return self.name in self.choices

    @property
    def nearest(self) -> list[str]:
        """The files of the list that come nearest to it, first those of the same name in another folder."""
        same = [choice for choice in self.choices if _last(choice) == _last(self.name)]
        near = difflib.get_close_matches(self.name, self.choices, _NAMED_MOST, 0.5)
        return list(dict.fromkeys([*same, *near]))[:_NAMED_MOST]


def _last(name: str) -> str:
    return re.split(r"[/\\]", name)[-1].lower()


def model_files(graph: Graph, object_info: ObjectInfo, without: Collection[str] = ()) -> tuple[ModelFile, ...]:
    """The model files that outputs of this graph need; `without`: paths (`4.ckpt_name`) looked at elsewhere."""
    needed = upstream(graph, GraphShape.of(graph).outputs)
    nodes = [node_id for node_id in graph if node_id in needed and graph[node_id]["class_type"] in object_info]
    return tuple(found for node_id in nodes for found in _of_node(graph, node_id, object_info, without))


def _of_node(graph: Graph, node_id: str, object_info: ObjectInfo, without: Collection[str]) -> Iterator[ModelFile]:
    node = graph[node_id]
    node_class = NodeClass(node["class_type"], object_info[node["class_type"]])
    for name, spec in node_class.inputs_for(node["inputs"]).items():
        value = node["inputs"].get(name)
        if not isinstance(value, str) or not spec.is_model(value) or f"{node_id}.{name}" in without:
            continue
        choices = tuple(choice for choice in spec.choices or () if isinstance(choice, str))
        if value not in choices or MODEL_FILE.search(value):  # else a choice that is no file (`taesd`)
            yield ModelFile(node_id, f"{label(graph, node_id)}, {name}", node_class.name, value, choices)


def embeddings(graph: Graph) -> tuple[str, ...]:
    """The embeddings its texts name (`embedding:bad_hands`)."""
    texts = [value for node in graph.values() for value in node["inputs"].values() if isinstance(value, str)]
    return tuple(dict.fromkeys(name for text in texts for name in _EMBEDDING.findall(text)))


def embedding_is_listed(name: str, listed: Collection[str]) -> bool:
    """Whether the server has it; names are listed without their extension."""
    bare = MODEL_FILE.sub("", name)
    return any(bare == MODEL_FILE.sub("", choice) for choice in listed)
