"""The simulator as a whole: all servers of an embedded target in one process."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

import orjson

from comfysoak_core import lifeline
from comfysoak_core.clock import Anchor, AnchoredClock
from comfysoak_core.errors import UsageError
from comfysoak_core.recording.journal import Journal
from comfysoak_core.recording.layout import RUN_DIRECTORY_VARIABLE
from comfysoak_core.rows import Event
from comfysoak_core.scenario.embedded import Embedded, EmbeddedGateway
from comfysoak_core.scenario.faults import FaultBase
from comfysoak_simulator.gateway.gateway import Gateway, settings_of
from comfysoak_simulator.machine import Machine
from comfysoak_simulator.server import Server

_FLUSH_S = 0.5
Ready = Callable[[list[str], str | None], None]


def run(
    embedded: Embedded,
    *,
    host: str = "127.0.0.1",
    ports: Sequence[int] = (0,),
    ready: Ready | None = None,
    run_directory: Path | None = None,
) -> None:
    """Serve until SIGTERM or SIGINT; `ready` hears the base URLs, and the gateway's, once all answer.

    `ports`: one for each server, or one for the first and the following ones for the others, or 0 for free ones.
    With a run directory each fault that strikes becomes a row of `events`. UsageError when it cannot listen there.
    """
    asyncio.run(_serve(embedded, host, _ports(ports, embedded.servers), ready or _say_ready, run_directory))


def _say_ready(urls: list[str], gateway: str | None) -> None:
    told = {"servers": urls} | ({} if gateway is None else {"gateway": gateway})
    print(orjson.dumps(told).decode(), flush=True)  # what the caller waits for


def _ports(ports: Sequence[int], servers: int) -> list[int]:
    if len(ports) == servers:
        return list(ports)
    return [ports[0] + index if ports[0] else 0 for index in range(servers)]


async def _serve(embedded: Embedded, host: str, ports: list[int], ready: Ready, run_directory: Path | None) -> None:
    ended = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        with suppress(NotImplementedError):  # where there are no such signals
            loop.add_signal_handler(number, ended.set)
    lifeline.hold()
    clock = AnchoredClock(Anchor.from_environment())
    notes = _Notes(run_directory, clock)
    servers: list[Server] = []
    gateway: Gateway | None = None
    try:
        for index, port in enumerate(ports):
            server = Server(Machine.assemble(embedded, index, clock, notes.of(index)), host, port)
            servers.append(server)
            await _listen(server)
            notes.urls[index] = server.url
        gateway = await _gateway(embedded.gateway, servers[0])
        ready([server.url for server in servers], None if gateway is None else gateway.url)
        await _until(ended, notes)
    finally:
        if gateway is not None:
            await gateway.stop()
        for server in servers:
            await server.stop()
        notes.close()


async def _gateway(written: EmbeddedGateway | None, server: Server) -> Gateway | None:
    """The gateway in front of the first server."""
    if written is None:
        return None
    gateway = Gateway(server.url, settings_of(written), api=written.api, host=server.host)
    await _listen(gateway)
    return gateway


async def _listen(server: Server | Gateway) -> None:
    try:
        await server.start()
    except (OSError, OverflowError) as error:  # the second: a port beyond 65535
        what = f"cannot listen on {server.host}:{server.port}: {getattr(error, 'strerror', None) or error}"
        raise UsageError(what, "Name another --port, or 0.") from None


async def _until(ended: asyncio.Event, notes: _Notes) -> None:
    while not ended.is_set():
        with suppress(TimeoutError):
            await asyncio.wait_for(ended.wait(), _FLUSH_S)
        notes.flush()


class _Notes:
    """Writes down each fault that strikes, where there is a run to write it into."""

    def __init__(self, run_directory: Path | None, clock: AnchoredClock) -> None:
        self.urls: dict[int, str] = {}
        self._clock = clock
        self._journal: Journal | None = None
        if run_directory is not None:
            directory = run_directory / "journal"
            directory.mkdir(parents=True, exist_ok=True)
            self._journal = Journal(directory, host=socket.gethostname(), process="simulator", clock=clock)

    def of(self, index: int) -> Callable[[FaultBase, str], None]:
        """What server `index` tells its faults to."""

        def note(fault: FaultBase, subject: str) -> None:
            if self._journal is not None:
                self._journal.add_now(self._event(fault, subject, index))

        return note

    def flush(self) -> None:
        """Put on disk what is not there yet."""
        if self._journal is not None:
            self._journal.flush()

    def close(self) -> None:
        """Nothing more will come."""
        if self._journal is not None:
            self._journal.close()

    def _event(self, fault: FaultBase, subject: str, index: int) -> Event:
        details = fault.model_dump(exclude_none=True, exclude={"at", "every", "times", "probability", "server"})
        return Event(
            at_ns=self._clock.now_ns(),
            source="simulator",
            kind="fault",
            server=self.urls.get(index),
            subject=subject or str(details.get("kind")),
            code=fault.CODE.value,
            detail=orjson.dumps(details, default=str).decode(),
        )


def run_directory_from_environment() -> Path | None:
    """The run this process belongs to; None when it stands alone."""
    named = os.environ.get(RUN_DIRECTORY_VARIABLE, "")
    return Path(named) if named else None
