"""A small HTTP service in one thread: bounded in connections, in the size of a request and in the time of an answer.

`http.server` costs 7 MB and a thread for each connection, and waits for slow clients as long as they like.
"""

from __future__ import annotations

import re
import selectors
import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Self

REQUEST_BYTES = 8 * 1024
CONNECTIONS_MOST = 16
IDLE_S = 75.0  # longer than people scrape apart
REQUEST_S = 10.0  # from its first byte to its last
ANSWER_S = 30.0
LINGER_S = 1.0  # a refused request is read to its end, or its sender never sees the answer
TURN_S = 1.0
CHUNK = 16 * 1024


@dataclass(frozen=True, slots=True)
class Request:
    """A GET: its path, its query as it stands there, and its headers by lower-case name."""

    path: str
    query: str
    headers: dict[str, str]


@dataclass(frozen=True, slots=True)
class Reply:
    """What is answered. `trusted`: who asks has shown that it may, and is the last to be sent away."""

    status: int
    body: bytes
    content_type: str = "text/plain; charset=utf-8"
    headers: tuple[str, ...] = ()
    trusted: bool = True


Answer = Callable[[Request], Reply]

_FIRST_LINE = re.compile(rb"([A-Z]{1,16}) (/[!-~]*) HTTP/1\.([01])")
_WORDS = {200: "OK", 400: "Bad Request", 401: "Unauthorized", 403: "Forbidden", 404: "Not Found",
          405: "Method Not Allowed", 431: "Request Header Fields Too Large", 500: "Internal Server Error",
          503: "Service Unavailable"}  # fmt: skip


class _RefusedError(Exception):
    """A request that is not answered as asked for: the status, and why."""

    def __init__(self, status: int, why: str) -> None:
        self.status = status
        super().__init__(why)


@dataclass(slots=True, eq=False)
class _Connection:
    """One client: what it has said so far, what it has still to be told, and until when."""

    socket: socket.socket
    deadline_s: float
    heard: bytes = b""
    left: memoryview = field(default_factory=lambda: memoryview(b""))
    closes: bool = False
    lingering: bool = False
    trusted: bool = False
    since_s: float = 0.0


