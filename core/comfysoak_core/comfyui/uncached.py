"""A prompt that a ComfyUI cannot answer from its cache, and that gives the same pixels all the same.

A node is known to the cache by its class and by all its inputs, those its class does not declare included; these are
never handed to it. So an input of our own, different each time, has it run again. Nodes that only load or make what
others work on (checkpoints, empty latents) are left alone: what the server holds of them is what the others work with
too, and it is that which is to be looked at. See docs/decisions/008-the-canary-defeats-the-cache.md.
"""

from __future__ import annotations

from typing import Any, Final

from comfysoak_core.comfyui.shape import Graph, GraphShape

INPUT: Final = "comfysoak_canary"


def uncached(graph: Graph, shape: GraphShape, mark: str) -> dict[str, Any]:
    """The graph with `mark` as one more input of each node that works or puts something out."""
    marked = shape.working | shape.outputs
    return {
        node_id: {**node, "inputs": {**node["inputs"], INPUT: mark}} if node_id in marked else node
        for node_id, node in graph.items()
    }
