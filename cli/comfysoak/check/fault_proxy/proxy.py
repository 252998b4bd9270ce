"""The proxy: a thread of its own, told from outside what to do. It speaks HTTP/1.1, one request a connection."""

from __future__ import annotations

import asyncio
import contextlib
import re
import secrets
import socket
import ssl
import struct
import threading
import time
import uuid
from collections.abc import Callable, Coroutine, Iterator
from types import TracebackType
from typing import Any, Final, Self, TypeVar
from urllib.parse import urlsplit

import orjson

from comfysoak.check.fault_proxy.faults import SOCKET_STATUS, Fault, Passed, Rewrite, RunningOn, begins, ends
from comfysoak.check.fault_proxy.wire import (
    MOST_HEAD,
    Frames,
    Request,
    WireError,
    answer,
    read_request,
    text_of,
)
from comfysoak_core.clock import NS_PER_S
from comfysoak_core.comfyui.json_text import document_or_none

MARK: Final = re.compile(rb"comfysoak-check-[0-9a-f]{8}")  # what our own prompts hold
_READ_BYTES: Final = 256 * 1024
_COMMAND_S: Final = 10.0
_NO_LINGER: Final = struct.pack("ii", 1, 0)  # closing sends RST, as a network that fails does
_LOOK_EVERY_S: Final = 0.02
_REFUSED_S: Final = 0.3
_T = TypeVar("_T")


