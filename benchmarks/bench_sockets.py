"""Sockets: how many one process holds, what each weighs, and how many messages it reads, beside the plain ways.

Ours is the load process as under a test, journal and keepalive and all. The plain ways are websockets.sync with a
thread a socket and websocket-client with a greenlet a socket, as locustfiles have it, and Artillery
where it is installed. All hold sockets of the same
server, which runs in a process of its own; counted is the client process alone.
"""

from __future__ import annotations

import json
import resource
import statistics
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from benchmarks.figure import Figure
from benchmarks.socket_files import artillery

FILES = "benchmarks.socket_files"
ROOT = Path(__file__).parents[1]
PEERS = ("websockets.sync", "websocket-client")
ROUNDS = 5
HELD, HELD_FULL = 2000, 10_000
PEER_HELD = 500  # what one weighs does not depend on it
HANDLES_BESIDE = 500
LISTENERS, PER_S, LISTEN_S = 1000, 10.0, 4.0
USERS = 200
NEVER_WITHIN_S = 300.0
GOAL_SOCKET_BYTES, GOAL_USER_BYTES, GOAL_MESSAGES = 6 * 1024, 20 * 1024, 40_000

Figures = dict[str, float]


def measure(*, full: bool) -> Iterator[Figure]:
    """The figures, most important first."""
    held = _held(full=full)
    with _server(0.0) as quiet:
        yield from _memory_of_sockets(quiet, held)
        yield from _memory_of_users(quiet)
    with _server(PER_S) as talking:
        yield from _messages(talking, PEERS if full else PEERS[1:])  # a thousand threads take minutes


def _held(*, full: bool) -> int:
    """How many sockets are held: as many as wanted, or as the file handles of a process allow."""
    wanted = HELD_FULL if full else HELD
    allowed = resource.getrlimit(resource.RLIMIT_NOFILE)[1] - HANDLES_BESIDE
    if allowed < wanted:
        print(f"    {wanted} sockets need more file handles than there are: {allowed} instead", file=sys.stderr)
    return min(wanted, allowed)


def _memory_of_sockets(port: int, number: int) -> Iterator[Figure]:
    ours = [_ours("hold", port, number) for _ in range(ROUNDS)]
    held = min(figures["held"] for figures in ours)
    yield Figure(
        name=f"sockets held in one process, of {number:,} asked for",
        value=held,
        unit="sockets",
        goal=f"{number:,}",
        met=held >= number,
        runs=ROUNDS,
    )
    for peer in PEERS:
        theirs = [_peer(peer, "hold", port, PEER_HELD) for _ in range(ROUNDS)]
        yield _bytes("memory per held socket", ours, peer, theirs, GOAL_SOCKET_BYTES)
    if artillery.is_here():
        theirs = [{"bytes": artillery.bytes_per_socket(port)} for _ in range(ROUNDS)]
        yield _bytes("memory per held socket", ours, "Artillery", theirs, GOAL_SOCKET_BYTES)
    else:
        print("    Artillery is not measured: it is not installed (npm install -g artillery)", file=sys.stderr)


def _memory_of_users(port: int) -> Iterator[Figure]:
    ours = [_ours("users", port, USERS) for _ in range(ROUNDS)]
    theirs = [_peer("websocket-client", "users", port, USERS) for _ in range(ROUNDS)]
    peer = "HttpUser + websocket-client"
    yield _bytes("memory per user with a prompt on its way", ours, peer, theirs, GOAL_USER_BYTES)


def _bytes(name: str, ours: list[Figures], peer: str, theirs: list[Figures], goal: int) -> Figure:
    own, others = ([figures["bytes"] for figures in side] for side in (ours, theirs))
    return Figure(
        name=name,
        value=statistics.median(own),
        unit="bytes",
        goal=f"at most {goal:,}",
        met=statistics.median(own) <= goal,
        peer=peer,
        peer_value=statistics.median(others),
        ratio=statistics.median(others) / statistics.median(own),
        spread=f"{min(own):.0f}..{max(own):.0f}",
        runs=len(own),
    )


def _messages(port: int, peers: Sequence[str]) -> Iterator[Figure]:
    ours = [_ours("listen", port, LISTENERS) for _ in range(ROUNDS)]
    for peer in peers:
        theirs = [_peer(peer, "listen", port, LISTENERS) for _ in range(ROUNDS)]
        own, others = ([figures["messages"] / figures["cpu_s"] for figures in side] for side in (ours, theirs))
        value = statistics.median(own)
        paced = statistics.median(figures["messages"] / figures["wall_s"] for figures in ours)
        yield Figure(
            name=f"JSON messages at {LISTENERS:,} sockets, paced at {paced:,.0f}/s",
            value=value,
            unit="per CPU-second",
            goal=f"at least {GOAL_MESSAGES:,}",
            met=value >= GOAL_MESSAGES,
            peer=peer,
            peer_value=statistics.median(others),
            ratio=value / statistics.median(others),
            spread=f"{min(own):.0f}..{max(own):.0f}",
            runs=ROUNDS,
        )


def _ours(what: str, port: int, number: int) -> Figures:
    return _run("ours", what, str(port), str(number), str(LISTEN_S))


def _peer(kind: str, what: str, port: int, number: int) -> Figures:
    return _run("peer", kind, what, str(port), str(number), str(LISTEN_S))


def _run(script: str, *arguments: str) -> Figures:
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-m", f"{FILES}.{script}", *arguments],  # websockets deprecates its plain way
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=NEVER_WITHIN_S,
        check=False,
    )
    lines = [line for line in done.stdout.splitlines() if line.startswith("{")]
    if not lines:
        said = f"{done.stdout[-1000:]}\n{done.stderr[-2000:]}"
        raise RuntimeError(f"{script} {' '.join(arguments)} measured nothing:\n{said}")
    return dict(json.loads(lines[-1]))


@contextmanager
def _server(per_s: float) -> Iterator[int]:
    """The server of all; its port."""
    process = subprocess.Popen(
        [sys.executable, "-m", f"{FILES}.server", str(per_s)], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None
        yield int(process.stdout.readline())
    finally:
        process.kill()
        process.wait(10)
