"""A gateway that says what recorded ones said: of a request the answer that was recorded to its like.

Open WebUI 0.12.4 and the images app of 0.3.35; what no recording has (a route of the application around it) is as in
the contract. One recorded case may stand in for the answers to requests for pictures, or for another route.
"""

from __future__ import annotations

import io
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from PIL import Image

FOLDER = Path(__file__).parents[1] / "data" / "recordings" / "gateway"
TOKEN = "sk-of-the-recordings-0123456789"  # nobody's


def exchange(name: str, index: int = 0) -> dict[str, Any]:
    """One exchange of a recorded case."""
    found: dict[str, Any] = json.loads((FOLDER / f"{name}.json").read_text(encoding="utf-8"))["exchanges"][index]
    return found


class _Recorded(ThreadingHTTPServer):
    daemon_threads = True
    old = False
    case: str | None = None


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Recorded

    def do_GET(self) -> None:
        path, old = self.path, self.server.old
        if path == "/health":
            self._say(200, {"status": True})
        elif path == "/api/version":
            self._say(200, {"version": "0.3.35" if old else "0.12.4"})
        elif path == "/images/api/v1/image/config" and old:
            self._say(200, {"MODEL": "", "IMAGE_SIZE": "64x64", "IMAGE_STEPS": 4})
        elif path == ("/images/api/v1/config" if old else "/api/v1/images/config"):
            self._as("v0335-ok-config" if old else "ok-config")
        elif path == "/api/v1/images/models" and not old:
            self._as("ok-models")
        elif path.startswith(("/api/v1/files/", "/cache/image/generations/")):
            self._file()
        else:
            raise AssertionError(f"nothing was recorded of GET {path}, which must not be asked")

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers.get("Content-Length", 0))))
        assert self.path.endswith("/generations"), self.path
        given = self.headers.get("Authorization", "")
        if given != f"Bearer {TOKEN}":
            self._as("v0335-fail-auth" if self.server.old else "fail-auth", 0 if not given else 1)
        elif "prompt" not in asked:
            self._as("fail-payloads", 0)
        elif self.server.case is not None:
            self._as(self.server.case)
        else:
            self._pictures(asked.get("n", 1))

    def do_DELETE(self) -> None:
        self._say(200, {"message": "File deleted successfully"})

    def _pictures(self, count: int) -> None:
        if self.server.old:
            listed = exchange("v0335-ok-generate")["response"]["body"] * count
        else:
            listed = exchange("ok-n3-size")["response"]["body"][:count]
        self._say(200, listed)

    def _file(self) -> None:
        if not self.server.old and self.path.endswith("/content") and "Authorization" not in self.headers:
            self._as("ok-generate-then-download", 2)
            return
        if not self.path.endswith("/content") and not self.server.old:
            self._say(404, {"detail": "We could not find what you're looking for :/"})
            return
        buffer = io.BytesIO()
        Image.new("RGB", (64, 64)).save(buffer, "PNG")
        self._send(200, "image/png", buffer.getvalue())

    def _as(self, case: str, index: int = 0) -> None:
        response = exchange(case, index)["response"]
        self._say(response["status"], response["body"])

    def _say(self, status: int, document: Any) -> None:
        self._send(status, "application/json", json.dumps(document).encode())

    def _send(self, status: int, kind: str, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Not on the terminal of the tests."""


@contextmanager
def recorded(*, old: bool, case: str | None = None) -> Iterator[str]:
    """Its address. `case` stands in for the answers to requests for pictures."""
    with _Recorded(("127.0.0.1", 0), _Handler) as server:
        server.old, server.case = old, case
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()
            thread.join(10)
