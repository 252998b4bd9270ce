"""One WebSocket: an io watcher on a raw socket, no greenlet of its own, and kernel time stamps for what it receives.

Made by `opening.open_socket`. Everything happens in callbacks of the event loop: the listener is told of each message
and of the end, and must never block.
"""

from __future__ import annotations

import errno
import socket
import ssl
from dataclasses import dataclass
from typing import Any, Protocol

import gevent
import gevent.event
from websockets.frames import Close, CloseCode, Opcode

from comfysoak_core.clock import AnchoredClock
from comfysoak_core.codes import Code
from comfysoak_load.edge.failures import MAX_DETAIL
from comfysoak_load.edge.frames import FrameReader, Kind, close_frame, outgoing
from comfysoak_load.edge.stamps import ANCILLARY_BYTES, Arrival, time_of_read, within
from comfysoak_load.edge.tls import TlsBytes

CLOSE_DEADLINE_S = 1.0
MAX_UNSENT_BYTES = 1024 * 1024  # a server that never reads our pongs is gone

_READ_BYTES = 256 * 1024
_buffer = bytearray(_READ_BYTES)  # shared by all sockets of the process: a callback is done with it before the next
_view = memoryview(_buffer)
_READABLE, _WRITABLE = 1, 2


@dataclass(frozen=True, slots=True)
class Closing:
    """How a socket ended. `closed_by` is "client", "server", "network", or "refused" for one that never opened.

    `code` is of the catalogue, for failures.
    """

    close_code: int | None
    closed_by: str
    reason: str = ""
    code: Code | None = None


class SocketListener(Protocol):
    """Who owns a socket; called from the event loop, so nothing here may block."""

    def on_message(self, kind: Kind, payload: bytes, arrival: Arrival) -> None:
        """A whole message has come."""

    def on_closed(self, closing: Closing) -> None:
        """The socket has ended; nothing comes after this."""


