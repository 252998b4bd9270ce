"""What a run refuses before its first prompt: the questions of a check, asked of virtual servers."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from comfysoak.preflight import servers_as_found
from comfysoak_core.errors import TargetError
from comfysoak_core.scenario.plan import Plan
from comfysoak_core.scenario.read import read_scenario
from comfysoak_core.scenario.resolve import resolve
from tests.check.stand import Stand, sound_workflow


def plan_of(folder: Path, url: str, graph: dict[str, Any], more: str = "") -> Plan:
    (folder / "w.json").write_text(json.dumps(graph), encoding="utf-8")
    text = f"target: {{comfyui: '{url}'}}\nworkload: [{{workflow: w.json{more}}}]\nload: [{{users: 1, for: 1s}}]\n"
    (folder / "soak.yaml").write_text(text, encoding="utf-8")
    return resolve(*read_scenario(folder / "soak.yaml"))


def test_a_sound_server_is_told_of(stand: Stand, tmp_path: Path) -> None:
    """It says what it is, and nothing is sent."""
    (facts,) = servers_as_found(plan_of(tmp_path, stand.url, sound_workflow()))
    assert facts.comfyui_version in {"0.3.64", "0.33.0"}
    assert stand.server.engine.queue.remaining == 0


@pytest.mark.parametrize(
    ("node", "inputs", "says", "more"),
    [
        ("3", {"steps": 10**6}, "steps is 1000000, above its maximum of 10000", ""),
        ("3", {"sampler_name": "eulr"}, "The nearest is euler", ""),
        ("8", {"vae": ["4", 0]}, "wants VAE", ""),
        ("3", {"steps": 10**6}, "", ", expect: rejected"),
        ("3", {"steps": 10**6}, "", ", vary: {inputs: {3.steps: [2, 3]}}"),
        ("4", {"ckpt_name": "mine.safetensors"}, "", ""),  # other servers of a fleet may have it
    ],
)
def test_a_workflow_that_the_server_would_refuse(
    stand: Stand, tmp_path: Path, node: str, inputs: dict[str, Any], says: str, more: str
) -> None:
    """It is told with place and remedy, unless it is on purpose or what varies mends it."""
    graph = sound_workflow()
    graph[node]["inputs"] |= inputs
    plan = plan_of(tmp_path, stand.url, graph, more)
    if not says:
        servers_as_found(plan)
        return
    with pytest.raises(TargetError) as refused:
        servers_as_found(plan)
    assert says in str(refused.value)
    assert "would refuse w: node" in str(refused.value)


def test_a_node_class_the_server_lacks(stand: Stand, tmp_path: Path) -> None:
    """The nearest one it has is named."""
    graph = sound_workflow()
    graph["8"]["class_type"] = "VaeDecode"
    with pytest.raises(TargetError) as refused:
        servers_as_found(plan_of(tmp_path, stand.url, graph))
    assert "does not know these node classes: VaeDecode (in w)" in str(refused.value)
    assert "VAEDecode" in refused.value.problems[0].remedy


@contextmanager
def without_upgrade(url: str) -> Iterator[str]:
    """A proxy that passes all on but the wish for a WebSocket."""
    upstream = ("127.0.0.1", int(url.rpartition(":")[2]))
    listening = socket.create_server(("127.0.0.1", 0))

    def serve(client: socket.socket) -> None:
        with client, socket.create_connection(upstream) as server:
            head = client.recv(65536)
            lines = [line for line in head.split(b"\r\n") if not line.lower().startswith((b"upgrade:", b"connection:"))]
            server.sendall(lines[0] + b"\r\nConnection: close\r\n" + b"\r\n".join(lines[1:]))
            while part := server.recv(65536):
                client.sendall(part)

    def accept() -> None:
        while True:
            try:
                client, _ = listening.accept()
            except OSError:
                return
            threading.Thread(target=serve, args=(client,), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
    finally:
        listening.shutdown(socket.SHUT_RDWR)
        listening.close()


def test_a_proxy_that_does_not_upgrade(stand: Stand, tmp_path: Path) -> None:
    """The load could not hear of one end: said before it begins, with what the proxy lacks."""
    with without_upgrade(stand.url) as url, pytest.raises(TargetError) as refused:
        servers_as_found(plan_of(tmp_path, url, sound_workflow()))
    assert f"{url}/ws answered 400 in place of 101" in str(refused.value)
    assert "proxy_set_header Upgrade" in refused.value.problems[0].remedy
