"""The plain ways: `python peer.py websockets.sync|websocket-client hold|listen|users PORT NUMBER SECONDS`.

websockets.sync has a thread a socket, as its documentation shows; websocket-client a greenlet, as in the usual
locustfile. Each message is read as JSON, as ours are.
"""

from __future__ import annotations

import sys

if sys.argv[1] == "websocket-client":
    from gevent import monkey

    monkey.patch_all()

import json
import threading
import time
import uuid
from typing import Any

from benchmarks.socket_files import gauge

counts: list[list[int]] = []
kept: list[Any] = []


def open_one(kind: str, port: int) -> Any:
    """A connected socket of the library."""
    url = f"ws://127.0.0.1:{port}/ws?clientId={uuid.uuid4()}"
    if kind == "websockets.sync":
        from websockets.sync.client import connect

        return connect(url, max_size=None, compression=None, ping_interval=None)
    import websocket

    return websocket.create_connection(url, timeout=60)


def read_all(socket: Any, count: list[int]) -> None:
    """What a plain client does: receive, decode, look at the type."""
    while True:
        message = json.loads(socket.recv())
        if message["type"] == "status":
            count[0] += 1


def open_sockets(kind: str, port: int, number: int) -> int:
    """Sockets that are read; how many could be opened."""
    for opened in range(number):
        try:
            socket = open_one(kind, port)
            count = [0]
            thread = threading.Thread(target=read_all, args=(socket, count), daemon=True)
            thread.start()
        except (OSError, RuntimeError, MemoryError):
            return opened
        kept.append((socket, thread))
        counts.append(count)
    return number


def open_users(port: int, number: int) -> int:
    """Users of plain Locust with a prompt on its way: an HttpUser with a websocket-client socket each."""
    from locust import HttpUser, task
    from locust.env import Environment

    class Plain(HttpUser):  # type: ignore[misc]  # Locust is not typed here
        host = f"http://127.0.0.1:{port}"

        @task  # type: ignore[untyped-decorator]  # Locust is not typed here
        def generate(self) -> None:
            name = str(uuid.uuid4())
            self.socket = open_one("websocket-client", port)
            self.client.post("/prompt", json={"prompt": {}, "client_id": name, "prompt_id": name})
            kept.append(self)
            while True:
                json.loads(self.socket.recv())

    runner = Environment(user_classes=[Plain]).create_local_runner()
    before = len(kept)
    for _ in range(number):
        Plain(runner.environment).start(runner.user_greenlets)
    give_up = time.monotonic() + 60
    while len(kept) - before < number and time.monotonic() < give_up:
        time.sleep(0.1)
    return len(kept) - before


def main() -> None:
    """Do what the command line says."""
    kind, what, port, number = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
    gauge.allow_handles()
    if what == "listen":
        open_sockets(kind, port, number)
        time.sleep(1.0)
        measured = gauge.Messages(sum(count[0] for count in counts))
        time.sleep(float(sys.argv[5]))
        measured.tell(sum(count[0] for count in counts))

    def some(count: int) -> int:
        return open_sockets(kind, port, count) if what == "hold" else open_users(port, count)

    some(gauge.FIRST)
    before = gauge.rss_bytes()
    held = some(number)
    time.sleep(1.0)
    gauge.tell(bytes=(gauge.rss_bytes() - before) / max(held, 1), held=held)


if __name__ == "__main__":
    main()
