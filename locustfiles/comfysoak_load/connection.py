"""One client of a server: its WebSocket, opened again whenever it ends, and the prompts that listen on it."""

from __future__ import annotations

import random
import uuid
from collections.abc import Mapping
from dataclasses import replace
from typing import Protocol

import gevent
import gevent.event

from comfysoak_core.clock import AnchoredClock
from comfysoak_core.codes import Code
from comfysoak_core.comfyui.messages import (
    BadMessage,
    Message,
    parse_binary,
    parse_text,
)
from comfysoak_core.recording.journal import Journal
from comfysoak_core.rows import Event, Session
from comfysoak_load.failures import Failure, FailureKind
from comfysoak_load.frames import Kind
from comfysoak_load.keepalive import Keepalive
from comfysoak_load.socket_edge import Closing, WebSocket, open_socket
from comfysoak_load.stamps import Arrival
from comfysoak_load.target import Target

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
    """Keeps one socket to `target` open until `leave`. `role` is "user" or "watcher"."""

    __slots__ = (
        "_attempts",
        "_bad",
        "_clock",
        "_id",
        "_journal",
        "_keepalive",
        "_leaving",
        "_listeners",
        "_opener",
        "_opening",
        "_row",
        "_socket",
        "_worker",
        "client_id",
        "is_open",
        "role",
        "target",
    )

    def __init__(
        self, target: Target, role: str, *, worker: str, clock: AnchoredClock, journal: Journal, keepalive: Keepalive
    ) -> None:
        self.target = target
        self.role = role
        self.client_id = str(uuid.uuid4())
        self.is_open = gevent.event.Event()
        self._id = str(uuid.uuid4())
        self._worker = worker
        self._clock = clock
        self._journal = journal
        self._keepalive = keepalive
        self._attempts = 0
        self._bad = 0
        self._leaving = False
        self._listeners: list[PromptListener] = []
        self._socket: WebSocket | None = None
        self._row: Session | None = None
        self._opener: gevent.Greenlet | None = None

    def connect(self) -> None:
        """Begin to open the socket; `is_open` tells when it is."""
        if self._opener is None and self._socket is None and not self._leaving:
            self._opener = gevent.spawn(self._open_until_open, 0.0)

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
        return self._socket is None

    def leave(self) -> None:
        """Begin to close the socket, and never open it again."""
        self._leaving = True
        if self._opener is not None:
            self._opener.kill(block=False)
            self._opener = None
            self._end_row(Closing(None, "client", "left while the socket was opening"))
        if self._socket is not None:
            self._socket.begin_close()

    def drop(self) -> None:
        """Close what is left at once, whether or not the server has answered."""
        if self._socket is not None:
            self._socket.close(wait_s=0.0)

    # From the socket, in the event loop: nothing here may block

    def on_message(self, kind: Kind, payload: bytes, arrival: Arrival) -> None:
        """A message came: read it once, and pass it on."""
        message: Message
        if kind is Kind.BINARY:
            message = parse_binary(payload)
        else:
            message = self.target.status_of(payload) or parse_text(payload)
        if type(message) is BadMessage:
            self._note_bad(message)
        for listener in self._listeners:
            listener.on_message(message, arrival, len(payload))

    def on_closed(self, closing: Closing) -> None:
        """The socket ended: open a new one, unless we closed it."""
        socket, self._socket = self._socket, None
        self.is_open.clear()
        now = self._clock.now_ns()
        if closing.closed_by == "network":
            self.target.socket_dropped(now)
        again = not self._leaving
        self._end_row(closing, socket, reopened=again)
        for listener in self._listeners:
            listener.on_socket_lost(now)
        if again:
            self._opener = gevent.spawn(self._open_until_open, FIRST_PAUSE_S)

    # Opening, in a greenlet of its own

    def _open_until_open(self, pause_s: float) -> None:
        while not self._leaving:
            if pause_s:
                gevent.sleep(pause_s * random.uniform(0.5, 1.0))
            pause_s = min(max(2 * pause_s, FIRST_PAUSE_S), LONGEST_PAUSE_S)
            if self._open_once():
                return

    def _open_once(self) -> bool:
        if not self._listeners:
            self.client_id = str(uuid.uuid4())  # nobody waits under the old name, and a new one cannot be a zombie
        self._begin_row()
        opened = open_socket(
            self.target.socket_url(self.client_id),
            self,
            self._clock,
            headers=self.target.headers,
            tls_context=self.target.tls,
        )
        if isinstance(opened, Failure):
            self._end_row(_refusal(opened), reopened=not self._leaving)
            return False
        if opened.closing is not None:  # it ended while it opened; `on_closed` has been told and opens the next
            return True
        self._opened(opened)
        return True

    def _opened(self, socket: WebSocket) -> None:
        self._socket = socket
        self._opener = None
        now = self._clock.now_ns()
        if self._row is not None:
            self._row = replace(self._row, opened_ns=now)
            self._journal.add(self._row)
        socket.send_text(FEATURE_FLAGS)
        self._keepalive.watch(socket)
        self.is_open.set()
        for listener in self._listeners:
            listener.on_socket_reopened(now)

    # Rows

    def _begin_row(self) -> None:
        self._attempts += 1
        self._bad = 0
        self._row = Session(
            id=f"{self._id}/{self._attempts}",
            server=self.target.url,
            worker=self._worker,
            role=self.role,
            client_id=self.client_id,
            opening_ns=self._clock.now_ns(),
        )
        self._journal.add(self._row)

    def _note_bad(self, message: BadMessage) -> None:
        """What no ComfyUI sends, as an event; of one socket only the first few, however many come."""
        self._bad += 1
        if self._bad <= MAX_BAD_EVENTS:
            self._journal.add(
                Event(
                    at_ns=self._clock.now_ns(),
                    source=self._worker,
                    kind="bad_message",
                    server=self.target.url,
                    subject=self._row.id if self._row is not None else None,
                    code=Code.BAD_MESSAGE,
                    detail=f"{message.reason}: {message.excerpt}",
                )
            )

    def _end_row(self, closing: Closing, socket: WebSocket | None = None, *, reopened: bool = False) -> None:
        row, self._row = self._row, None
        if row is None:
            return
        self._journal.add(
            replace(
                row,
                closed_ns=self._clock.now_ns(),
                close_code=closing.close_code,
                closed_by=closing.closed_by,
                reason=closing.reason or None,
                code=closing.code,
                messages=socket.messages if socket is not None else 0,
                message_bytes=socket.message_bytes if socket is not None else 0,
                longest_silence_ns=socket.longest_silence_ns if socket is not None else None,
                reopened_as=f"{self._id}/{self._attempts + 1}" if reopened else None,
            )
        )


_REFUSED: Mapping[FailureKind, Code] = {
    FailureKind.REFUSED: Code.SERVER_DOWN,
    FailureKind.UNREACHABLE: Code.SERVER_DOWN,
    FailureKind.UNRESOLVED: Code.SERVER_DOWN,
    FailureKind.TLS: Code.WS_ABNORMAL,
    FailureKind.RESET: Code.WS_ABNORMAL,
    FailureKind.TIMEOUT: Code.WS_ABNORMAL,
    FailureKind.STATUS: Code.BAD_MESSAGE,
    FailureKind.BAD_ANSWER: Code.BAD_MESSAGE,
    FailureKind.TOO_BIG: Code.BAD_MESSAGE,
}


def _refusal(failure: Failure) -> Closing:
    """A socket that never opened."""
    return Closing(None, "refused", str(failure), _REFUSED.get(failure.kind))
