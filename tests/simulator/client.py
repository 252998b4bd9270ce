"""A client of a simulated server whose clock stands: real sockets, and time that passes when the test says."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
from websockets.asyncio.client import connect

from comfysoak_core.clock import NS_PER_S, ManualClock
from comfysoak_core.scenario.embedded import Embedded
from comfysoak_simulator.server import Server
from tests.simulator.replay import Listener, serving

Json = Any


class Client:
    """Speaks to one server; its sockets are listened to from the start."""

    def __init__(self, server: Server, clock: ManualClock, session: aiohttp.ClientSession) -> None:
        self.server = server
        self.clock = clock
        self._session = session
        self._listeners: list[Listener] = []

    async def open(self, client_id: str) -> Listener:
        """A WebSocket, listened to."""
        url = f"ws://{self.server.host}:{self.server.port}/ws?clientId={client_id}"
        socket = await connect(url, compression=None, max_size=None, ping_interval=None, proxy=None, close_timeout=2)
        listener = Listener(socket)
        self._listeners.append(listener)
        await self.settle()
        return listener

    async def ask(self, method: str, path: str, body: Json = None) -> tuple[int, Json]:
        """Status and body of an answer: JSON as an object, anything else as bytes."""
        async with self._session.request(method, f"{self.server.url}{path}", json=body) as answer:
            if answer.content_type == "application/json":
                return answer.status, await answer.json()
            return answer.status, await answer.read()

    async def file(self, filename: str) -> bytes:
        """An output file, which has to be there."""
        status, content = await self.ask("GET", f"/view?filename={filename}")
        assert status == 200
        return bytes(content)

    async def submit(self, prompt: dict[str, Json], client_id: str = "me", **more: Json) -> str:
        """Submit a prompt that has to be accepted; its id."""
        status, answer = await self.ask("POST", "/prompt", {"prompt": prompt, "client_id": client_id, **more})
        assert status == 200, answer
        return str(answer["prompt_id"])

    async def ran(self, prompt: dict[str, Json], client_id: str = "me", **more: Json) -> dict[str, Json]:
        """Submit a prompt and let time pass until it has ended; its history entry."""
        prompt_id = await self.submit(prompt, client_id, **more)
        await self.settle()
        while self.server.engine.queue.remaining:
            due_ns = self.server.due_ns
            assert due_ns is not None
            await self._pass_until(due_ns)
        await self.settle()
        entry: dict[str, Json] = self.server.engine.queue.history[prompt_id]
        return entry

    async def settle(self) -> None:
        """All that can happen without time passing has happened, and has been received."""
        while not self.server.is_settled:  # noqa: ASYNC110  # the server has no event for it
            await asyncio.sleep(0)
        for listener in self._listeners:
            await listener.caught_up()

    async def pass_time(self, seconds: float) -> None:
        """Let so much time pass."""
        await self.settle()
        end_ns = self.clock.now_ns() + round(seconds * NS_PER_S)
        while (due_ns := self.server.due_ns) is not None and due_ns < end_ns:
            await self._pass_until(due_ns)
        await self._pass_until(end_ns)

    async def _pass_until(self, moment_ns: int) -> None:
        self.clock.set_ns(max(moment_ns, self.clock.now_ns()))
        self.server.stir()
        await self.settle()


@asynccontextmanager
async def client_of(**settings: Json) -> AsyncIterator[Client]:
    """A client of a server with these settings."""
    clock = ManualClock()
    async with serving(Embedded.model_validate(settings), clock) as server, aiohttp.ClientSession() as session:
        yield Client(server, clock, session)


def kinds(listener: Listener) -> list[str]:
    """The types of the messages received so far; binary ones and rubbish as such."""
    found = []
    for message in listener.received:
        known = isinstance(message, dict) and isinstance(message.get("type"), str)
        found.append(message["type"] if known else "other")
    return found
