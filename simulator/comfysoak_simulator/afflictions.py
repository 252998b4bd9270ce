"""What faults do to sockets, requests and the process of a server; the engine does its own."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from random import Random
from typing import Any, Protocol

from aiohttp import web

from comfysoak_core.clock import NS_PER_S
from comfysoak_core.scenario.faults import (
    Down,
    DropSockets,
    FaultBase,
    Frozen,
    HostileMessages,
    HttpError,
    IdleCut,
    LoseMessages,
    Restart,
    SilentSockets,
    SlowAnswers,
    ZombieSockets,
)
from comfysoak_simulator.hostility import rubbish
from comfysoak_simulator.machine import Machine
from comfysoak_simulator.messages import Message
from comfysoak_simulator.sockets import Connection, Sockets, frame_of

TROUBLE = "500 Internal Server Error\n\nServer got itself in trouble"
_SILENCE_S, _FREEZE_S = 20.0, 5.0
_IDLE_LOOK_S = 0.25
_FOR_EVER_S = 365 * 86_400.0


class Afflicted(Protocol):
    """The server as its faults see it."""

    machine: Machine
    sockets: Sockets

    async def begin(self) -> None:
        """The process is there."""

    async def kill(self) -> None:
        """The process is gone."""

    def stir(self) -> None:
        """The engine may have something to do."""

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        """Have something done beside all else."""


class Afflictions:
    """The faults of one server's edge."""

    def __init__(self, server: Afflicted) -> None:
        machine = server.machine
        self._server = server
        self._faults = machine.faults
        self._random = Random(f"edge/{machine.embedded.seed}/{machine.index}")
        self.of_requests = self._faults.has(HttpError) or self._faults.has(SlowAnswers)
        self.of_messages = self._faults.has(LoseMessages) or self._faults.has(HostileMessages)
        self.of_idle_sockets = self._faults.has(IdleCut)
        self.thawed = asyncio.Event()
        self.thawed.set()

    def suffer(self, fault: FaultBase) -> None:
        """Do to sockets and process what a fault says."""
        match fault:
            case DropSockets(share=share):
                for connection in self._share_of(share):
                    connection.cut()
            case ZombieSockets(share=share):
                self._server.sockets.forget(self._share_of(share))
            case SilentSockets(lasting=seconds):
                self._server.sockets.silence(seconds or _SILENCE_S)
            case Restart(down=seconds):
                self._server.spawn(self._restart(seconds))
            case Down(lasting=seconds):
                self._server.spawn(self._restart(seconds or _FOR_EVER_S))
            case Frozen(lasting=seconds):
                self._server.spawn(self._freeze(seconds or _FREEZE_S))
            case _:
                pass

    async def request(self, request: web.Request) -> web.Response | None:
        """What a request suffers: a wait, or an answer in the place of its own."""
        now_ns = self._server.machine.clock.now_ns()
        slow = self._faults.strike(SlowAnswers, now_ns, path=request.path, subject=request.path)
        if slow is not None:
            await asyncio.sleep(slow.delay)
        broken = self._faults.strike(HttpError, now_ns, path=request.path, subject=request.path)
        return None if broken is None else web.Response(status=broken.status, text=TROUBLE)

    def message(self, message: Message) -> list[bytes]:
        """The frames sent in the place of a message."""
        now_ns = self._server.machine.clock.now_ns()
        kind = str(message.event)
        if kind == "executing" and message.data["node"] is None:
            kind = "executing-null"
        if self._faults.strike(LoseMessages, now_ns, message=kind) is not None:
            return []
        hostile = self._faults.strike(HostileMessages, now_ns)
        frame = frame_of(message)
        return [frame] if hostile is None else [rubbish(self._random, hostile.size), frame]

    async def cut_idle_sockets(self) -> None:
        """Cut sockets without traffic, for as long as the server lives."""
        schedules = self._faults.schedules
        shortest_s = min(schedule.fault.after for schedule in schedules if isinstance(schedule.fault, IdleCut))
        while True:
            await asyncio.sleep(_IDLE_LOOK_S)
            now_ns = self._server.machine.clock.now_ns()
            for connection in list(self._server.sockets.open):
                idle = now_ns - connection.last_traffic_ns >= shortest_s * NS_PER_S
                if idle and self._faults.strike(IdleCut, now_ns) is not None:
                    connection.cut()

    def _share_of(self, share: float) -> list[Connection]:
        connections = sorted(self._server.sockets.open, key=lambda connection: connection.serial)
        return self._random.sample(connections, max(round(len(connections) * share), 1 if connections else 0))

    async def _restart(self, down_s: float) -> None:
        """The process is killed, and after a while there is a new one on the same port."""
        await self._server.kill()
        await asyncio.sleep(down_s)
        await self._server.begin()

    async def _freeze(self, seconds: float) -> None:
        """The process stands still: nothing is read, run or answered."""
        self.thawed.clear()
        self._server.sockets.silence(seconds)
        still = [connection.transport for connection in self._server.sockets.open]
        for transport in still:
            transport.pause_reading()
        await asyncio.sleep(seconds)
        self.thawed.set()
        for transport in still:
            if not transport.is_closing():
                transport.resume_reading()
        self._server.stir()
