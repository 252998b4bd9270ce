"""Requests and WebSocket frames as a proxy sees them: taken apart, and put together again. No I/O but reading."""

from __future__ import annotations

import asyncio
from base64 import b64encode
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Final, Self
from urllib.parse import SplitResult, unquote

MOST_HEAD: Final = 64 * 1024
MOST_BODY: Final = 512 * 1024 * 1024
_TEXT: Final = 0x81  # a text that is one whole frame
_HOP_BY_HOP: Final = frozenset(
    {"connection", "keep-alive", "transfer-encoding", "content-length", "host", "expect", "sec-websocket-extensions"}
)


class WireError(Exception):
    """What came is no HTTP/1.1 that this proxy reads."""


@dataclass(frozen=True, slots=True)
class Request:
    """One request with its whole body. `headers` without those that are of the connection."""

    method: str
    target: str  # path and query
    headers: tuple[tuple[str, str], ...]
    body: bytes

    @property
    def path(self) -> str:
        """Without its query."""
        return self.target.partition("?")[0]

    @property
    def is_upgrade(self) -> bool:
        """Whether it asks for a WebSocket."""
        return any(name.lower() == "upgrade" and value.lower() == "websocket" for name, value in self.headers)

    @property
    def is_prompt(self) -> bool:
        """Whether it submits a prompt."""
        return self.method == "POST" and self.path in {"/prompt", "/api/prompt"}

    def without(self, prefix: str) -> Self | None:
        """As the server is to see it; None when it is not for this proxy."""
        if not self.target.startswith(f"{prefix}/"):
            return None
        return replace(self, target=self.target.removeprefix(prefix))

    def sent_to(self, server: SplitResult) -> bytes:
        """Its bytes for `server`: one request a connection, no compression of frames, credentials of its URL."""
        host = server.netloc.rpartition("@")[2]
        lines = [f"{self.method} {server.path.rstrip('/')}{self.target} HTTP/1.1", f"Host: {host}"]
        lines += [f"{name}: {value}" for name, value in self.headers]
        if server.username is not None and not any(name.lower() == "authorization" for name, _ in self.headers):
            pair = f"{unquote(server.username)}:{unquote(server.password or '')}"
            lines.append(f"Authorization: Basic {b64encode(pair.encode()).decode()}")
        lines.append(f"Connection: {'Upgrade' if self.is_upgrade else 'close'}")
        if self.body or self.method in {"POST", "PUT"}:
            lines.append(f"Content-Length: {len(self.body)}")
        return "\r\n".join([*lines, "", ""]).encode("latin-1") + self.body


async def read_request(reader: asyncio.StreamReader) -> Request | None:
    """The next request; None at the end of the connection. WireError; asyncio's errors of reading."""
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError:
        return None
    first, *lines = head[:-4].decode("latin-1").split("\r\n")
    parts = first.split(" ")
    if len(parts) != 3 or not parts[1].startswith("/"):
        raise WireError(first[:80])
    pairs = [(name.strip(), value.strip()) for name, _, value in (line.partition(":") for line in lines)]
    body = await _body(reader, {name.lower(): value for name, value in pairs})
    kept = tuple((name, value) for name, value in pairs if name.lower() not in _HOP_BY_HOP)
    return Request(parts[0], parts[1], kept, body)


async def _body(reader: asyncio.StreamReader, headers: dict[str, str]) -> bytes:
    if "chunked" in headers.get("transfer-encoding", "").lower():
        return await _chunks(reader)
    length = headers.get("content-length", "0")
    if not length.isdecimal() or int(length) > MOST_BODY:
        raise WireError(f"a body of {length[:20]} bytes")
    return await reader.readexactly(int(length))


async def _chunks(reader: asyncio.StreamReader) -> bytes:
    parts: list[bytes] = []
    while True:
        line = (await reader.readuntil(b"\r\n")).partition(b";")[0].strip()
        try:
            size = int(line, 16)
        except ValueError:
            raise WireError("a chunk without a size") from None
        if not 0 <= size <= MOST_BODY or sum(map(len, parts)) > MOST_BODY:
            raise WireError(f"a chunk of {size} bytes")
        parts.append((await reader.readexactly(size + 2))[:-2])
        if size == 0:
            return b"".join(parts)


def answer(status: int, body: bytes, content_type: str = "text/plain") -> bytes:
    """An answer of the proxy's own."""
    head = f"HTTP/1.1 {status} Own\r\nContent-Type: {content_type}\r\nContent-Length: {len(body)}\r\nConnection: close"
    return f"{head}\r\n\r\n".encode() + body


class Frames:
    """Takes the frames a server sends out of the pieces in which they come."""

    def __init__(self) -> None:
        self._held = bytearray()

    def feed(self, piece: bytes) -> Iterator[bytes]:
        """The frames that are whole now, each with its head."""
        self._held += piece
        while (size := _frame_size(self._held)) is not None and len(self._held) >= size:
            yield bytes(self._held[:size])
            del self._held[:size]


def text_of(frame: bytes) -> bytes:
    """The text of a frame that is a whole one; empty for every other."""
    if frame[0] != _TEXT:
        return b""
    return frame[_head_size(frame[1] & 0x7F) :]


def _frame_size(held: bytearray) -> int | None:
    """Of the first frame; None while its head is not whole. Frames of servers are not masked."""
    if len(held) < 2:
        return None
    length = held[1] & 0x7F
    head = _head_size(length)
    if len(held) < head:
        return None
    return head + (length if head == 2 else int.from_bytes(held[2:head], "big"))


def _head_size(length: int) -> int:
    return {126: 4, 127: 10}.get(length, 2)
