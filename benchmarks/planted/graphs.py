"""The workflows that are sent, in API format, and what keeping one of them takes in a server's memory."""

from __future__ import annotations

import json
from typing import Any, Final

from benchmarks.planted.course import CLASSES, CPU, DECODE, SAVE
from benchmarks.planted.world import Workflow, World

_OF_JSON: Final = 7.0  # times the text of a graph, as objects of Python (measured with tracemalloc: 6.7 to 7.4)
_BESIDE: Final = 4096  # outputs, status and messages of the prompt


def graph_of(world: World, flow: Workflow) -> dict[str, Any]:
    """What a user of this workflow sends."""
    return _graph(flow, "x" * world.script.prompt_bytes or "a lighthouse")


def kept_bytes(world: World, flow: Workflow) -> float:
    """What the server's history takes for one prompt; a long text is kept as it came."""
    small = len(json.dumps(_graph(flow, "")))
    return world.kept_factor * (_OF_JSON * small + world.script.prompt_bytes + _BESIDE)


def _graph(flow: Workflow, text: str) -> dict[str, Any]:
    """A text-to-image workflow in API format."""
    picture = [CPU, 0] if flow.cpu_s else [DECODE, 0]
    nodes: dict[str, Any] = {
        "3": {
            "class_type": CLASSES["3"],
            "inputs": {"seed": 1, "steps": flow.steps, "cfg": 7.0, "sampler_name": "euler", "scheduler": "normal",
                       "denoise": 1.0, "model": ["4", 0], "positive": ["6", 0], "negative": ["6", 0],
                       "latent_image": ["5", 0]},
        },
        "4": {"class_type": CLASSES["4"], "inputs": {"ckpt_name": f"{flow.name}.safetensors"}},
        "5": {"class_type": CLASSES["5"], "inputs": {"width": 1024, "height": 1024, "batch_size": 1}},
        "6": {"class_type": CLASSES["6"], "inputs": {"text": text, "clip": ["4", 1]}},
        DECODE: {"class_type": CLASSES[DECODE], "inputs": {"samples": ["3", 0], "vae": ["4", 2]}},
        SAVE: {"class_type": CLASSES[SAVE], "inputs": {"filename_prefix": "soak", "images": picture}},
    }  # fmt: skip
    if flow.cpu_s:
        nodes[CPU] = {"class_type": CLASSES[CPU], "inputs": {"images": [DECODE, 0]}}
    return nodes
