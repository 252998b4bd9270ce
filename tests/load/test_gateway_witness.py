"""The servers behind a gateway, asked by requests that look alike: real sockets, each with a queue of its own."""

from __future__ import annotations

import json
import socket
from contextlib import ExitStack

from comfysoak_core.clock import Anchor, AnchoredClock
from comfysoak_core.gateway.sighting import Whereabouts
from comfysoak_load.gateway.witness import Witness
from comfysoak_load.servers.target import Target
from tests.load.raw_server import Handler, answer, raw_server, read_request

CLOCK = AnchoredClock(Anchor.take())


def with_prompt(name: str) -> Handler:
    """A server on which one prompt waits."""
    graph = {"1": {"class_type": "CLIPTextEncode", "inputs": {"text": "a cat"}}}
    queue = json.dumps({"queue_running": [], "queue_pending": [[1, name, graph, {}, []]]}).encode()

    def handler(connection: socket.socket) -> None:
        while request := read_request(connection):
            answer(connection, queue if request.startswith(b"GET /queue") else b"{}")

    return handler


def test_one_request_takes_one_prompt_of_all_servers() -> None:
    """Of two requests with the same text, each at a server of its own, both find theirs; a third finds none."""
    with ExitStack() as stack:
        ports = [stack.enter_context(raw_server(with_prompt(name))).port for name in ("one", "other")]
        targets = [Target(f"http://127.0.0.1:{port}", CLOCK) for port in ports]
        witness = Witness(targets, CLOCK, lambda: 1)
        began_ns = CLOCK.now_ns()
        found = [witness.ask("a cat", began_ns, succeeded=False) for _ in range(3)]
        for target in targets:
            target.close()
    assert [one.whereabouts for one in found] == [Whereabouts.WAITS, Whereabouts.WAITS, Whereabouts.UNKNOWN]
    assert {one.trace.prompt_id for one in found if one.trace is not None} == {"one", "other"}
