"""A server that knows when it said what: `python -m benchmarks.time_files.server PROMPTS SOCKETS [CERTIFICATE]`.

Prints its port, waits for so many sockets, then runs prompts one at a time as ComfyUI does: status to all, progress to
the owner, and a burst at the end whose last message is `executing` null, right before the next prompt's status. Prints
one line of JSON at the end: prompt id -> when it was handed to the kernel, [before, after], on the monotonic clock of
this machine.
"""

from __future__ import annotations

import json
import random
import socket
import ssl
import sys
import time

from benchmarks.handshake import switching

STEPS = 10
STEP_S = 0.005
NODE_S = 0.04


def opened(connection: socket.socket) -> socket.socket:
    """The connection, with its WebSocket opened."""
    head = b""
    while b"\r\n\r\n" not in head:
        head += connection.recv(65536)
    answer = switching(head)
    assert answer is not None
    connection.sendall(answer)
    return connection


def frame(kind: str, **data: object) -> bytes:
    """A message as a frame."""
    text = json.dumps({"type": kind, "data": data}).encode()
    header = bytes((0x81, len(text))) if len(text) < 126 else bytes((0x81, 126)) + len(text).to_bytes(2, "big")
    return header + text


def status(everyone: list[socket.socket], remaining: int) -> None:
    """What all are told."""
    said = frame("status", status={"exec_info": {"queue_remaining": remaining}})
    for connection in everyone:
        connection.sendall(said)


def run(prompt: str, owner: socket.socket, everyone: list[socket.socket]) -> tuple[int, int]:
    """One prompt; when its end was handed over."""
    status(everyone, 1)
    owner.sendall(frame("execution_start", prompt_id=prompt, timestamp=1))
    owner.sendall(frame("execution_cached", prompt_id=prompt, nodes=[], timestamp=1))
    owner.sendall(frame("executing", prompt_id=prompt, node="3", display_node="3"))
    for step in range(STEPS):
        time.sleep(STEP_S)
        owner.sendall(frame("progress", prompt_id=prompt, node="3", value=step, max=STEPS))
    time.sleep(random.expovariate(1 / NODE_S))
    owner.sendall(frame("executed", prompt_id=prompt, node="9", output={"images": []}))
    owner.sendall(frame("execution_success", prompt_id=prompt, timestamp=2))
    status(everyone, 0)
    end = frame("executing", prompt_id=prompt, node=None)
    before = time.monotonic_ns()
    owner.sendall(end)
    return before, time.monotonic_ns()


def main() -> None:
    """Serve one client."""
    prompts, sockets = int(sys.argv[1]), int(sys.argv[2])
    listening = socket.create_server(("127.0.0.1", 0), backlog=sockets)
    print(listening.getsockname()[1], flush=True)
    context = None
    if len(sys.argv) > 3:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(sys.argv[3])
    everyone = []
    for _ in range(sockets):
        connection = listening.accept()[0]
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        everyone.append(opened(context.wrap_socket(connection, server_side=True) if context else connection))
    time.sleep(0.5)
    ends = {f"p{number}": run(f"p{number}", everyone[number % sockets], everyone) for number in range(prompts)}
    time.sleep(0.5)
    print(json.dumps(ends), flush=True)


if __name__ == "__main__":
    main()