class FaultProxy:
    """Stands before `server` from the beginning of the block to its end, on a free port of `host`.

    Its `url` ends in a path that nobody can guess: it may have to listen where strangers can reach it. Faults are for
    prompts of ours, known by a mark in their graph, unless `any_prompt`; a connection tells nothing of that, so those
    are cut or frozen for everybody.
    """

    def __init__(self, server: str, host: str, steady_ns: Callable[[], int]) -> None:
        self._server = urlsplit(server)
        self._host = host
        self._steady_ns = steady_ns
        self._port = 0
        self._prefix = f"/comfysoak-check-{secrets.token_hex(8)}"
        self._fault = Fault.NONE
        self._rewrite: Rewrite | None = None
        self._prompts: frozenset[str] = frozenset()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="fault-proxy", daemon=True)
        self._listening: asyncio.Server | None = None
        self._tasks: dict[asyncio.Task[None], asyncio.StreamWriter] = {}
        self._released = asyncio.Event()
        self._submitted: tuple[str, Any] = ("", None)  # the last prompt of ours: id and graph
        self._running_on: RunningOn | None = None
        self.any_prompt = False
        self.runs_on_s = 0.0  # a prompt whose socket was cut seems to run for so long after it
        self.struck = 0  # how often the fault it was told last has come about
        self.passed: list[Passed] = []
        self.marks: list[str] = []  # of prompts that were exchanged
        self.sockets = 0  # WebSockets that are open through it

    def __enter__(self) -> Self:
        """It listens. OSError when it cannot."""
        self._thread.start()
        try:
            self._do(self._listen())
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """It is gone, and all connections with it."""
        try:
            self._do(self._stop())
        finally:
            self._end()

    @property
    def url(self) -> str:
        """What stands for the server's base URL."""
        host = f"[{self._host}]" if ":" in self._host else self._host
        return f"http://{host}:{self._port}{self._prefix}"

    @contextlib.contextmanager
    def failing(self, fault: Fault) -> Iterator[None]:
        """It fails so within the block; afterwards it passes on, and what was held or frozen is cut."""
        self._do(self._set(fault))
        try:
            yield
        finally:
            if fault is Fault.FREEZES:
                # Clients ask once more when a GET is cut: let through, what nobody waits for would be done after all.
                self._do(self._set(Fault.REFUSES))
                time.sleep(_REFUSED_S)
            self._do(self._set(Fault.NONE))

    @contextlib.contextmanager
    def rewriting(self, rewrite: Rewrite) -> Iterator[None]:
        """Our prompts are exchanged for other graphs within the block."""
        self._rewrite, self.struck = rewrite, 0
        try:
            yield
        finally:
            self._rewrite = None

    def asked_since(self, at_ns: int) -> list[Passed]:
        """The requests that came since then."""
        return [one for one in list(self.passed) if one.at_ns >= at_ns]

    def has_closed(self, within_s: float) -> bool:
        """Whether no WebSocket is open through it any more, in that time."""
        return self.waits(lambda: self.sockets == 0, within_s)

    def waits(self, until: Callable[[], bool], within_s: float) -> bool:
        """Until something is so that it sees; False when the time is over."""
        latest_s = time.monotonic() + within_s
        while not until():
            if time.monotonic() >= latest_s:
                return False
            time.sleep(_LOOK_EVERY_S)
        return True

    # --- commands, in its own loop --------------------------------------------------------------------------------

    def _do(self, work: Coroutine[Any, Any, _T]) -> _T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(_COMMAND_S)

    async def _listen(self) -> None:
        self._listening = await asyncio.start_server(
            self._take, self._host, self._port, limit=MOST_HEAD, reuse_address=True
        )
        self._port = self._listening.sockets[0].getsockname()[1]

    async def _set(self, fault: Fault) -> None:
        before, self._fault = self._fault, fault
        if fault is not Fault.NONE:
            self.struck = 0
            self._prompts = frozenset()
        if fault is Fault.HOLDS:
            self._released.clear()
        else:
            self._released.set()
        if fault is Fault.REFUSES and self._listening is not None:
            self._listening.close()
            self._listening = None
        if Fault.REFUSES in {before, fault} or before is Fault.LOSES_END:
            await self._cut_all()
        if self._listening is None and fault is not Fault.REFUSES:
            await self._listen()

    async def _cut_all(self) -> None:
        tasks = dict(self._tasks)
        for task, writer in tasks.items():
            _cut(writer)
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _stop(self) -> None:
        if self._listening is not None:
            self._listening.close()
        await self._cut_all()
        await asyncio.sleep(0)  # transports end in the next turn

    def _end(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(_COMMAND_S)
        self._loop.close()

    # --- one connection -------------------------------------------------------------------------------------------

    async def _take(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None  # noqa: S101  # a handler of connections is a task
        self._tasks[task] = writer
        try:
            await self._serve(reader, writer)
        except (OSError, WireError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, asyncio.CancelledError):
            pass  # either side has gone, or we cut it
        finally:
            del self._tasks[task]
            writer.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        whole = await read_request(reader)
        request = whole.without(self._prefix) if whole is not None else None
        if request is None:
            writer.write(answer(404, b"no such place"))
            await writer.drain()
            return
        self.passed.append(Passed(self._steady_ns(), request.method, request.path))
        if request.is_prompt:
            request = self._marked(request)
        if self._fault is Fault.FREEZES:
            self.struck += 1
            await asyncio.Event().wait()  # until it is cut
        own = self._own_answer(request)
        self.struck += own is not None
        own = own or self._seeming(request)
        if own is not None:
            writer.write(own)
            await writer.drain()
            return
        await self._passed_on(request, reader, writer)

    def _own_answer(self, request: Request) -> bytes | None:
        if self._fault is Fault.NO_SOCKET and request.is_upgrade:
            return answer(SOCKET_STATUS, b"Bad Gateway")
        if self._fault is Fault.ANSWERS_500 and request.is_prompt and self._is_ours(request.body):
            return answer(500, b"500 Internal Server Error\n\nServer got itself in trouble")
        return None

    def _seeming(self, request: Request) -> bytes | None:
        """What is answered while a prompt whose socket was cut seems to run on."""
        running = self._running_on
        if running is None or self._steady_ns() > running.until_ns:
            return None
        body = running.answer(request.method, request.path)
        return None if body is None else answer(200, body, "application/json")

    def _is_ours(self, body: bytes) -> bool:
        return self.any_prompt or MARK.search(body) is not None

    def _marked(self, request: Request) -> Request:
        """A prompt of ours with an id that is known before a message can name it; its graph exchanged, if told so."""
        document = document_or_none(request.body) if self._is_ours(request.body) else None
        if not isinstance(document, dict):
            return request
        prompt_id = document.get("prompt_id")
        if not isinstance(prompt_id, str):
            prompt_id = document["prompt_id"] = str(uuid.uuid4())
        self._prompts |= {prompt_id}
        if self._rewrite is not None:
            found = MARK.search(request.body)
            self.marks.append(found[0].decode() if found else f"comfysoak-check-{secrets.token_hex(4)}")
            document["prompt"] = self._rewrite(self.marks[-1])
            self.struck += 1
        self._submitted = (prompt_id, document.get("prompt"))
        return Request(request.method, request.target, request.headers, orjson.dumps(document))

    async def _passed_on(self, request: Request, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        secure = ssl.create_default_context() if self._server.scheme == "https" else None
        port = self._server.port or (443 if secure else 80)
        upstream, out = await asyncio.open_connection(self._server.hostname, port, ssl=secure, limit=MOST_HEAD)
        try:
            out.write(request.sent_to(self._server))
            await out.drain()
            if request.is_upgrade:
                await self._socket(reader, writer, upstream, out)
                return
            while piece := await upstream.read(_READ_BYTES):
                writer.write(piece)
                await writer.drain()
        finally:
            out.close()

    # --- a WebSocket ----------------------------------------------------------------------------------------------

    async def _socket(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        upstream: asyncio.StreamReader,
        out: asyncio.StreamWriter,
    ) -> None:
        """Until one side ends it, or the fault does."""
        head = await upstream.readuntil(b"\r\n\r\n")
        writer.write(head)
        if not head.startswith(b"HTTP/1.1 101"):
            writer.write(await upstream.read(MOST_HEAD))
            await writer.drain()
            return
        self.sockets += 1
        ways = [asyncio.ensure_future(_pipe(reader, out)), asyncio.ensure_future(self._frames(upstream, writer))]
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            self.sockets -= 1
            for way in ways:
                way.cancel()
            await asyncio.gather(*ways, return_exceptions=True)

    async def _frames(self, upstream: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        frames = Frames()
        while piece := await upstream.read(_READ_BYTES):
            for frame in frames.feed(piece):
                text = text_of(frame)
                if self._fault is Fault.CUTS and begins(text, self._prompts):
                    self.struck += 1
                    self._fault = Fault.NONE  # a client that connects again is let through
                    until_ns = self._steady_ns() + round(self.runs_on_s * NS_PER_S)
                    self._running_on = RunningOn(*self._submitted, until_ns)
                    _cut(writer)
                    return
                if self._fault is Fault.HOLDS and begins(text, self._prompts):
                    self.struck += 1
                    await self._released.wait()
                if self._fault is Fault.LOSES_END and ends(text, self._prompts):
                    self.struck += 1
                    continue
                writer.write(frame)
            await writer.drain()


async def _pipe(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while piece := await reader.read(_READ_BYTES):
        writer.write(piece)
        await writer.drain()


def _cut(writer: asyncio.StreamWriter) -> None:
    """The connection is gone at once: the other side reads a reset."""
    connection: socket.socket | None = writer.get_extra_info("socket")
    if connection is not None:
        with contextlib.suppress(OSError, ValueError):
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _NO_LINGER)
    writer.transport.abort()


def address_towards(url: str) -> str:
    """The address of this machine from which it reaches the host of a URL. OSError when there is none."""
    parts = urlsplit(url)
    found = socket.getaddrinfo(parts.hostname, parts.port or 80, type=socket.SOCK_DGRAM)
    family, kind, _, _, place = found[0]
    with socket.socket(family, kind) as probe:
        probe.connect(place)  # sends nothing
        return str(probe.getsockname()[0])