class WebSocket:
    """An open WebSocket. All figures count from its opening; `listener` may change."""

    __slots__ = (
        "_closed_event",
        "_empty_ns",
        "_is_closing",
        "_raw",
        "_readable",
        "_reader",
        "_tls",
        "_unsent",
        "_writable",
        "answered_ns",
        "clock",
        "closing",
        "last_heard_ns",
        "listener",
        "longest_silence_ns",
        "message_bytes",
        "messages",
    )

    def __init__(
        self,
        raw: socket.socket,
        tls: TlsBytes | None,
        listener: SocketListener,
        clock: AnchoredClock,
        max_bytes: int,
        *,
        empty_ns: int,
        surplus: bytes,
    ) -> None:
        """`empty_ns`: a moment when nothing had come yet; `surplus`: what came together with the answer to opening."""
        self.clock = clock
        self.closing: Closing | None = None
        self.messages = 0
        self.message_bytes = 0
        self.longest_silence_ns = 0
        self.last_heard_ns = clock.now_ns()
        self.answered_ns = 0  # when the last pong came: a message half way may bring bytes for long before it
        self._empty_ns = empty_ns  # when the kernel's buffer was last known to be empty
        self._raw = raw
        self._tls = tls
        self._reader = FrameReader(max_bytes)
        self.listener = listener
        self._is_closing = False
        self._closed_event: Any = None
        self._unsent: bytearray | None = None
        self._writable: Any = None
        self._readable: Any = gevent.get_hub().loop.io(raw.fileno(), _READABLE)
        self._readable.start(self._on_readable)
        if surplus:
            self._tell(surplus, within(self.last_heard_ns, empty_ns))

    @property
    def open(self) -> bool:
        """Whether messages may still come and be sent."""
        return self.closing is None and not self._is_closing and not self._reader.finished

    def send_text(self, text: bytes) -> None:
        """Send a text message; what the network does not take at once is sent when it does."""
        if self.open:
            self._send(outgoing(Opcode.TEXT, text))

    def ping(self) -> None:
        """Send a ping. Any byte that comes back proves that the server lives (`last_heard_ns`)."""
        if self.open:
            self._send(outgoing(Opcode.PING, b""))

    @property
    def reads(self) -> bool:
        """Whether it reads what comes: not between `stop_reading` and `read_again`."""
        return self.closing is None and bool(self._readable.active)

    def stop_reading(self) -> None:
        """Leave everything in the kernel's buffer from now on: a client that does not read."""
        if self.closing is None:
            self._readable.stop()

    def read_again(self) -> None:
        """Go on reading after `stop_reading`; the silence until now was ours."""
        if self.closing is None:
            self.last_heard_ns = self.clock.now_ns()
            self._readable.start(self._on_readable)

    def begin_close(self, code: int = CloseCode.NORMAL_CLOSURE) -> None:
        """Send a close frame and return; the listener is told when the server has answered it."""
        if self.open:
            self._is_closing = True
            self._send(close_frame(Close(code, "")))

    def close(self, code: int = CloseCode.NORMAL_CLOSURE, wait_s: float = CLOSE_DEADLINE_S) -> Closing:
        """Close, wait up to `wait_s` for the server's own close frame, and tell how it ended."""
        self.begin_close(code)
        if self.closing is None and wait_s > 0:
            self._closed_event = gevent.event.Event()
            self._closed_event.wait(wait_s)
        if self.closing is None:
            self._end(Closing(code, "client", f"no close frame from the server within {wait_s:g} s"))
        assert self.closing is not None  # noqa: S101  # `_end` sets it; for the type checker
        return self.closing

    def drop(self, reason: str) -> None:
        """Give the socket up at once: the network does not answer any more."""
        self._end(Closing(CloseCode.ABNORMAL_CLOSURE, "network", reason, Code.WS_ABNORMAL))

    def _on_readable(self) -> None:
        try:
            size, ancillary, _, _ = self._raw.recvmsg_into([_buffer], ANCILLARY_BYTES)
        except (BlockingIOError, InterruptedError):
            return
        except OSError as error:
            self._end(self._cut_off(_told(error)))
            return
        if size == 0:
            self._end(self._cut_off("connection ended without a close frame"))
            return
        drained = size < _READ_BYTES
        arrival = time_of_read(self.clock, self._empty_ns, ancillary, drained=drained)
        try:
            self._tell(bytes(_view[:size]), arrival)
        except ssl.SSLError as error:
            self._end(self._cut_off(_told(error)))
        if drained:
            self._empty_ns = arrival.at_ns

    def _tell(self, data: bytes, arrival: Arrival) -> None:
        """Bytes have come, the last of them at `arrival`: tell the listener of the messages they complete."""
        at_ns = arrival.at_ns
        silence_ns = at_ns - self.last_heard_ns
        if silence_ns > self.longest_silence_ns:
            self.longest_silence_ns = silence_ns
        self.last_heard_ns = at_ns
        reader, tls = self._reader, self._tls
        if tls is not None:
            data = tls.receive(data)
        pongs = reader.pongs
        messages = reader.feed(data)
        if reader.pongs != pongs:
            self.answered_ns = at_ns
        if messages:
            exact = reader.last_is_exact and (tls is None or tls.is_whole)
            self._tell_messages(messages, arrival, within(at_ns, self._empty_ns), exact=exact)
        replies = reader.take_replies()
        if self.closing is None and (replies or tls is not None):
            self._send(b"" if self._is_closing and reader.finished else replies)  # our own close has gone already
        if self.closing is None:
            if reader.finished:
                self._end(self._closing_by_the_rules())
            elif tls is not None and tls.ended:
                self._end(self._cut_off("TLS ended without a close frame"))

    def _tell_messages(
        self, messages: list[tuple[Kind, bytes]], last: Arrival, others: Arrival, *, exact: bool
    ) -> None:
        self.messages += len(messages)
        left = len(messages)
        for kind, payload in messages:
            left -= 1
            self.message_bytes += len(payload)
            if self.closing is not None:
                return
            self.listener.on_message(kind, payload, others if left or not exact else last)

    def _send(self, data: bytes) -> None:
        """Send `data` as far as the network takes it now, and the rest when it takes more."""
        if self._tls is not None:
            if data:
                self._tls.send(data)
            data = self._tls.outgoing()
        if self._unsent is not None:
            self._unsent += data
            if len(self._unsent) > MAX_UNSENT_BYTES:
                self.drop(f"the server does not read: {len(self._unsent)} bytes wait")
        elif data:
            self._unsent = bytearray(data)
            self._push()

    def _push(self) -> None:
        waiting = self._unsent
        if waiting is None:
            return
        try:
            del waiting[: self._raw.send(waiting)]
        except (BlockingIOError, InterruptedError):
            pass
        except OSError as error:
            self._end(self._cut_off(_told(error)))
            return
        if not waiting:
            self._stop_writing()
        elif self._writable is None:
            self._writable = gevent.get_hub().loop.io(self._raw.fileno(), _WRITABLE)
            self._writable.start(self._push)

    def _stop_writing(self) -> None:
        self._unsent = None
        if self._writable is not None:
            self._writable.stop()
            self._writable.close()
            self._writable = None

    def _closing_by_the_rules(self) -> Closing:
        """The close frame has come, or the server broke the rules."""
        received, sent = self._reader.close_received, self._reader.close_sent
        if received is not None:
            too_big = Code.WS_TOO_BIG if received.code == CloseCode.MESSAGE_TOO_BIG else None
            by = "client" if self._is_closing else "server"
            return Closing(int(received.code), by, _bounded(received.reason), too_big)
        code, reason = (CloseCode.PROTOCOL_ERROR, "") if sent is None else (sent.code, sent.reason)
        too_big = Code.WS_TOO_BIG if code == CloseCode.MESSAGE_TOO_BIG else Code.BAD_MESSAGE
        return Closing(int(code), "client", _bounded(reason), too_big)

    def _cut_off(self, reason: str) -> Closing:
        if self._is_closing:
            return Closing(CloseCode.NORMAL_CLOSURE, "client", reason)
        return Closing(CloseCode.ABNORMAL_CLOSURE, "network", reason, Code.WS_ABNORMAL)

    def _end(self, closing: Closing) -> None:
        if self.closing is not None:
            return
        self.closing = closing
        self.longest_silence_ns = max(self.longest_silence_ns, self.clock.now_ns() - self.last_heard_ns)
        self._readable.stop()
        self._readable.close()
        self._stop_writing()
        self._raw.close()
        if self._closed_event is not None:
            self._closed_event.set()
        self.listener.on_closed(closing)


def _told(error: OSError) -> str:
    name = errno.errorcode.get(error.errno or 0, "")
    return _bounded(f"{name} {error.strerror or error}".strip())


def _bounded(text: str) -> str:
    return text[:MAX_DETAIL]
