from __future__ import annotations

from typing import Any

from comfysoak_core.comfyui.shape import GraphShape
from comfysoak_core.comfyui.uncached import INPUT, uncached

GRAPH: dict[str, Any] = {
    "1": {"class_type": "CheckpointLoaderSimple", "inputs": {"ckpt_name": "a"}},
    "2": {"class_type": "EmptyLatentImage", "inputs": {"width": 64}},
    "3": {"class_type": "KSampler", "inputs": {"model": ["1", 0], "latent_image": ["2", 0]}},
    "4": {"class_type": "SaveImage", "inputs": {"images": ["3", 0]}, "_meta": {"title": "out"}},
}


def test_what_works_and_what_saves_is_marked_and_loaders_are_left_alone() -> None:
    """The model that the server holds is the one to be looked at: it is not loaded again."""
    marked = uncached(GRAPH, GraphShape.of(GRAPH), "today")
    assert {node_id for node_id, node in marked.items() if INPUT in node["inputs"]} == {"3", "4"}
    assert marked["3"]["inputs"] == {**GRAPH["3"]["inputs"], INPUT: "today"}
    assert marked["4"]["_meta"] == {"title": "out"}
    assert INPUT not in GRAPH["3"]["inputs"]
