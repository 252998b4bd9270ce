"""One client of a server: its WebSocket, opened again whenever it ends, and the prompts that listen on it."""

from __future__ import annotations

import random
import uuid
from dataclasses import replace
from typing import Protocol

import gevent
import gevent.event

from comfysoak_core.codes import Code
from comfysoak_core.comfyui.messages import (
    BadMessage,
    Message,
    Status,
    parse_binary,
    parse_text,
)
from comfysoak_core.comfyui.silence import SETTLE_IN_NS, SPREAD_NS
from comfysoak_core.rows import Session
from comfysoak_core.scenario.sessions import ReconnectOrder
from comfysoak_load.edge.failures import Failure
from comfysoak_load.edge.frames import Kind
from comfysoak_load.edge.opening import open_socket
from comfysoak_load.edge.socket_edge import CLOSE_DEADLINE_S, Closing, WebSocket
from comfysoak_load.edge.stamps import Arrival
from comfysoak_load.servers.target import Target
from comfysoak_load.sockets.upkeep import Upkeep, refusal

FIRST_PAUSE_S = 0.2  # before the first attempt to open a broken socket again
LONGEST_PAUSE_S = 10.0  # each pause is twice the one before, up to this; users are spread, not to come all at once
MAX_BAD_EVENTS = 3
FEATURE_FLAGS = b'{"type":"feature_flags","data":{"supports_preview_metadata":true}}'  # as the web client sends


class PromptListener(Protocol):
    """A prompt that wants to know what happens on its client's socket; called from the event loop."""

    def on_message(self, message: Message, arrival: Arrival, size_bytes: int) -> None:
        """A message came."""

    def on_socket_lost(self, at_ns: int) -> None:
        """The socket is gone."""

    def on_socket_reopened(self, at_ns: int) -> None:
        """A new one is open."""


