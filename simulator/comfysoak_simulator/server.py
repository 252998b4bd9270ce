"""One virtual server on a real port: the edge around an engine, and what is done to it from outside."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import uuid
from collections.abc import Awaitable, Callable, Coroutine
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import orjson
from aiohttp import WSMsgType, web

from comfysoak_core.clock import NS_PER_S
from comfysoak_core.errors import UsageError
from comfysoak_simulator import facts
from comfysoak_simulator.afflictions import TROUBLE, Afflictions
from comfysoak_simulator.engine import Engine
from comfysoak_simulator.file_routes import FileRoutes
from comfysoak_simulator.logbook import Line
from comfysoak_simulator.machine import Machine
from comfysoak_simulator.messages import Message
from comfysoak_simulator.routes import Routes
from comfysoak_simulator.sockets import Connection, Sockets

Json = Any
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
_LOOPBACK = ("localhost", "127.", "[::1]")
_logger = logging.getLogger(__name__)


class Server:
    """A server on its port. `start` before use, `stop` at the end; both in the loop it lives in."""

    def __init__(self, machine: Machine, host: str, port: int) -> None:
        self.machine = machine
        self.host = host
        self.port = port  # the real one after `start`, also if 0 was asked for
        self.sockets = Sockets()
        self.log_readers: set[str] = set()
        self.argv: list[str] = []
        self.due_ns: int | None = None  # when the engine has something to do next, as it last said
        self.new_client_id: Callable[[], str] = _new_client_id
        self._afflictions = Afflictions(self)
        self.engine = self._new_engine()
        self._timer: asyncio.TimerHandle | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._runner: web.AppRunner | None = None
        self._site: web.TCPSite | None = None
        self._log_file: _LogFile | None = None
        if self._afflictions.of_messages:
            self.sockets.alter = self._afflictions.message

    @property
    def url(self) -> str:
        """Where it answers."""
        host = f"[{self.host}]" if ":" in self.host else self.host  # IPv6
        return f"http://{host}:{self.port}"

    @property
    def port_is_open(self) -> bool:
        """Whether it listens."""
        return self._site is not None

    async def start(self) -> None:
        """Listen, and run the prompts that come."""
        app = web.Application(client_max_size=self.machine.embedded.max_upload, middlewares=[self._around])
        app.router.add_get("/ws", self._websocket)
        app.router.add_get("/api/ws", self._websocket)
        FileRoutes(self.machine.files).add_to(app)
        Routes(self).add_to(app)
        self._runner = web.AppRunner(app, access_log=None, handle_signals=False, shutdown_timeout=0)
        await self._runner.setup()
        self._listen_to_log()
        self.spawn(self.sockets.run())
        if self._afflictions.of_idle_sockets:
            self.spawn(self._afflictions.cut_idle_sockets())
        await self.begin()

    async def begin(self) -> None:
        """The process is there: listen on the port."""
        if self._runner is None:
            return
        site = web.TCPSite(self._runner, self.host, self.port, backlog=4096, reuse_address=True)
        await site.start()
        self._site = site  # not before it listens: the port counts as open from here on
        self.port = self._runner.addresses[0][1]
        self.argv = facts.arguments(self.machine, self.host, self.port)
        self.machine.log.started(self.machine.embedded, self.url)
        self.stir()

    async def kill(self) -> None:
        """The process is gone, and all it held: sockets are cut, connections refused, GPU and temp are empty."""
        if self._site is not None:
            await self._site.stop()
            self._site = None
        self._cut_all()
        self.sockets.forget_everything()
        self.log_readers.clear()
        self.machine.end_of_process()
        self.engine = self._new_engine()

    async def stop(self) -> None:
        """End as a process that is killed: no close frames."""
        if self._timer is not None:
            self._timer.cancel()
        for task in self._tasks:
            task.cancel()
        self._cut_all()
        if self._runner is not None:
            await self._runner.cleanup()
        if self._log_file is not None:
            self._log_file.close()

    def object_info(self) -> dict[str, Json]:
        """The answer to GET /object_info; LoadImage offers what has been uploaded."""
        info = self.machine.catalogue.object_info()
        loader = info.get("LoadImage")
        if loader is not None:
            with contextlib.suppress(KeyError, IndexError, TypeError):  # a dump may declare it in another way
                loader["input"]["required"]["image"][0] = self.machine.files.input_names()
        return info

    # --- time -------------------------------------------------------------------------------------------------

    @property
    def is_settled(self) -> bool:
        """Whether nothing will happen before time passes or somebody asks something."""
        due = self._timer is not None and (self.due_ns is None or self.due_ns <= self.machine.clock.now_ns())
        return not due and self.sockets.is_settled

    def stir(self) -> None:
        """Something was asked of the engine: let it do what is due, after the answer has gone."""
        if self._timer is not None:
            self._timer.cancel()
        self.due_ns = None
        self._timer = asyncio.get_running_loop().call_later(0, self._tick)

    def _tick(self) -> None:
        self._timer = None
        if not self._afflictions.thawed.is_set():
            return
        self.due_ns = due_ns = self.engine.advance()
        if due_ns is not None and self._timer is None:
            delay_s = max((due_ns - self.machine.clock.now_ns()) / NS_PER_S, 0.0)
            self._timer = asyncio.get_running_loop().call_later(delay_s, self._tick)

    # --- WebSocket --------------------------------------------------------------------------------------------

    async def _websocket(self, request: web.Request) -> web.StreamResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        transport = request.transport
        if not isinstance(transport, asyncio.Transport):
            return socket
        client_id = request.query.get("clientId", "") or self.new_client_id()
        connection = Connection(socket, transport, self.machine.clock)
        self.sockets.enter(client_id, connection)
        flags = self.engine.worker.client_flags
        flags[client_id] = {}
        try:
            for message in self.engine.greet(client_id):
                await self.sockets.send_now(message, connection)
            await self._listen_to(socket, connection, client_id)
        finally:
            self.sockets.leave(client_id, connection)
            flags.pop(client_id, None)
        return socket

    async def _listen_to(self, socket: web.WebSocketResponse, connection: Connection, client_id: str) -> None:
        first = True
        async for message in socket:
            connection.last_traffic_ns = self.machine.clock.now_ns()
            if message.type is not WSMsgType.TEXT:
                continue
            try:
                said = orjson.loads(message.data)
                if first and said.get("type") == "feature_flags":
                    self.engine.worker.client_flags[client_id] = said.get("data", {})
                    reply = Message("feature_flags", facts.features(self.machine), client_id)
                    await self.sockets.send_now(reply, connection)
                first = False
            except orjson.JSONDecodeError:
                self.machine.log.write(f"Invalid JSON received from client {client_id}: {message.data[:200]}")
            except AttributeError as trouble:
                self.machine.log.write(f"Error processing WebSocket message: {trouble}")

    # --- HTTP -------------------------------------------------------------------------------------------------

    @web.middleware
    async def _around(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        if not self._afflictions.thawed.is_set():
            await self._afflictions.thawed.wait()
        if "Origin" in request.headers and _is_foreign(request.headers["Origin"], request.headers.get("Host", "")):
            return web.Response(status=403)
        if request.method == "OPTIONS":
            return web.Response()
        if self._afflictions.of_requests:
            refused = await self._afflictions.request(request)
            if refused is not None:
                return refused
        try:
            return await handler(request)
        except web.HTTPException:
            raise
        except Exception as trouble:  # whatever it is: ComfyUI's answer to it is a 500
            self.machine.log.write(f"Error handling request from {request.remote}: {trouble!r}")
            _logger.debug("a request ended in an error", exc_info=trouble)
            return web.Response(status=500, text=TROUBLE)

    # --- parts ------------------------------------------------------------------------------------------------

    def _new_engine(self) -> Engine:
        return Engine(self.machine, self.sockets.put, self._afflictions.suffer)

    def _listen_to_log(self) -> None:
        log = self.machine.log
        log.listeners.append(self._send_log_line)
        if self.machine.embedded.log is not None:
            self._log_file = _LogFile(self.machine.embedded.log, self.machine.index)
            log.listeners.append(self._log_file.write)

    def _send_log_line(self, line: Line) -> None:
        for client_id in tuple(self.log_readers):
            if client_id in self.sockets.table:
                self.sockets.put(Message("logs", {"entries": [line.as_json()], "size": None}, client_id))
            else:
                self.log_readers.discard(client_id)

    def _cut_all(self) -> None:
        server = self._runner.server if self._runner is not None else None
        for protocol in list(server.connections) if server is not None else []:
            if protocol.transport is not None:
                protocol.transport.abort()

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        """Have something done beside all else, until `stop`."""
        task: asyncio.Task[None] = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


class _LogFile:
    """The log as a file; `{}` in the path stands for the number of the server."""

    def __init__(self, path: Path, index: int) -> None:
        place = Path(str(path).replace("{}", str(index)))
        try:
            self._file = place.open("a", encoding="utf-8", buffering=1)
        except OSError as error:
            what = f"the log file {place} cannot be written: {error.strerror}"
            raise UsageError(what, "Name a file in a folder that is there: target.embedded.log.") from None

    def write(self, line: Line) -> None:
        """Append a line."""
        self._file.write(line.text)

    def close(self) -> None:
        """Nothing more will be written."""
        self._file.close()


def _new_client_id() -> str:
    return uuid.uuid4().hex


def _is_foreign(origin: str, host: str) -> bool:
    """Whether a web page of another site asks a server on a loopback name."""
    if not host.lower().startswith(_LOOPBACK):
        return False
    theirs, ours = urlsplit(origin), urlsplit(f"//{host}")
    if theirs.port is None or ours.port is None:
        return (theirs.hostname or "") != (ours.hostname or "")
    return theirs.netloc.lower() != host.lower()
