"""A server that does exactly what a test says with each connection: threads and plain sockets, no protocol."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import re
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

from websockets.frames import Frame, Opcode

Handler = Callable[[socket.socket], None]
CERTIFICATE = Path(__file__).parent / "data" / "localhost.pem"  # see README.md beside it


class RawServer:
    """Listens on loopback; each connection is given to `handler` in a thread of its own, then closed."""

    def __init__(self, handler: Handler, *, tls: bool = False) -> None:
        self.connections = 0
        self._handler = handler
        self._context: ssl.SSLContext | None = None
        if tls:
            self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            self._context.load_cert_chain(CERTIFICATE)
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listening.getsockname()[1]
        self._open: list[socket.socket] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        """Stop listening and cut all connections."""
        with contextlib.suppress(OSError):  # wakes the thread that accepts; a mere close would leave it listening
            self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()
        for connection in self._open:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listening.accept()
            except OSError:
                return
            self.connections += 1
            self._open.append(connection)
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with contextlib.suppress(OSError), contextlib.ExitStack() as stack:
            stack.enter_context(connection)
            if self._context is not None:
                connection = stack.enter_context(self._context.wrap_socket(connection, server_side=True))
            self._handler(connection)


@contextlib.contextmanager
def raw_server(handler: Handler, *, tls: bool = False) -> Iterator[RawServer]:
    """A `RawServer` for the length of a block."""
    server = RawServer(handler, tls=tls)
    try:
        yield server
    finally:
        server.close()


def read_request(connection: socket.socket) -> bytes:
    """A request with its body; b"" when the client has closed."""
    data = b""
    while b"\r\n\r\n" not in data:
        part = connection.recv(65536)
        if not part:
            return b""
        data += part
    head, _, body = data.partition(b"\r\n\r\n")
    length = re.search(rb"content-length: *(\d+)", head.lower())
    while length is not None and len(body) < int(length[1]):
        body += connection.recv(65536)
    return head + b"\r\n\r\n" + body


def answer(connection: socket.socket, body: bytes, status: bytes = b"200 OK") -> None:
    """A plain HTTP answer."""
    connection.sendall(b"HTTP/1.1 %s\r\nContent-Length: %d\r\n\r\n%s" % (status, len(body), body))


def open_web_socket(connection: socket.socket) -> None:
    """The server's side of the opening handshake; ConnectionResetError when nobody asks for one, or not any more."""
    key = re.search(rb"sec-websocket-key: *(\S+)", read_request(connection), re.IGNORECASE)
    if key is None:
        raise ConnectionResetError
    accept = base64.b64encode(hashlib.sha1(key[1] + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest())
    connection.sendall(
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Accept: " + accept + b"\r\n\r\n"
    )


def frame(opcode: Opcode, data: bytes = b"", *, fin: bool = True) -> bytes:
    """A frame as servers send it."""
    return Frame(opcode, data, fin).serialize(mask=False)


def read_frame(connection: socket.socket) -> tuple[int, bytes]:
    """Opcode and payload of a short frame from a client; (-1, b"") when it has closed."""
    head = _exactly(connection, 2)
    if len(head) < 2:
        return -1, b""
    rest = _exactly(connection, 4 + (head[1] & 0x7F))
    mask, data = rest[:4], rest[4:]
    return head[0] & 0x0F, bytes(byte ^ mask[index % 4] for index, byte in enumerate(data))


def _exactly(connection: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size and (part := connection.recv(size - len(data))):
        data += part
    return data