class Service:
    """Answers on a listening socket from `start` to `close`."""

    def __init__(self, listener: socket.socket, answer: Answer, *, now_s: Callable[[], float] = time.monotonic) -> None:
        self._listener = listener
        self._answer = answer
        self._now_s = now_s
        self._selector = selectors.DefaultSelector()
        self._connections: set[_Connection] = set()
        self._wake, self._woken = socket.socketpair()
        self._closing = False
        self._thread = threading.Thread(target=self._run, name="probe listens", daemon=True)

    def start(self) -> Self:
        """Begin to answer."""
        self._listener.setblocking(False)  # noqa: FBT003  # the name of the argument is the method's
        self._selector.register(self._listener, selectors.EVENT_READ)
        self._selector.register(self._woken, selectors.EVENT_READ)
        self._thread.start()
        return self

    def close(self) -> None:
        """End: all connections are closed at once."""
        self._closing = True
        self._wake.send(b"x")
        self._thread.join()
        for connection in list(self._connections):
            self._drop(connection)
        self._selector.close()
        for each in (self._listener, self._wake, self._woken):
            each.close()

    def _run(self) -> None:
        while not self._closing:
            for key, _ in self._selector.select(TURN_S):
                if key.fileobj is self._listener:
                    self._accept()
                elif isinstance(key.data, _Connection):
                    self._serve(key.data)
            now_s = self._now_s()
            for connection in [each for each in self._connections if each.deadline_s < now_s]:
                self._drop(connection)

    def _accept(self) -> None:
        try:
            accepted, _ = self._listener.accept()
        except OSError:
            time.sleep(0.05)  # no handle left: it stays readable, and would be asked without end
            return
        if len(self._connections) >= CONNECTIONS_MOST:
            self._drop(min(self._connections, key=lambda each: (each.trusted, each.since_s)))
        accepted.setblocking(False)  # noqa: FBT003  # as above
        with suppress(OSError):
            accepted.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        now_s = self._now_s()
        connection = _Connection(accepted, now_s + REQUEST_S, since_s=now_s)
        self._connections.add(connection)
        self._selector.register(accepted, selectors.EVENT_READ, connection)

    def _serve(self, connection: _Connection) -> None:
        """Go on with a connection; one that was sent away in this turn is there no more."""
        try:
            if connection not in self._connections:
                return
            if connection.left:
                self._send(connection)
            else:
                self._hear(connection)
            while not connection.left and not connection.lingering and self._answer_next(connection):
                pass  # requests that came together
        except BlockingIOError:
            return
        except Exception:  # noqa: BLE001  # whatever one client does, the thread goes on for the others
            self._drop(connection)

    def _hear(self, connection: _Connection) -> None:
        part = connection.socket.recv(CHUNK)
        if not part:
            raise ConnectionResetError
        if connection.lingering:
            return
        if not connection.heard:
            connection.deadline_s = self._now_s() + REQUEST_S
        connection.heard += part

    def _answer_next(self, connection: _Connection) -> bool:
        """Answer the first request if it is whole; False when it is not."""
        try:
            head, end, rest = connection.heard.partition(b"\r\n\r\n")
            _check_begun(head, whole=bool(end))
            if not end:
                return False
            connection.heard = rest
            request, connection.closes = _request(head)
            reply = self._answer(request)
            connection.trusted = connection.trusted or reply.trusted
        except _RefusedError as refused:
            connection.closes = True
            allow = ("Allow: GET",) if refused.status == 405 else ()
            why = b"" if head.startswith(b"HEAD ") else f"{refused}\n".encode()
            reply = Reply(refused.status, why, headers=allow)
        except Exception as error:  # noqa: BLE001  # a mistake of ours in one answer must not end the service
            connection.closes = True
            reply = Reply(500, f"a mistake of ours: {type(error).__name__}\n".encode())
        connection.left = memoryview(_text(reply, closes=connection.closes))
        connection.since_s = self._now_s()
        connection.deadline_s = connection.since_s + ANSWER_S
        self._send(connection)
        return True

    def _send(self, connection: _Connection) -> None:
        with suppress(BlockingIOError):
            connection.left = connection.left[connection.socket.send(connection.left) :]
        wanted = selectors.EVENT_WRITE if connection.left else selectors.EVENT_READ
        self._selector.modify(connection.socket, wanted, connection)
        if connection.left:
            return
        connection.deadline_s = self._now_s() + (LINGER_S if connection.closes else IDLE_S)
        if connection.closes:
            connection.lingering = True
            connection.socket.shutdown(socket.SHUT_WR)

    def _drop(self, connection: _Connection) -> None:
        self._connections.discard(connection)
        with suppress(KeyError, ValueError):  # it may not be there, where the selector refused it
            self._selector.unregister(connection.socket)
        connection.socket.close()


def _check_begun(head: bytes, *, whole: bool) -> None:
    if head and not head[:1].isalpha():  # TLS begins with another byte, and would wait for an answer
        raise _RefusedError(400, "expected HTTP, got something else; this service speaks no TLS")
    if len(head) > REQUEST_BYTES:
        raise _RefusedError(431, f"expected a request of at most {REQUEST_BYTES} bytes")
    if not whole and len(head) > 32 and b" " not in head[:17]:
        raise _RefusedError(400, "expected HTTP, got something else")


def _request(head: bytes) -> tuple[Request, bool]:
    """The request in these lines, and whether the connection closes after it. Raises _RefusedError."""
    first, *lines = head.split(b"\r\n")
    match = _FIRST_LINE.fullmatch(first)
    if match is None:
        raise _RefusedError(400, "expected a request such as GET /metrics HTTP/1.1")
    headers = dict(_header(line) for line in lines)
    if match[1] != b"GET":
        raise _RefusedError(405, "expected GET: nothing can be changed here")
    if headers.get("content-length", "0") != "0" or "transfer-encoding" in headers:
        raise _RefusedError(400, "expected a GET without a body")
    said = headers.get("connection", "").lower()
    closes = "close" in said or (match[3] == b"0" and "keep-alive" not in said)
    path, _, query = match[2].decode("ascii").partition("?")
    return Request(path, query, headers), closes


def _header(line: bytes) -> tuple[str, str]:
    name, colon, value = line.partition(b":")
    if not colon:
        raise _RefusedError(400, "expected headers such as Host: gpu-1:9410")
    return name.decode("latin-1").strip().lower(), value.decode("latin-1").strip()


def _text(reply: Reply, *, closes: bool) -> bytes:
    lines = [
        f"HTTP/1.1 {reply.status} {_WORDS[reply.status]}",
        f"Content-Type: {reply.content_type}",
        f"Content-Length: {len(reply.body)}",
        "Cache-Control: no-store",
        "X-Content-Type-Options: nosniff",
        f"Connection: {'close' if closes else 'keep-alive'}",
        *reply.headers,
    ]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1") + reply.body
