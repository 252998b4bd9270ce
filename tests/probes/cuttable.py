"""A network that can be cut: a TCP proxy that refuses, resets or falls silent when told to."""

from __future__ import annotations

import socket
import struct
import threading
from contextlib import suppress
from enum import StrEnum
from typing import Self


class Cut(StrEnum):
    """How a network fails."""

    REFUSED = "refused"  # nobody listens, and what was open is closed
    RESET = "reset"  # connections are reset, new ones as soon as they are made
    SILENT = "silent"  # nothing comes through any more, and nobody says so


class Network:
    """Leads to `port` of this machine from a port of its own, until it is cut."""

    def __init__(self, port: int) -> None:
        self._to = port
        self._cut: Cut | None = None
        self._lock = threading.Lock()
        self._pairs: list[tuple[socket.socket, socket.socket]] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        self._accept_with(self._listener)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def cut(self, how: Cut) -> None:
        """From now on nothing comes through."""
        with self._lock:
            self._cut = how
            if how is Cut.REFUSED:
                _end(self._listener)
            if how is not Cut.SILENT:
                self._drop(reset=how is Cut.RESET)

    def mend(self) -> None:
        """Connections made from now on come through; what hung is gone."""
        with self._lock:
            was, self._cut = self._cut, None
            self._drop(reset=True)
            if was is Cut.REFUSED:
                self._listener = socket.create_server(("127.0.0.1", self.port))
                self._accept_with(self._listener)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._cut = Cut.RESET
            _end(self._listener)
            self._drop(reset=True)

    def _accept_with(self, listener: socket.socket) -> None:
        threading.Thread(target=self._accept, args=(listener,), daemon=True).start()

    def _accept(self, listener: socket.socket) -> None:
        with suppress(OSError):
            while True:
                client, _ = listener.accept()
                self._join(client)

    def _join(self, client: socket.socket) -> None:
        with self._lock:
            if self._cut is Cut.RESET:
                _reset(client)
                return
            server = socket.create_connection(("127.0.0.1", self._to))
            self._pairs.append((client, server))
        for here, there in ((client, server), (server, client)):
            threading.Thread(target=self._carry, args=(here, there), daemon=True).start()

    def _carry(self, here: socket.socket, there: socket.socket) -> None:
        with suppress(OSError):
            while data := here.recv(65536):
                if self._cut is not Cut.SILENT:
                    there.sendall(data)
        if self._cut is not Cut.SILENT:
            _end(there)

    def _drop(self, *, reset: bool) -> None:
        for pair in self._pairs:
            for each in pair:
                (_reset if reset else _end)(each)
        self._pairs.clear()


def _end(each: socket.socket) -> None:
    with suppress(OSError):
        each.shutdown(socket.SHUT_RDWR)
    each.close()


def _reset(each: socket.socket) -> None:
    with suppress(OSError):
        each.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        each.shutdown(socket.SHUT_RD)  # wakes who waits in recv
    each.close()
