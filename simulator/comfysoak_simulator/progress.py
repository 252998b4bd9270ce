"""The progress of the nodes of one prompt, as it is told: all of them each time, and 0.33 not every step."""

from __future__ import annotations

from typing import Any

from comfysoak_core.clock import NS_PER_MS
from comfysoak_simulator import messages
from comfysoak_simulator.graph import Node
from comfysoak_simulator.messages import Binary, ImageFormat
from comfysoak_simulator.worker import Worker

Json = Any
_THROTTLE_NS = 100 * NS_PER_MS
_THROTTLE_SHARE = 0.005


class Progress:
    """Tells the owner of a prompt, or everyone when it has none."""

    def __init__(self, prompt_id: str, client: str | None, worker: Worker) -> None:
        self._prompt_id = prompt_id
        self._client = client
        self._worker = worker
        self._nodes: dict[str, dict[str, Json]] = {}
        self._told_ns: dict[str, int] = {}
        self._told_value: dict[str, float] = {}

    def start(self, node: Node) -> None:
        """The node runs."""
        self._put(node, 0.0, 1.0, "running")

    def update(self, node: Node, value: float, most: float, image: bytes | None, kind: ImageFormat) -> None:
        """The node has come to `value` of `most`, perhaps with an image to show."""
        if image is None and self._too_soon(node.id, value, most):
            return
        self._put(node, value, most, "running")
        with_metadata = image is not None and self._worker.takes_metadata(self._client)
        if image is not None and with_metadata:
            self._send(Binary.IMAGE_WITH_METADATA, self._with_metadata(node, image, kind))
        self._send("progress", {"value": value, "max": most, "prompt_id": self._prompt_id, "node": node.id})
        if image is not None and not with_metadata:
            self._send(Binary.IMAGE, messages.image(kind, image))

    def finish(self, node: Node) -> None:
        """The node has its result."""
        before = self._nodes.get(node.id)
        most = before["max"] if before is not None else 1.0
        self._put(node, most, most, "finished")

    def _too_soon(self, node_id: str, value: float, most: float) -> bool:
        """0.33 tells at most every 100 ms and per half a percent, but the first and the last always."""
        now_ns = self._worker.clock.now_ns()
        told_ns = self._told_ns.get(node_id)
        if self._worker.newer and told_ns is not None and value < most:
            step = value - self._told_value[node_id]
            if now_ns - told_ns < _THROTTLE_NS or step < _THROTTLE_SHARE * most:
                return True
        self._told_ns[node_id] = now_ns
        self._told_value[node_id] = value
        return False

    def _put(self, node: Node, value: float, most: float, state: str) -> None:
        self._nodes[node.id] = {
            "value": value,
            "max": most,
            "state": state,
            "node_id": node.id,
            "prompt_id": self._prompt_id,
            "display_node_id": node.display_id,
            "parent_node_id": node.parent,
            "real_node_id": node.display_id,
        }
        self._send("progress_state", {"prompt_id": self._prompt_id, "nodes": self._nodes.copy()})

    def _with_metadata(self, node: Node, image: bytes, kind: ImageFormat) -> bytes:
        metadata = {
            "node_id": node.id,
            "prompt_id": self._prompt_id,
            "display_node_id": node.display_id,
            "parent_node_id": node.parent,
            "real_node_id": node.display_id,
            "image_type": "image/png" if kind is ImageFormat.PNG else "image/jpeg",
        }
        return messages.image_with_metadata(metadata, image)

    def _send(self, event: str | Binary, data: Json) -> None:
        self._worker.send(event, data, self._client)
