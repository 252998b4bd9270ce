"""A server that answers whatever a test says, byte by byte: for answers no decent server gives."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

Answer = Callable[[str, str], bytes | Iterable[bytes]]  # method and path -> all that is sent


def http(body: bytes | str, status: int = 200, content_type: str = "text/plain") -> bytes:
    """An ordinary answer."""
    raw = body.encode() if isinstance(body, str) else body
    head = f"HTTP/1.1 {status} Whatever\r\nContent-Type: {content_type}\r\nContent-Length: {len(raw)}\r\n\r\n"
    return head.encode() + raw


@dataclass(slots=True)
class Answering:
    """The server: `url`, what it was asked, and how often somebody connected."""

    port: int
    asked: list[str] = field(default_factory=list)
    connections: int = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"


@contextmanager
def answering(answer: Answer, port: int = 0) -> Iterator[Answering]:
    """A server on a port of its own until the block ends; an answer that ends in b"" closes the connection."""
    listener = socket.create_server(("127.0.0.1", port))
    server = Answering(listener.getsockname()[1])
    open_sockets: list[socket.socket] = []

    def accept() -> None:
        with suppress(OSError):
            while True:
                connection, _ = listener.accept()
                open_sockets.append(connection)
                server.connections += 1
                threading.Thread(target=serve, args=(connection,), daemon=True).start()

    def serve(connection: socket.socket) -> None:
        with suppress(OSError), connection, connection.makefile("rb") as file:
            while line := file.readline():
                method, path, _ = line.decode().split(" ")
                length = 0
                while (header := file.readline()) not in {b"\r\n", b""}:
                    name, _, value = header.decode().partition(":")
                    length = int(value) if name.lower() == "content-length" else length
                file.read(length)
                server.asked.append(f"{method} {path}")
                said = answer(method, path)
                for part in [said] if isinstance(said, bytes) else said:
                    if not part:
                        return
                    connection.sendall(part)

    thread = threading.Thread(target=accept, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        with suppress(OSError):
            listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        for connection in open_sockets:
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
            connection.close()
        thread.join()


def free_port() -> int:
    """A port on which nobody listens just now."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])