class Connection:
    """Keeps one socket to `target` open until `leave`. `role` is that of its rows.

    `returns` False: a socket that ends is not opened again. `small_buffers` as for `open_socket`.
    """

    __slots__ = (
        "_attempts",
        "_bad",
        "_blame",
        "_failures",
        "_id",
        "_keeps_name",
        "_leaving",
        "_listeners",
        "_older",
        "_opener",
        "_returns",
        "_row",
        "_small_buffers",
        "_socket",
        "_upkeep",
        "client_id",
        "is_open",
        "opened_ns",
        "queue_remaining",
        "replacements",
        "role",
        "target",
        "told_ns",
    )

    def __init__(
        self, target: Target, role: str, upkeep: Upkeep, *, returns: bool = True, small_buffers: bool = False
    ) -> None:
        self.target = target
        self.role = role
        self.client_id = ""
        self.is_open = gevent.event.Event()
        self.queue_remaining: int | None = None  # as this socket was last told
        self.opened_ns = 0
        self.told_ns = 0  # when its last message came
        self.replacements = 0  # because it was silent, in a row
        self._id = str(uuid.uuid4())
        self._upkeep = upkeep
        self._returns = returns
        self._small_buffers = small_buffers
        self._attempts = 0
        self._failures = 0
        self._bad = 0
        self._leaving = False
        self._keeps_name = False
        self._blame: tuple[str, Code | None] | None = None  # why we close the socket that is open
        self._listeners: list[PromptListener] = []
        self._socket: WebSocket | None = None
        self._older: _Older | None = None
        self._row: Session | None = None
        self._opener: gevent.Greenlet | None = None

    def connect(self) -> None:
        """Begin to open the socket; `is_open` tells when it is."""
        if not self.client_id and not self._leaving:
            self.client_id = str(uuid.uuid4())
            self._upkeep.opener.ask(self._open)

    def listen(self, listener: PromptListener) -> None:
        """Tell this prompt of all that comes, until `unlisten`."""
        self._listeners.append(listener)

    def unlisten(self, listener: PromptListener) -> None:
        """Tell it no more."""
        if listener in self._listeners:
            self._listeners.remove(listener)

    @property
    def is_closed(self) -> bool:
        """Whether there is no socket, open or closing."""
        return self._socket is None and self._older is None

    @property
    def hears(self) -> bool:
        """Whether what the server tells it would be heard: it is open, and reads."""
        return self._socket is not None and self._socket.open and self._socket.reads

    @property
    def answered_ns(self) -> int:
        """When the open socket last brought the answer to a ping."""
        return self._socket.answered_ns if self._socket is not None else 0

    @property
    def messages(self) -> int:
        """How many messages have come on the open socket."""
        return self._socket.messages if self._socket is not None else 0

    @property
    def session_id(self) -> str:
        """The id of the row of the socket that is open, or was last."""
        return f"{self._id}/{self._attempts}"

    def leave(self) -> None:
        """Begin to close the socket, and never open it again."""
        self._leaving = True
        if self._opener is not None:
            self._opener.kill(block=False)
            self._opener = None
            row, self._row = self._row, None
            self._end_row(row, Closing(None, "client", "left while the socket was opening"))
        for socket in self._sockets():
            socket.begin_close()

    def drop(self) -> None:
        """Close what is left at once, whether or not the server has answered."""
        for socket in self._sockets():
            socket.close(wait_s=0.0)

    def ask_history(self) -> None:
        """What the prompts on it wait for may never be told: have them ask, as after a reconnect."""
        now = self._upkeep.clock.now_ns()
        for listener in self._listeners:
            listener.on_socket_reopened(now)

    def ping(self) -> None:
        """Ask the server for a sign of life on this socket."""
        if self._socket is not None:
            self._socket.ping()

    def stop_reading(self) -> None:
        """Leave in the kernel's buffer what comes."""
        if self._socket is not None:
            self._socket.stop_reading()

    def read_again(self) -> None:
        """Go on after `stop_reading`."""
        if self._socket is not None:
            self._socket.read_again()

    def replace_silent(self, reason: str, code: Code | None) -> None:
        """The server does not tell this socket anything: close it, wait for its close, open another."""
        settled = self.told_ns > self.opened_ns + SETTLE_IN_NS
        self.replacements = 1 if settled else self.replacements + 1
        self._close_for(reason, code)

    def reconnect(self, order: ReconnectOrder) -> None:
        """Give up the socket for another with the same client id: closed before that one opens, or only after it."""
        if self._socket is None or not self._socket.open or self._older is not None or self._leaving:
            return
        self._keeps_name = True
        reason = f"reconnected, {order}"
        if order is ReconnectOrder.CLOSE_FIRST:
            self._close_for(reason, None)
            return
        self._older = _Older(self, self._socket, self._row, reason)
        self._socket.listener = self._older
        self._socket = self._row = None
        self._upkeep.opener.ask(self._open)

    def _close_for(self, reason: str, code: Code | None) -> None:
        socket = self._socket
        if socket is not None and socket.open:
            self._blame = (reason, code)
            socket.begin_close()
            gevent.spawn_later(CLOSE_DEADLINE_S, socket.close, wait_s=0.0)

    def _sockets(self) -> list[WebSocket]:
        older = [] if self._older is None else [self._older.socket]
        return older if self._socket is None else [self._socket, *older]

    # From the socket, in the event loop: nothing here may block

    def on_message(self, kind: Kind, payload: bytes, arrival: Arrival) -> None:
        """A message came: read it once, and pass it on."""
        self.told_ns = arrival.at_ns
        message: Message
        if kind is Kind.BINARY:
            message = parse_binary(payload)
        else:
            status = self.target.status_of(payload)
            if status is not None:
                self.queue_remaining = status.queue_remaining
            message = status or parse_text(payload)
        if type(message) is Status and message.sid is None:
            self.target.must_tell(arrival.at_ns - arrival.error_ns - SPREAD_NS)
        elif type(message) is BadMessage:
            self._note_bad(message)
        for listener in self._listeners:
            listener.on_message(message, arrival, len(payload))

    def on_closed(self, closing: Closing) -> None:
        """The socket ended: open a new one, unless we closed it for good."""
        socket, self._socket = self._socket, None
        if self._blame is not None and closing.closed_by == "client":
            closing = replace(closing, reason=self._blame[0], code=self._blame[1])
        asked, self._blame = self._blame is not None, None
        again = self._returns and not self._leaving
        row, self._row = self._row, None
        self._end_row(row, closing, socket, reopened=again)
        self._lost(dropped=closing.closed_by == "network")
        if again:
            self._upkeep.opener.ask(self._open, 0.0 if asked else self._pause_s())

    def on_older_closed(self, closing: Closing, older: _Older) -> None:
        """The older of two sockets ended."""
        self._older = None
        if closing.closed_by == "client":
            closing = replace(closing, reason=older.reason)
        self._end_row(older.row, closing, older.socket, reopened=not self._leaving)
        if self._socket is None and self.is_open.is_set():  # it ended before the newer one was open
            self._lost(dropped=closing.closed_by == "network")

    def _lost(self, *, dropped: bool) -> None:
        """There is no socket any more that prompts may trust."""
        self.is_open.clear()
        self.queue_remaining = None
        now = self._upkeep.clock.now_ns()
        if dropped:
            self.target.socket_dropped(now)
        for listener in self._listeners:
            listener.on_socket_lost(now)

    # Opening, in a greenlet of the opener

    def _pause_s(self) -> float:
        longest_s: float = min(FIRST_PAUSE_S * 2 ** min(self._failures, 10), LONGEST_PAUSE_S)
        return longest_s * random.uniform(0.5, 1.0)

    def _open(self) -> None:
        if self._leaving or self._socket is not None:
            return
        self._opener = gevent.getcurrent()
        if not self._listeners and not self._keeps_name:
            self.client_id = str(uuid.uuid4())  # nobody waits under the old name, and a new one cannot be a zombie
        self._begin_row()
        opened = open_socket(
            self.target.socket_url(self.client_id),
            self,
            self._upkeep.clock,
            headers=self.target.headers,
            tls_context=self.target.tls,
            small_buffers=self._small_buffers,
        )
        self._opener = None
        self._take_up(opened)

    def _take_up(self, opened: WebSocket | Failure) -> None:
        """Opening has come to its end."""
        if self._leaving:  # it was left at the moment at which it opened, and its row has ended
            if not isinstance(opened, Failure):
                opened.close(wait_s=0.0)
        elif isinstance(opened, Failure):
            self.target.failed(opened)
            self._not_opened(opened)
        elif opened.closing is None:  # else it ended while it opened; `on_closed` has been told and opens the next
            self._opened(opened)

    def _not_opened(self, failure: Failure) -> None:
        again = self._returns and not self._leaving
        row, self._row = self._row, None
        self._end_row(row, refusal(failure), reopened=again)
        if self._older is not None:
            self._older.socket.begin_close()
            self._lost(dropped=False)
        if again:
            self._failures += 1
            self._upkeep.opener.ask(self._open, self._pause_s())

    def _opened(self, socket: WebSocket) -> None:
        self._socket = socket
        self._keeps_name = False
        self._failures = 0
        self.opened_ns = self.told_ns = now = self._upkeep.clock.now_ns()
        if self._row is not None:
            self._row = replace(self._row, opened_ns=now)
            self._upkeep.journal.add(self._row)
        socket.send_text(FEATURE_FLAGS)
        self._upkeep.keepalive.watch(socket)
        if self._older is not None:
            self._older.socket.begin_close()
        self.is_open.set()
        for listener in self._listeners:
            listener.on_socket_reopened(now)

    # Rows

    def _begin_row(self) -> None:
        self._attempts += 1
        self._bad = 0
        self._row = Session(
            id=self.session_id,
            server=self.target.url,
            worker=self._upkeep.worker,
            role=self.role,
            client_id=self.client_id,
            opening_ns=self._upkeep.clock.now_ns(),
        )
        self._upkeep.journal.add(self._row)

    def _note_bad(self, message: BadMessage) -> None:
        """What no ComfyUI sends, as an event; of one socket only the first few, however many come."""
        self._bad += 1
        if self._bad <= MAX_BAD_EVENTS:
            self._upkeep.tell_bad(message, self.target.url, self._row.id if self._row is not None else None)

    def _end_row(
        self, row: Session | None, closing: Closing, socket: WebSocket | None = None, *, reopened: bool = False
    ) -> None:
        if row is None:
            return
        number = int(row.id.rpartition("/")[2])
        self._upkeep.end(row, closing, socket, f"{self._id}/{number + 1}" if reopened else None)


class _Older:
    """The older of two sockets with one client id: what it is still told goes to the prompts, its end is a row."""

    __slots__ = ("_connection", "reason", "row", "socket")

    def __init__(self, connection: Connection, socket: WebSocket, row: Session | None, reason: str) -> None:
        self._connection = connection
        self.socket = socket
        self.row = row
        self.reason = reason

    def on_message(self, kind: Kind, payload: bytes, arrival: Arrival) -> None:
        """A message came before the newer socket was open."""
        self._connection.on_message(kind, payload, arrival)

    def on_closed(self, closing: Closing) -> None:
        """It has ended."""
        self._connection.on_older_closed(closing, self)
