"""One greenlet that keeps all sockets of a process alive, and notices those whose server is gone.

A server that hangs, or a network that was cut, sends nothing: no client notices without a deadline of its own.
"""

from __future__ import annotations

from collections import deque

import gevent

from comfysoak_core.clock import NS_PER_S, AnchoredClock
from comfysoak_load.edge.socket_edge import WebSocket

PING_EVERY_S = 20.0
DEAD_AFTER_S = 60.0  # a node that holds the server's interpreter lock may silence it for long


class Keepalive:
    """Pings each socket every `ping_every_s`; one that was silent for `dead_after_s` in spite of it is dropped."""

    def __init__(
        self, clock: AnchoredClock, ping_every_s: float = PING_EVERY_S, dead_after_s: float = DEAD_AFTER_S
    ) -> None:
        self._clock = clock
        self._every_ns = round(ping_every_s * NS_PER_S)
        self._dead_after_ns = round(dead_after_s * NS_PER_S)
        self._held_up_ns = self._dead_after_ns // 10
        self._awake_since_ns = 0  # before that we were held up, and neither pinged nor read: that silence was ours
        self._step_s = min(1.0, ping_every_s / 4)
        self._due: deque[tuple[int, WebSocket]] = deque()  # in order of time, as the interval is the same for all
        self._greenlet: gevent.Greenlet | None = None

    def watch(self, sock: WebSocket) -> None:
        """Keep this socket alive until it closes."""
        self._due.append((self._clock.now_ns() + self._every_ns, sock))

    def start(self) -> None:
        """Begin; needs a running hub."""
        self._greenlet = gevent.spawn(self._run)

    def stop(self) -> None:
        """End, and forget all sockets."""
        if self._greenlet is not None:
            self._greenlet.kill(block=False)
        self._due.clear()

    def _run(self) -> None:
        while True:
            slept_ns = self._clock.now_ns()
            gevent.sleep(self._step_s)
            now_ns = self._clock.now_ns()
            if now_ns - slept_ns > self._held_up_ns:
                self._awake_since_ns = now_ns
            self.tend(now_ns)

    def tend(self, now_ns: int) -> None:
        """Ping, or drop, every socket whose turn has come."""
        due = self._due
        while due and due[0][0] <= now_ns:
            _, sock = due.popleft()
            if not sock.open:
                sock.close(wait_s=0.0)  # it was closing, and the server had long enough to answer that
                continue
            silent_ns = now_ns - max(sock.last_heard_ns, self._awake_since_ns)
            if sock.reads and silent_ns > self._dead_after_ns:
                sock.drop(f"silent for {silent_ns / NS_PER_S:.0f} s, pings are not answered")
                continue
            sock.ping()
            due.append((now_ns + self._every_ns, sock))
