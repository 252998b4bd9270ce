"""The WebSockets of one server, and the one loop that sends to all of them in turn.

As in ComfyUI the loop waits for each socket: who does not read holds up everybody else once the buffers between
are full. And as there (issue 16010), when the older of two sockets with one client id closes, the newer one is
forgotten.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Collection
from itertools import count

from aiohttp import web

from comfysoak_core.clock import Clock
from comfysoak_simulator.messages import Message

BUFFER_BYTES = 64 * 1024  # a socket with more unsent than this is waited for
_BATCH_BYTES = 256 * 1024
_LOOK_AGAIN_S = 0.002
_SERIAL = count()
_TEXT, _BINARY = 0x81, 0x82  # first byte of a whole text or binary frame


class Connection:
    """One WebSocket: frames of plain ones are written many at once, compressed ones by aiohttp."""

    def __init__(self, socket: web.WebSocketResponse, transport: asyncio.Transport, clock: Clock) -> None:
        self.serial = next(_SERIAL)
        self._clock = clock
        self.socket = socket
        self.transport = transport
        self.compressed = bool(socket.compress)
        self.last_traffic_ns = clock.now_ns()
        self._frames: list[bytes] = []

    @property
    def is_full(self) -> bool:
        """Whether the other side reads too slowly."""
        return not self.transport.is_closing() and self.transport.get_write_buffer_size() > BUFFER_BYTES

    def add(self, frame: bytes) -> None:
        """Take a whole frame; it is sent with the next `flush`."""
        self._frames.append(frame)

    def flush(self) -> None:
        """Send what was taken."""
        if self._frames and not self.transport.is_closing():
            self.transport.write(b"".join(self._frames) if len(self._frames) > 1 else self._frames[0])
            self.last_traffic_ns = self._clock.now_ns()
        self._frames.clear()

    async def send_compressed(self, message: Message) -> None:
        """Send a message by aiohttp."""
        try:
            if message.is_text:
                await self.socket.send_str(message.encoded().decode())
            else:
                await self.socket.send_bytes(message.encoded())
        except ConnectionError:
            return
        self.last_traffic_ns = self._clock.now_ns()

    def cut(self) -> None:
        """End it without a close frame."""
        self.transport.abort()


class Sockets:
    """The table of sockets by client id, and the queue of what is to be sent.

    `alter` may change what is sent in the place of a message (for faults): frames to send, ready made.
    """

    def __init__(self) -> None:
        self.table: dict[str, Connection] = {}
        self.open: set[Connection] = set()  # in the table or forgotten
        self.alter: Callable[[Message], list[bytes]] | None = None
        self._messages: deque[Message] = deque()
        self._wake = asyncio.Event()
        self._silent_until_s = 0.0
        self._touched: dict[Connection, None] = {}
        self._batch_bytes = 0
        self._waits = False  # for somebody to read

    @property
    def is_idle(self) -> bool:
        """Whether there is nothing left to send."""
        return not self._messages and not self._touched and not self._waits

    @property
    def is_settled(self) -> bool:
        """Whether all has been sent that can be."""
        return (not self._messages and not self._touched) or self._waits

    def put(self, message: Message) -> None:
        """Have a message sent after all that were put before it."""
        self._messages.append(message)
        self._wake.set()

    def enter(self, client_id: str, connection: Connection) -> None:
        """A socket is open; it takes the place of one with the same id."""
        self.table[client_id] = connection
        self.open.add(connection)

    def leave(self, client_id: str, connection: Connection) -> None:
        """A socket has closed; whoever has its id by now is forgotten with it."""
        if connection in self.open:  # otherwise it was one of a process that is gone
            self.table.pop(client_id, None)
            self.open.discard(connection)

    def forget(self, connections: Collection[Connection]) -> None:
        """Take sockets out of the table; they stay open and get nothing any more."""
        for client_id in [known for known, connection in self.table.items() if connection in connections]:
            del self.table[client_id]

    def silence(self, seconds: float) -> None:
        """Send nothing to anyone for so long."""
        self._silent_until_s = asyncio.get_running_loop().time() + seconds

    def forget_everything(self) -> None:
        """The process is gone, with its table and what it had not sent."""
        self.table.clear()
        self.open.clear()
        self._messages.clear()
        self._touched.clear()

    async def send_now(self, message: Message, connection: Connection) -> None:
        """Send to one socket out of turn, as greetings are."""
        if connection.compressed:
            await connection.send_compressed(message)
        else:
            connection.add(frame_of(message))
            connection.flush()

    async def run(self) -> None:
        """The send loop."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            while self._messages:
                if self._silent_until_s:
                    await self._while_silent()
                if self._messages:
                    await self._deliver(self._messages.popleft())
            self._flush()

    async def _while_silent(self) -> None:
        left_s = self._silent_until_s - asyncio.get_running_loop().time()
        self._silent_until_s = 0.0
        if left_s > 0:
            await asyncio.sleep(left_s)

    async def _deliver(self, message: Message) -> None:
        if message.to is None:
            targets = list(self.table.values())
        else:
            connection = self.table.get(message.to)
            targets = [connection] if connection is not None else []
        if not targets:
            return
        frames = [frame_of(message)] if self.alter is None else self.alter(message)
        for target in targets:
            if target.compressed:
                await target.send_compressed(message)
                continue
            for frame in frames:
                target.add(frame)
                self._batch_bytes += len(frame)
            self._touched[target] = None
        if self._batch_bytes > _BATCH_BYTES or any(target.is_full for target in targets):
            await self._flush_and_wait()

    def _flush(self) -> list[Connection]:
        touched = list(self._touched)
        for connection in touched:
            connection.flush()
        self._touched.clear()
        self._batch_bytes = 0
        return touched

    async def _flush_and_wait(self) -> None:
        for connection in self._flush():
            self._waits = connection.is_full
            while connection.is_full:  # noqa: ASYNC110  # a transport tells only its own protocol when it has drained
                await asyncio.sleep(_LOOK_AGAIN_S)
            self._waits = False


def frame_of(message: Message) -> bytes:
    """A message as one unmasked frame (RFC 6455, 5.2)."""
    return framed(_TEXT if message.is_text else _BINARY, message.encoded())


def framed(first: int, payload: bytes) -> bytes:
    """A payload with the header of a whole frame; `first` says whether text or binary."""
    length = len(payload)
    if length < 126:
        return bytes((first, length)) + payload
    if length < 65536:
        return bytes((first, 126)) + length.to_bytes(2, "big") + payload
    return bytes((first, 127)) + length.to_bytes(8, "big") + payload
