"""Between a client and a ComfyUI: proxies that do to the traffic what proxies do by mistake.

They speak HTTP/1.1 a connection at a time: the head of each request may be changed or answered, then bytes go through.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from urllib.parse import urlsplit

_MOST_HEAD = 65536


@dataclass(frozen=True, slots=True)
class Between:
    """What it does. All left out: it passes everything on, as a sound proxy does."""

    no_upgrade: bool = False  # headers that ask for a WebSocket are dropped, as hop-by-hop headers
    answer: tuple[str, int, bytes] | None = None  # paths that begin so are answered by itself: status and page
    cut_idle_s: float | None = None  # sockets in which nothing moves are ended
    most_frame_bytes: int | None = None  # a WebSocket is ended when so much came in one piece of its server's traffic
    needs_token: str | None = None
    prefix: str = ""  # taken from the path, as a reverse proxy for one path does
    delay_s: float = 0.0  # before each answer
    cut_after_bytes: int | None = None  # of a WebSocket, from the server: the connection breaks in mid run
    tls: ssl.SSLContext | None = None
    eats: bytes | None = None  # text frames of the server that hold this are swallowed


class Proxy:
    """One proxy on a free port; `start` and `stop` in one loop."""

    def __init__(self, upstream: str, between: Between) -> None:
        parts = urlsplit(upstream)
        self._upstream = (parts.hostname or "", parts.port or 80)
        self._between = between
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self.url = ""

    async def start(self) -> None:
        """Listen."""
        self._server = await asyncio.start_server(self._take, "127.0.0.1", 0, ssl=self._between.tls)
        scheme = "https" if self._between.tls is not None else "http"
        host = "localhost" if self._between.tls is not None else "127.0.0.1"
        self.url = f"{scheme}://{host}:{self._server.sockets[0].getsockname()[1]}{self._between.prefix}"

    async def stop(self) -> None:
        """End all."""
        if self._server is not None:
            self._server.close()
        for task in tuple(self._tasks):
            task.cancel()
        with suppress(asyncio.CancelledError):
            await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _take(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None  # a handler is always one
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        with suppress(OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, asyncio.CancelledError):
            await self._serve(reader, writer)
        writer.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Requests of one connection, one connection upstream each."""
        while head := await _head(reader):
            length = _length(head)
            body = await reader.readexactly(length) if length else b""
            own = self._own_answer(head)
            if own is not None:
                writer.write(own)
                await writer.drain()
                continue
            upstream, out = await asyncio.open_connection(*self._upstream)
            try:
                out.write(self._forwarded(head) + body)
                await out.drain()
                if self._is_upgrade(head):
                    await self._through(reader, writer, upstream, out)
                    return
                await asyncio.sleep(self._between.delay_s)
                writer.write(await upstream.read())  # it closes at the end: it was asked to
                await writer.drain()
                return
            finally:
                out.close()

    def _own_answer(self, head: bytes) -> bytes | None:
        between, path = self._between, head.split(b" ", 2)[1].decode("latin-1")
        if between.needs_token is not None and f"bearer {between.needs_token}".lower() not in head.decode().lower():
            return _response(401, b"who are you?")
        if between.prefix and not path.startswith(between.prefix + "/"):
            return _response(404, b"no such site")
        if between.answer is not None and path.removeprefix(between.prefix).startswith(between.answer[0]):
            return _response(between.answer[1], between.answer[2])
        return None

    def _is_upgrade(self, head: bytes) -> bool:
        return b"upgrade: websocket" in head.lower() and not self._between.no_upgrade

    def _forwarded(self, head: bytes) -> bytes:
        first, *lines = head.rstrip(b"\r\n").split(b"\r\n")
        method, path, version = first.split(b" ", 2)
        if self._between.prefix:
            path = path.removeprefix(self._between.prefix.encode())
        dropped = (b"connection", b"upgrade") if not self._is_upgrade(head) else ()
        kept = [line for line in lines if line.split(b":", 1)[0].strip().lower() not in dropped]
        if dropped:
            kept.append(b"Connection: close")
        return b"\r\n".join([b" ".join((method, path, version)), *kept, b"", b""])

    async def _through(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        upstream: asyncio.StreamReader,
        out: asyncio.StreamWriter,
    ) -> None:
        """A WebSocket, until one side ends it or this proxy does."""
        moved = asyncio.Event()
        ways = [
            asyncio.ensure_future(_pipe(reader, out, moved, lambda chunk: chunk)),
            asyncio.ensure_future(_pipe(upstream, writer, moved, self._filter())),
        ]
        if self._between.cut_idle_s is not None:
            ways.append(asyncio.ensure_future(_idle(moved, self._between.cut_idle_s)))
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for way in ways:
                way.cancel()
            writer.transport.abort()

    def _filter(self) -> Callable[[bytes], bytes | None]:
        """What becomes of what the server sends; None ends the connection."""
        between, frames, passed = self._between, _Frames(), 0

        def become(chunk: bytes) -> bytes | None:
            nonlocal passed
            passed += len(chunk)
            if between.cut_after_bytes is not None and passed > between.cut_after_bytes:
                return None
            if between.most_frame_bytes is None and between.eats is None:
                return chunk
            whole = frames.take(chunk)
            if between.most_frame_bytes is not None and frames.largest > between.most_frame_bytes:
                return None
            return b"".join(frame for frame in whole if between.eats is None or between.eats not in _plain(frame))

        return become


class _Frames:
    """The answer to the handshake, then frames as a server sends them, put together from pieces."""

    def __init__(self) -> None:
        self.largest = 0  # payload, in bytes, told by its head
        self._held = b""
        self._has_answered = False

    def take(self, chunk: bytes) -> list[bytes]:
        """What is whole now."""
        self._held += chunk
        whole = []
        while (size := self._size()) is not None and len(self._held) >= size:
            whole.append(self._held[:size])
            self._held = self._held[size:]
        return whole

    def _size(self) -> int | None:
        held = self._held
        if not self._has_answered:
            end = held.find(b"\r\n\r\n")
            self._has_answered = end >= 0
            return end + 4 if end >= 0 else None
        if len(held) < 10 and (len(held) < 2 or len(held) < 2 + {126: 2, 127: 8}.get(held[1], 0)):
            return None
        head = 2 + {126: 2, 127: 8}.get(held[1], 0)
        length = int.from_bytes(held[2:head], "big") if head > 2 else held[1]
        self.largest = max(self.largest, length)
        return head + length


def _plain(frame: bytes) -> bytes:
    """Without blanks: servers write JSON with and without them."""
    return frame.replace(b" ", b"")


async def _head(reader: asyncio.StreamReader) -> bytes:
    try:
        return await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError:
        return b""


def _length(head: bytes) -> int:
    for line in head.lower().split(b"\r\n"):
        if line.startswith(b"content-length:"):
            return int(line.split(b":", 1)[1])
    return 0


def _response(status: int, page: bytes) -> bytes:
    head = f"HTTP/1.1 {status} x\r\nContent-Type: text/html\r\nContent-Length: {len(page)}\r\n\r\n"
    return head.encode() + page


async def _pipe(
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
    moved: asyncio.Event,
    become: Callable[[bytes], bytes | None],
) -> None:
    while chunk := await reader.read(_MOST_HEAD):
        moved.set()
        passed = become(chunk)
        if passed is None:
            return
        writer.write(passed)
        await writer.drain()


async def _idle(moved: asyncio.Event, for_s: float) -> None:
    while True:
        moved.clear()
        try:
            await asyncio.wait_for(moved.wait(), for_s)
        except TimeoutError:
            return
