"""What a gateway makes of a request before it asks ComfyUI: the fields, and the workflow they are written into.

The same mistakes as the real one: a wrong key or an unknown type changes nothing and is no error; an absent negative
prompt is written as null.
"""

from __future__ import annotations

import json
import random
from dataclasses import dataclass, field
from typing import Any

from pydantic import BaseModel, ConfigDict, TypeAdapter

Json = Any
Graph = dict[str, Any]


class Request(BaseModel):
    """The body of POST /generations; other fields are ignored."""

    model_config = ConfigDict(extra="ignore")

    prompt: str
    model: str | None = None
    size: str | None = None
    n: int | None = 1
    steps: int | None = None
    negative_prompt: str | None = None
    response_format: str | None = None


class Mapping(BaseModel):
    """One entry of COMFYUI_WORKFLOW_NODES."""

    type: str | None = None
    key: str | None = "text"
    node_ids: list[str] = []
    value: str | None = None


_MAPPINGS: TypeAdapter[list[Mapping]] = TypeAdapter(list[Mapping])
_OWN_KEY = {"prompt": "text", "negative_prompt": "text", "n": "batch_size"}  # others are called as their type is


@dataclass(frozen=True)
class Defaults:
    """What stands in the gateway's configuration: the workflow as text, its mappings, and what a request leaves out."""

    workflow: str
    nodes: Json = field(default_factory=list)
    model: str = ""
    size: str = "512x512"
    steps: int = 50


class MappingError(Exception):
    """The workflow or its mappings cannot be used; old gateways tell the client the text."""


def graph_of(defaults: Defaults, request: Request, size: str, steps: int, numbers: random.Random) -> Graph:
    """The workflow with the request written into it. MappingError; ValueError for a size that is none."""
    width, height = (int(part) for part in size.split("x"))
    try:
        mappings = _MAPPINGS.validate_python(defaults.nodes)
        graph: Graph = json.loads(defaults.workflow)
        values = {
            "model": defaults.model,
            "prompt": request.prompt,
            "negative_prompt": request.negative_prompt,
            "width": width,
            "height": height,
            "n": request.n,
            "steps": steps,
            "seed": numbers.randint(0, 2**50),
        }
        for mapping in mappings:
            _write(graph, mapping, values)
    except (ValueError, KeyError, TypeError, AttributeError) as error:  # a ValidationError is a ValueError
        raise MappingError(str(error)) from error
    return graph


def _write(graph: Graph, mapping: Mapping, values: dict[str, Json]) -> None:
    kind = mapping.type
    if kind and kind not in values:
        return
    key = mapping.key or (_OWN_KEY.get(kind, kind) if kind and kind not in {"model", "seed"} else "null")
    for node_id in mapping.node_ids:
        graph[node_id]["inputs"][key] = values[kind] if kind else mapping.value


# What Open WebUI has before anybody configures it, with its inputs mapped.
BUILT_IN_WORKFLOW: Graph = {
    "3": {
        "class_type": "KSampler",
        "inputs": {
            "seed": 0,
            "steps": 20,
            "cfg": 8,
            "sampler_name": "euler",
            "scheduler": "normal",
            "denoise": 1,
            "model": ["4", 0],
            "positive": ["6", 0],
            "negative": ["7", 0],
            "latent_image": ["5", 0],
        },
    },
    "4": {"class_type": "CheckpointLoaderSimple", "inputs": {"ckpt_name": "v1-5-pruned-emaonly.safetensors"}},
    "5": {"class_type": "EmptyLatentImage", "inputs": {"width": 512, "height": 512, "batch_size": 1}},
    "6": {"class_type": "CLIPTextEncode", "inputs": {"text": "Prompt", "clip": ["4", 1]}},
    "7": {"class_type": "CLIPTextEncode", "inputs": {"text": "", "clip": ["4", 1]}},
    "8": {"class_type": "VAEDecode", "inputs": {"samples": ["3", 0], "vae": ["4", 2]}},
    "9": {"class_type": "SaveImage", "inputs": {"filename_prefix": "ComfyUI", "images": ["8", 0]}},
}
BUILT_IN_NODES: list[Json] = [
    {"type": "prompt", "key": "text", "node_ids": ["6"]},
    {"type": "width", "key": "width", "node_ids": ["5"]},
    {"type": "height", "key": "height", "node_ids": ["5"]},
    {"type": "n", "key": "batch_size", "node_ids": ["5"]},
    {"type": "steps", "key": "steps", "node_ids": ["3"]},
    {"type": "seed", "key": "seed", "node_ids": ["3"]},
]
