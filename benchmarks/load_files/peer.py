"""The plain way to do the same work: Locust's HttpUser and websocket-client.

A cycle: submit, listen to the end, ask history, fetch each picture, decode it and check its size.
BENCH_SOCKET=kept holds one socket a user; otherwise each prompt opens its own, as ComfyUI's own example does.
"""

from __future__ import annotations

import copy
import io
import json
import os
import random
import sys
import uuid
from pathlib import Path
from typing import Any

import websocket
from locust import HttpUser, events, task
from PIL import Image

sys.path.insert(0, str(Path(__file__).parent))

from meter import METER  # beside this file, wherever Locust was started

from comfysoak_load.process.built_in import GRAPH

KEPT = os.environ.get("BENCH_SOCKET") == "kept"

events.init.add_listener(METER.attach)


class PlainUser(HttpUser):  # type: ignore[misc]  # Locust is not typed here
    """Does what ours does."""

    def on_start(self) -> None:
        """Open the socket that is kept."""
        self.socket = self._open() if KEPT else None

    @task  # type: ignore[untyped-decorator]  # Locust is not typed here
    def generate(self) -> None:
        """One cycle."""
        socket = self.socket or self._open()
        try:
            prompt_id = self._submit()
            self._wait(socket, prompt_id)
        finally:
            if self.socket is None:
                socket.close(timeout=0)
        entry = self.client.get(f"/history/{prompt_id}", name="history").json()[prompt_id]
        if entry["status"]["status_str"] == "success" and self._pictures_are_right(entry["outputs"]):
            METER.cycles += 1

    def _open(self) -> Any:
        self.client_id = str(uuid.uuid4())  # of two sockets with one id a server forgets the newer
        address = self.host.replace("http", "ws", 1)
        return websocket.create_connection(f"{address}/ws?clientId={self.client_id}", timeout=60)

    def _submit(self) -> str:
        graph = copy.deepcopy(GRAPH)
        graph["1"]["inputs"]["color"] = random.randrange(0xFFFFFF)  # type: ignore[index]  # the graph's own shape
        prompt_id = str(uuid.uuid4())
        body = {"prompt": graph, "client_id": self.client_id, "prompt_id": prompt_id}
        answer = self.client.post("/prompt", json=body, name="submit")
        return str(answer.json()["prompt_id"])

    def _wait(self, socket: Any, prompt_id: str) -> None:
        while True:
            frame = socket.recv()
            if not isinstance(frame, str):
                continue
            message = json.loads(frame)
            data = message["data"]
            if message["type"] == "executing" and data["node"] is None and data["prompt_id"] == prompt_id:
                return

    def _pictures_are_right(self, outputs: dict[str, Any]) -> bool:
        found = [picture for node in outputs.values() for picture in node.get("images", [])]
        for picture in found:
            query = {name: picture[name] for name in ("filename", "subfolder", "type")}
            answer = self.client.get("/view", params=query, name="view")
            image = Image.open(io.BytesIO(answer.content))
            image.load()
            if image.size != (64, 64) or image.format != "PNG":
                return False
        return len(found) == 1
