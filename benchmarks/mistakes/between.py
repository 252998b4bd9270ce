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
        with suppress(OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
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
        between, passed = self._between, 0

        def become(chunk: bytes) -> bytes | None:
            nonlocal passed
            passed += len(chunk)
            if between.cut_after_bytes is not None and passed > between.cut_after_bytes:
                return None
            if between.most_frame_bytes is not None and _largest_frame(chunk) > between.most_frame_bytes:
                return None
            return _without(chunk, between.eats) if between.eats is not None else chunk

        return become


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


def _largest_frame(chunk: bytes) -> int:
    """The payload length in the head of a frame that begins this piece, if one does."""
    if len(chunk) < 10 or chunk[0] & 0x70 or chunk[1] & 0x80:
        return 0
    length = chunk[1] & 0x7F
    if length == 126:
        return int.from_bytes(chunk[2:4], "big")
    return int.from_bytes(chunk[2:10], "big") if length == 127 else length


def _without(chunk: bytes, text: bytes) -> bytes:
    """The frames of a piece without those that hold `text`; a piece that is cut within a frame stays as it is."""
    kept, at = bytearray(), 0
    while at < len(chunk):
        size = _frame_size(chunk[at:])
        frame = chunk[at : at + size]
        if text not in frame:
            kept += frame
        at += size
    return bytes(kept)


def _frame_size(chunk: bytes) -> int:
    if len(chunk) < 2 or chunk[0] >> 4 not in {0x8, 0x0}:
        return len(chunk)
    length, head = chunk[1] & 0x7F, 2
    if length == 126 and len(chunk) >= 4:
        length, head = int.from_bytes(chunk[2:4], "big"), 4
    elif length == 127 and len(chunk) >= 10:
        length, head = int.from_bytes(chunk[2:10], "big"), 10
    return head + length
