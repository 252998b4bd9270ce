"""One connection for requests and answers: a raw socket that never blocks, and greenlets that wait for it.

gevent's own sockets try to read before there can be anything, and look at a timeout for each chunk they send; a
generator that does three requests a prompt pays for that. Here a read waits first, and a send that the network takes
at once costs one call.
"""

from __future__ import annotations

import errno
import select
import socket
import ssl
from collections.abc import Callable
from typing import Any

import gevent
import gevent.socket
from gevent import monkey

from comfysoak_load.edge.tls import TlsBytes

_READ_BYTES = 256 * 1024
_READABLE, _WRITABLE = 1, 2


def raw_socket(sock: Any) -> socket.socket:
    """The same connection as a socket of Python's own, which never waits by itself."""
    original = monkey.get_original("socket", "socket")
    family, kind, number = sock.family, sock.type, sock.proto
    raw: socket.socket = original(family, kind, number, fileno=sock.detach())
    raw.settimeout(0)  # never blocks
    return raw


class Wire:
    """An open connection; one greenlet at a time sends and receives. All of it raises OSError."""

    __slots__ = ("_hub", "_poll", "_raw", "_readable", "_tls", "_writable")

    def __init__(self, raw: socket.socket, tls: TlsBytes | None) -> None:
        self._raw = raw
        self._tls = tls
        self._hub = gevent.get_hub()
        self._readable: Any = self._hub.loop.io(raw.fileno(), _READABLE)
        self._writable: Any = None
        self._poll = monkey.get_original("select", "poll")()  # gevent's own would wait
        self._poll.register(raw.fileno(), select.POLLIN)

    @classmethod
    def open(
        cls, host: str, port: int, tls_context: ssl.SSLContext | None, prepare: Callable[[Any], object] | None = None
    ) -> Wire:
        """Connect, with TLS where there is a context. How long that may take is up to a `gevent.Timeout`.

        `prepare` is given the socket before it connects, for options that must be set by then.
        """
        sock = _connected(host, port, prepare)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        wire = cls(raw_socket(sock), None if tls_context is None else TlsBytes(tls_context, host))
        try:
            wire._shake_hands()
        except BaseException:
            wire.close()
            raise
        return wire

    @property
    def is_quiet(self) -> bool:
        """Whether there is nothing to read: what is idle and has, was closed by the server or is out of step."""
        return not self._poll.poll(0)

    def send(self, data: bytes) -> None:
        """Send all of `data`."""
        if self._tls is not None:
            self._tls.send(data)
            data = self._tls.outgoing()
        self._send(data)

    def receive(self) -> bytes:
        """What has come, at least one byte; none when the server has closed the connection."""
        if self._tls is None:
            return self._receive()
        while True:
            data = self._receive()
            plain = self._tls.receive(data) if data else b""
            if plain or not data or self._tls.ended:
                return plain

    def interrupt(self) -> None:
        """Whoever waits on this connection gets a TimeoutError."""
        for watcher in (self._readable, self._writable):
            self._hub.cancel_wait(watcher, TimeoutError())

    def release(self) -> tuple[socket.socket, TlsBytes | None]:
        """Hand the open connection over to somebody who waits in another way; nobody may use this any more."""
        self._stop_waiting()
        return self._raw, self._tls

    def close(self) -> None:
        """Close it; nobody may wait on it any more."""
        self._stop_waiting()
        self._raw.close()

    def _stop_waiting(self) -> None:
        for watcher in (self._readable, self._writable):
            if watcher is not None:
                watcher.close()
        self._readable = self._writable = None

    def _shake_hands(self) -> None:
        tls = self._tls
        if tls is None:
            return
        while True:
            done = tls.handshake()
            self._send(tls.outgoing())
            if done:
                return
            data = self._receive()
            if not data:
                raise ssl.SSLEOFError(ssl.SSL_ERROR_EOF, "connection closed in the TLS handshake")
            tls.receive(data)

    def _send(self, data: bytes) -> None:
        left = memoryview(data)
        while left:
            try:
                left = left[self._raw.send(left) :]
            except BlockingIOError:
                if self._writable is None:
                    self._writable = self._hub.loop.io(self._raw.fileno(), _WRITABLE)
                self._hub.wait(self._writable)

    def _receive(self) -> bytes:
        while True:
            self._hub.wait(self._readable)
            try:
                return self._raw.recv(_READ_BYTES)
            except BlockingIOError:
                continue


def _connected(host: str, port: int, prepare: Callable[[Any], object] | None) -> Any:
    """A connected socket of gevent's, by the first address of `host` that answers."""
    if prepare is None:
        return gevent.socket.create_connection((host, port))
    refused: OSError = OSError(errno.EADDRNOTAVAIL, f"{host} has no address")
    for family, kind, number, _, address in gevent.socket.getaddrinfo(host, port, 0, socket.SOCK_STREAM):
        sock = gevent.socket.socket(family, kind, number)
        try:
            prepare(sock)
            sock.connect(address)
        except OSError as error:
            sock.close()
            refused = error
        except BaseException:
            sock.close()
            raise
        else:
            return sock
    raise refused
