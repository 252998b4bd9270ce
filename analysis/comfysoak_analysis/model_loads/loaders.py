"""Which nodes of a workflow read the file of the model that a node uses."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

_FILE = re.compile(r"(?i)\.(?:safetensors|sft|ckpt|pth?|bin|gguf|pkl|onnx)$")
_CLASS = re.compile(
    r"(?i)(?=.*load)(?!.*lora).*(?:checkpoint|ckpt|unet|diff|vae|clip|control|upscale|gguf|model|encoder)"
)
_ADAPTER = re.compile(r"(?i)lora|embedding")  # a small file beside the model; the model comes from elsewhere
_MODEL_INPUT = re.compile(r"(?i)model|clip|vae|unet|control|guider|gligen|pipe|encoder")
# How the log calls models of a kind, and how the inputs and the classes are called by which loaders read them.
_KINDS = (
    (re.compile(r"(?i)vae|autoenc|taesd|taehv|stage_?[ac]$|oobleck"), re.compile(r"(?i)vae|ckpt|checkpoint")),
    (re.compile(r"(?i)control|t2i"), re.compile(r"(?i)control")),
    (re.compile(r"(?i)vision|siglip|dino"), re.compile(r"(?i)clip|vision")),
    (re.compile(r"(?i)clip|t5|bert|llama|gemma|text|te_?$|temodel"), re.compile(r"(?i)clip|text|ckpt|checkpoint")),
)
_ANY_OTHER = re.compile(r"(?i)^(?!.*(?:vae|clip|control|vision)).*$")
_DEEPEST = 64


@dataclass(frozen=True, slots=True)
class Loader:
    """A node that reads a model's file."""

    node_id: str
    file: str | None
    input_name: str


def is_loader_class(name: object) -> bool:
    """Whether a class of nodes is one that reads a model, by its name."""
    return isinstance(name, str) and _CLASS.match(name) is not None


def reads_kind(what: str, model: str | None) -> bool:
    """Whether a loader with this input (or class) can have read a model that the log calls so."""
    wanted = next((inputs for names, inputs in _KINDS if names.search(model or "")), _ANY_OTHER)
    return model is None or wanted.search(what) is not None


class Graph:
    """One workflow in API format, of any quality."""

    def __init__(self, graph: Mapping[str, Any]) -> None:
        self._nodes = {
            str(node_id): node["inputs"]
            for node_id, node in graph.items()
            if isinstance(node, Mapping) and isinstance(node.get("inputs"), Mapping)
        }
        self._classes = {str(key): node.get("class_type") for key, node in graph.items() if isinstance(node, Mapping)}

    def users(self) -> Iterator[str]:
        """The nodes that use a model which another node reads."""
        for node_id in self._nodes:
            if self._loader(node_id) is None and any(True for _ in self._above(node_id, everywhere=False)):
                yield node_id

    def loaders(self, node_id: str, model: str | None, variation: str = "{}") -> tuple[Loader, ...]:
        """Those that read what is loaded in this node, by the kind of model; empty where the graph does not tell."""
        own = self._loader(node_id)
        everywhere = reads_kind("control_net_name", model) and model is not None and not reads_kind("unet_name", model)
        reached = (self._loader(name) for name in self._reached(node_id, everywhere=everywhere))
        above = [own] if own is not None else [one for one in reached if one is not None]
        chosen = [one for one in above if reads_kind(one.input_name, model)] or above
        varied = _varied(variation)
        return tuple(
            replace(one, file=str(file)) if (file := varied.get(f"{one.node_id}.{one.input_name}")) else one
            for one in chosen
        )

    def _reached(self, node_id: str, *, everywhere: bool) -> list[str]:
        """The nodes above, the nearest first; not through a loader to what lies above it."""
        found, edge = [node_id], [node_id]
        for _ in range(_DEEPEST):
            edge = [
                name
                for one in edge
                if one == node_id or self._loader(one) is None
                for name in self._above(one, everywhere=everywhere)
                if name not in found
            ]
            found += dict.fromkeys(edge)
            if not edge:
                break
        return found[1:]

    def _above(self, node_id: str, *, everywhere: bool) -> Iterator[str]:
        for name, value in self._nodes.get(node_id, {}).items():
            linked = isinstance(value, list) and len(value) == 2 and str(value[0]) in self._nodes
            if linked and (everywhere or _MODEL_INPUT.search(str(name))):
                yield str(value[0])

    def _loader(self, node_id: str) -> Loader | None:
        for name, value in self._nodes.get(node_id, {}).items():
            if isinstance(value, str) and _FILE.search(value) and not _ADAPTER.search(str(name)):
                return Loader(node_id, value, str(name))
        name = self._classes.get(node_id)
        return Loader(node_id, None, str(name)) if is_loader_class(name) else None


def _varied(variation: str) -> dict[str, Any]:
    try:
        found = json.loads(variation)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}
