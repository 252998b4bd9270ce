"""A container engine on a Unix socket that answers as Docker does, for as many containers as a test says."""

from __future__ import annotations

import json
import socketserver
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit


@dataclass(slots=True)
class StandinContainer:
    """One container, by what the API says of it."""

    id: str
    name: str = "comfy"
    image: str = "yanwk/comfyui-boot:cu128-slim"
    pid: int = 0
    running: bool = True
    exit_code: int = 0
    oom_killed: bool = False
    restarts: int = 0
    started: str = "2026-11-22T10:00:00Z"
    public_port: int | None = None
    address: str = "172.17.0.2"

    def inspected(self) -> dict[str, Any]:
        """GET /containers/ID/json."""
        return {
            "Id": self.id,
            "Name": f"/{self.name}",
            "RestartCount": self.restarts,
            "State": {"Running": self.running, "Pid": self.pid if self.running else 0, "ExitCode": self.exit_code,
                      "OOMKilled": self.oom_killed, "StartedAt": self.started},
            "Config": {"Image": self.image, "Env": ["TOKEN=secret"]},
        }  # fmt: skip

    def listed(self) -> dict[str, Any]:
        """One entry of GET /containers/json."""
        ports = [{"PrivatePort": 8188, "PublicPort": self.public_port, "Type": "tcp"}] if self.public_port else []
        return {"Id": self.id, "Ports": ports, "NetworkSettings": {"Networks": {"bridge": {"IPAddress": self.address}}}}


@dataclass(slots=True)
class StandinEngine:
    """The engine: its containers, and the events it tells of."""

    path: Path
    containers: dict[str, StandinContainer] = field(default_factory=dict)
    events: list[tuple[float, dict[str, Any]]] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)

    def dies(self, container: StandinContainer, at_s: float, exit_code: int, *, oom: bool = False) -> None:
        """It ended: the events, and its state."""
        if oom:
            self.events.append((at_s, {"Action": "oom", "Actor": {"ID": container.id, "Attributes": {}}}))
        told = {"Action": "die", "Actor": {"ID": container.id, "Attributes": {"exitCode": str(exit_code)}}}
        self.events.append((at_s, told))
        container.running, container.exit_code, container.oom_killed = False, exit_code, oom

    def answer(self, path: str) -> tuple[int, bytes]:
        """Status and body."""
        parts = urlsplit(path)
        if parts.path == "/events":
            return 200, self._events(parse_qs(parts.query))
        if parts.path == "/containers/json":
            return 200, json.dumps([one.listed() for one in self.containers.values() if one.running]).encode()
        container = self.containers.get(parts.path.split("/")[2])
        if container is None:
            return 404, b'{"message": "No such container"}'
        return 200, json.dumps(container.inspected()).encode()

    def _events(self, query: dict[str, list[str]]) -> bytes:
        since_s, until_s = float(query["since"][0]), float(query["until"][0])
        (wanted,) = json.loads(query["filters"][0])["container"]
        told = [event for at_s, event in self.events if since_s <= at_s <= until_s and event["Actor"]["ID"] == wanted]
        return b"".join(json.dumps(event).encode() + b"\n" for event in told)


class _Server(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    daemon_threads = True
    engine: StandinEngine


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        assert isinstance(self.server, _Server)
        engine = self.server.engine
        engine.asked.append(self.path)
        status, body = engine.answer(self.path)
        self.send_response(status)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        if body:
            self.wfile.write(b"%x\r\n%b\r\n" % (len(body), body))
        self.wfile.write(b"0\r\n\r\n")

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # as the class has it
        return


@contextmanager
def standin_engine(path: Path) -> Iterator[StandinEngine]:
    """An engine that listens at `path` until the block ends."""
    with _Server(str(path), _Handler) as server:
        server.engine = StandinEngine(path)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        thread.start()
        yield server.engine
        server.shutdown()
        thread.join()
