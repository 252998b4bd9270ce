"""HTTP to one server: keep-alive connections over raw sockets, a deadline for every exchange, failures as values.

One pool per process and server, shared by all users, so that connections do not grow with users. Written on the bare
socket because that costs a third of the CPU time of the fastest client library (see `benchmarks/`).
"""

from __future__ import annotations

import ssl
import time
from collections.abc import Mapping
from urllib.parse import urlsplit

import gevent
import gevent.ssl

from comfysoak_load.edge.failures import Failure, FailureKind, failure_of
from comfysoak_load.edge.http_answers import MAX_BODY_BYTES, Answer, AnswerReader, BadAnswerError
from comfysoak_load.edge.wire import Wire

DEADLINE_S = 30.0
MAX_IDLE_CONNECTIONS = 64
IDLE_S = 30.0  # aiohttp drops a connection that was idle for 75 s; one we dropped first fails no request


class HttpEdge:
    """The HTTP side of one server, for all users of this process."""

    def __init__(
        self, base_url: str, *, headers: Mapping[str, str] | None = None, tls_context: ssl.SSLContext | None = None
    ) -> None:
        parts = urlsplit(base_url)
        self.base_url = base_url
        self.failures = 0  # exchanges without an answer
        self._host = parts.hostname or ""
        self._port = parts.port or (443 if parts.scheme == "https" else 80)
        self._prefix = parts.path.rstrip("/")
        self._tls = (tls_context or gevent.ssl.create_default_context()) if parts.scheme == "https" else None
        host = parts.netloc.rpartition("@")[2].removesuffix(":443" if self._tls else ":80")  # as signed URLs have it
        self._head = _common_head(host, headers or {})
        self._open: set[_Exchange] = set()
        self._idle: list[tuple[float, Wire]] = []  # (since when, connection), the last used at the end

    def get(self, path: str, *, deadline_s: float = DEADLINE_S, max_bytes: int = MAX_BODY_BYTES) -> Answer | Failure:
        """GET `path` (with its query); it may be asked twice when an idle connection turns out to be closed."""
        request = f"GET {self._prefix}{path} HTTP/1.1\r\n".encode() + self._head + b"\r\n"
        return self._exchange(request, deadline_s, max_bytes, repeatable=True)

    def post(
        self,
        path: str,
        body: bytes,
        *,
        deadline_s: float = DEADLINE_S,
        max_bytes: int = MAX_BODY_BYTES,
        content_type: str = "application/json",
    ) -> Answer | Failure:
        """POST JSON, or what else. Never sent twice: a failure whose `sent` is True may have been acted upon."""
        head = f"POST {self._prefix}{path} HTTP/1.1\r\nContent-Type: {content_type}\r\nContent-Length: {len(body)}\r\n"
        request = head.encode() + self._head + b"\r\n" + body
        return self._exchange(request, deadline_s, max_bytes, repeatable=False)

    def close(self) -> None:
        """Close all idle connections."""
        while self._idle:
            self._idle.pop()[1].close()

    def expire(self) -> None:
        """End exchanges that are past their deadline; to be called a few times a second by whoever owns this edge.

        One look at all of them costs less than a timer for each.
        """
        now = time.monotonic()
        for exchange in [found for found in self._open if found.deadline <= now]:
            exchange.expired = True
            exchange.wire.interrupt()

    def _exchange(self, request: bytes, deadline_s: float, max_bytes: int, *, repeatable: bool) -> Answer | Failure:
        deadline = time.monotonic() + deadline_s
        idle = self._take_idle()
        result: Answer | Failure | None = None
        if idle is not None:
            result = self._on_connection(idle, request, max_bytes, deadline)
            if isinstance(result, Failure) and result.kind is FailureKind.RESET and repeatable:
                result = None
        if result is None:
            wire = self._connect(max(deadline - time.monotonic(), 0.001))
            result = wire if isinstance(wire, Failure) else self._on_connection(wire, request, max_bytes, deadline)
        if isinstance(result, Failure):
            self.failures += 1
        return result

    def _on_connection(self, wire: Wire, request: bytes, max_bytes: int, deadline: float) -> Answer | Failure:
        """Send and receive on `wire`, which goes back to the pool if it can be used again, and is closed otherwise."""
        reader = AnswerReader(max_bytes)
        exchange = _Exchange(wire, deadline)
        self._open.add(exchange)
        kept = sent = False
        try:
            wire.send(request)
            sent = True
            while True:
                data = wire.receive()
                if reader.feed(data) if data else reader.end():
                    break
            kept = reader.reusable and not exchange.expired
            return reader.answer()
        except BadAnswerError as error:
            return error.failure
        except OSError as error:
            return (
                Failure(FailureKind.TIMEOUT, str(error), sent=True)
                if exchange.expired
                else failure_of(error, sent=sent)
            )
        finally:
            self._open.discard(exchange)
            if kept and len(self._idle) < MAX_IDLE_CONNECTIONS:
                self._idle.append((time.monotonic(), wire))
            else:
                wire.close()

    def _take_idle(self) -> Wire | None:
        """The connection used last, if it is still open and has nothing to say."""
        now = time.monotonic()
        while self._idle:
            since, wire = self._idle.pop()
            if now - since < IDLE_S and wire.is_quiet:
                return wire
            wire.close()
        return None

    def _connect(self, within_s: float) -> Wire | Failure:
        timeout = gevent.Timeout.start_new(within_s)
        try:
            return Wire.open(self._host, self._port, self._tls)
        except gevent.Timeout as fired:
            if fired is not timeout:
                raise
            return Failure(FailureKind.TIMEOUT, "no connection in time")
        except OSError as error:
            return failure_of(error)
        finally:
            timeout.close()


class _Exchange:
    """A request on its way."""

    __slots__ = ("deadline", "expired", "wire")

    def __init__(self, wire: Wire, deadline: float) -> None:
        self.wire = wire
        self.deadline = deadline
        self.expired = False


def _common_head(host: str, headers: Mapping[str, str]) -> bytes:
    lines = [f"Host: {host}", "Accept: */*", "User-Agent: comfysoak"]
    lines.extend(f"{name}: {value}" for name, value in headers.items())
    if any("\r" in line or "\n" in line for line in lines):
        raise ValueError("a header must be one line")
    return "".join(f"{line}\r\n" for line in lines).encode("latin-1", "replace")
