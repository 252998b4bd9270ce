"""A proxy that gives each request to the next of its servers, as one without sticky sessions does. It takes notes."""

from __future__ import annotations

import asyncio
import itertools
import json
import re
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, urlsplit

_LENGTH = re.compile(rb"(?i)\r\ncontent-length: *(\d+)")


@dataclass
class Notes:
    """Which server got what: `sockets` by client id, in order; `prompts` by prompt id, with the client id."""

    url: str = ""
    sockets: dict[str, list[str]] = field(default_factory=dict)
    prompts: dict[str, tuple[str, str]] = field(default_factory=dict)

    def is_misrouted(self, prompt_id: str) -> bool:
        """Whether the socket of a prompt's client was open to another server than the one that got the prompt."""
        client_id, server = self.prompts[prompt_id]
        return server not in self.sockets[client_id]


@contextmanager
def round_robin(servers: Sequence[str], *, sticky: bool = False) -> Iterator[Notes]:
    """The proxy in a thread of its own. `sticky`: all from one address goes to one server, as it should."""
    notes, loop = Notes(), asyncio.new_event_loop()
    proxy = _Proxy(servers, notes, sticky=sticky)
    server = loop.run_until_complete(asyncio.start_server(proxy.serve, "127.0.0.1", 0))
    notes.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:
        yield notes
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        server.close()
        while tasks := asyncio.all_tasks(loop):
            for task in tasks:
                task.cancel()
            loop.run_until_complete(asyncio.wait(tasks))
        loop.close()


class _Proxy:
    def __init__(self, servers: Sequence[str], notes: Notes, *, sticky: bool) -> None:
        self._servers = tuple(servers)
        self._turns = itertools.cycle(self._servers)
        self._notes = notes
        self._sticky = sticky
        self._kept: set[asyncio.Task[Any]] = set()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One request a connection, or a WebSocket."""
        own = asyncio.current_task()
        assert own is not None
        self._kept.add(own)
        own.add_done_callback(self._kept.discard)
        with suppress(OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            head = await reader.readuntil(b"\r\n\r\n")
            found = _LENGTH.search(head)
            body = await reader.readexactly(int(found[1])) if found else b""
            server = self._choose(head, body, writer.get_extra_info("peername")[0])
            parts = urlsplit(server)
            theirs, ours = await asyncio.open_connection(parts.hostname, parts.port)
            upgrade = b"upgrade: websocket" in head.lower()
            ours.write((head if upgrade else head.replace(b"\r\n", b"\r\nConnection: close\r\n", 1)) + body)
            pipes = [_pipe(theirs, writer)] + ([_pipe(reader, ours)] if upgrade else [])
            tasks = {asyncio.ensure_future(pipe) for pipe in pipes}
            self._kept |= tasks  # the loop itself does not keep them
            try:
                await asyncio.wait(tasks, return_when="FIRST_COMPLETED")
            finally:
                for task in tasks:
                    task.cancel()
                self._kept -= tasks
                ours.close()
        writer.close()

    def _choose(self, head: bytes, body: bytes, address: str) -> str:
        method, target, _ = head.decode("latin-1").split(" ", 2)
        path = urlsplit(target)
        client_id = parse_qs(path.query).get("clientId", [""])[0]
        sent = json.loads(body) if method == "POST" and path.path == "/prompt" else {}
        server = self._servers[sum(address.encode()) % len(self._servers)] if self._sticky else next(self._turns)
        if path.path == "/ws":
            self._notes.sockets.setdefault(client_id, []).append(server)
        elif sent:
            self._notes.prompts[sent["prompt_id"]] = (sent["client_id"], server)
        return server


async def _pipe(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
