"""One WebSocket: an io watcher on a raw socket, no greenlet of its own, and kernel time stamps for what it receives.

`open_socket` blocks the greenlet that calls it, up to its deadline. Afterwards everything happens in callbacks of the
event loop: the listener is told of each message and of the end, and must never block.
"""

from __future__ import annotations

import errno
import socket
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol
from urllib.parse import urlsplit

import gevent
import gevent.event
import gevent.socket
from websockets.client import ClientProtocol
from websockets.exceptions import WebSocketException
from websockets.frames import CloseCode
from websockets.protocol import OPEN
from websockets.uri import parse_uri

from comfysoak_core.clock import AnchoredClock
from comfysoak_core.codes import Code
from comfysoak_load.failures import MAX_DETAIL, Failure, FailureKind, failure_of
from comfysoak_load.frames import MAX_MESSAGE_BYTES, FrameReader, Kind, outgoing
from comfysoak_load.stamps import ANCILLARY_BYTES, Arrival, ReadTimes, ask_for_stamps
from comfysoak_load.tls import TlsBytes
from comfysoak_load.wire import raw_socket

OPEN_DEADLINE_S = 15.0
CLOSE_DEADLINE_S = 1.0
MAX_HEAD_BYTES = 64 * 1024
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
    """An open WebSocket; made by `open_socket`. All figures count from its opening."""

    __slots__ = (
        "_closed_event",
        "_closing_sent",
        "_listener",
        "_raw",
        "_readable",
        "_reader",
        "_times",
        "_tls",
        "_unsent",
        "_writable",
        "clock",
        "closing",
        "last_heard_ns",
        "longest_silence_ns",
        "message_bytes",
        "messages",
    )

    def __init__(self, parts: _Opened, listener: SocketListener, clock: AnchoredClock, max_bytes: int) -> None:
        self.clock = clock
        self.closing: Closing | None = None
        self.messages = 0
        self.message_bytes = 0
        self.longest_silence_ns = 0
        self.last_heard_ns = clock.now_ns()
        self._raw = parts.raw
        self._tls = parts.tls
        self._times = parts.times
        self._reader = FrameReader(parts.protocol, max_bytes)
        self._listener = listener
        self._closing_sent = False
        self._closed_event: Any = None
        self._unsent = bytearray()
        self._writable: Any = None
        self._readable: Any = gevent.get_hub().loop.io(parts.raw.fileno(), _READABLE)
        self._readable.start(self._on_readable)
        if parts.surplus:
            self._take(parts.surplus)

    @property
    def open(self) -> bool:
        """Whether messages may still come and be sent."""
        return self.closing is None and self._reader.protocol.state is OPEN

    def send_text(self, text: bytes) -> None:
        """Send a text message; what the network does not take at once is sent when it does."""
        if self.open:
            self._reader.protocol.send_text(text)
            self._flush()

    def ping(self) -> None:
        """Send a ping. Any byte that comes back proves that the server lives (`last_heard_ns`)."""
        if self.open:
            self._reader.protocol.send_ping(b"")
            self._flush()

    def begin_close(self, code: int = CloseCode.NORMAL_CLOSURE) -> None:
        """Send a close frame and return; the listener is told when the server has answered it."""
        if self.closing is None:
            self._send_close(code)

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

    def _send_close(self, code: int) -> None:
        self._closing_sent = True
        if self._reader.protocol.state is OPEN:
            self._reader.protocol.send_close(code)
            self._flush()

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
        self._times.read(ancillary, drained=size < _READ_BYTES)
        try:
            self._take(bytes(_view[:size]))
        except ssl.SSLError as error:
            self._end(self._cut_off(_told(error)))

    def _take(self, data: bytes) -> None:
        """Bytes have come: tell the listener of the messages they complete."""
        if self._tls is not None:
            data = self._tls.receive(data)
        at_ns = self._times.exact.at_ns
        self.longest_silence_ns = max(self.longest_silence_ns, at_ns - self.last_heard_ns)
        self.last_heard_ns = at_ns
        reader = self._reader
        messages = reader.feed(data)
        if messages:
            self._tell(messages, exact=reader.last_is_exact)
        if self.closing is None:
            self._flush()
            if reader.finished:
                self._end(self._closing_of_protocol())
            elif self._tls is not None and self._tls.ended:
                self._end(self._cut_off("TLS ended without a close frame"))

    def _tell(self, messages: list[tuple[Kind, bytes]], *, exact: bool) -> None:
        shared = self._times.shared
        self.messages += len(messages)
        last = len(messages) - 1
        for index, (kind, payload) in enumerate(messages):
            self.message_bytes += len(payload)
            if self.closing is not None:
                return
            self._listener.on_message(kind, payload, self._times.exact if exact and index == last else shared)

    def _flush(self) -> None:
        """Send what the protocol wants sent, as far as the network takes it now."""
        for chunk in outgoing(self._reader.protocol):
            if self._tls is None:
                self._unsent += chunk
            else:
                self._tls.send(chunk)
        if self._tls is not None:
            self._unsent += self._tls.outgoing()
        if self._unsent:
            self._send()

    def _send(self) -> None:
        try:
            sent = self._raw.send(self._unsent)
            del self._unsent[:sent]
        except (BlockingIOError, InterruptedError):
            pass
        except OSError as error:
            self._end(self._cut_off(_told(error)))
            return
        if len(self._unsent) > MAX_UNSENT_BYTES:
            self.drop(f"the server does not read: {len(self._unsent)} bytes wait")
        elif self._unsent and self._writable is None:
            self._writable = gevent.get_hub().loop.io(self._raw.fileno(), _WRITABLE)
            self._writable.start(self._on_writable)
        elif not self._unsent:
            self._stop_writing()

    def _on_writable(self) -> None:
        self._send()

    def _stop_writing(self) -> None:
        if self._writable is not None:
            self._writable.stop()
            self._writable.close()
            self._writable = None

    def _closing_of_protocol(self) -> Closing:
        """The close frame has come, or the server broke the rules."""
        protocol = self._reader.protocol
        received, sent = protocol.close_rcvd, protocol.close_sent
        if received is not None:
            too_big = Code.WS_TOO_BIG if received.code == CloseCode.MESSAGE_TOO_BIG else None
            by = "client" if self._closing_sent else "server"
            return Closing(received.code, by, _bounded(received.reason), too_big)
        code = int(sent.code) if sent is not None else int(CloseCode.PROTOCOL_ERROR)
        reason = sent.reason if sent is not None else str(protocol.parser_exc)
        return Closing(
            code, "client", _bounded(reason), Code.WS_TOO_BIG if code == CloseCode.MESSAGE_TOO_BIG else Code.BAD_MESSAGE
        )

    def _cut_off(self, reason: str) -> Closing:
        if self._closing_sent:
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
        self._listener.on_closed(closing)


@dataclass(slots=True)
class _Opened:
    """What the opening leaves behind: `surplus` came together with the server's answer to it."""

    raw: socket.socket
    tls: TlsBytes | None
    times: ReadTimes
    protocol: ClientProtocol
    surplus: bytes


def open_socket(
    url: str,
    listener: SocketListener,
    clock: AnchoredClock,
    *,
    headers: Mapping[str, str] | None = None,
    tls_context: ssl.SSLContext | None = None,
    deadline_s: float = OPEN_DEADLINE_S,
    max_bytes: int = MAX_MESSAGE_BYTES,
) -> WebSocket | Failure:
    """Open `url` (ws:// or wss://) within `deadline_s`; a Failure says why that did not work."""
    timeout = gevent.Timeout.start_new(deadline_s)
    try:
        opened = _open(url, headers or {}, clock, tls_context)
    except gevent.Timeout as fired:
        if fired is not timeout:
            raise
        return Failure(FailureKind.TIMEOUT, f"the WebSocket did not open within {deadline_s:g} s")
    except OSError as error:
        return failure_of(error)
    finally:
        timeout.close()
    if isinstance(opened, Failure):
        return opened
    return WebSocket(opened, listener, clock, max_bytes)


def _open(
    url: str, headers: Mapping[str, str], clock: AnchoredClock, tls_context: ssl.SSLContext | None
) -> _Opened | Failure:
    parts = urlsplit(url)
    secure = parts.scheme == "wss"
    host, port = parts.hostname or "", parts.port or (443 if secure else 80)
    sock = gevent.socket.create_connection((host, port))
    try:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        ask_for_stamps(sock)
        times = ReadTimes(clock)
        tls = TlsBytes(tls_context or ssl.create_default_context(), host) if secure else None
        stream = _Handshake(sock, tls, times)
        if tls is not None:
            stream.shake_hands()
        protocol = ClientProtocol(parse_uri(url), max_size=None)
        surplus = _upgrade(stream, protocol, headers)
        if isinstance(surplus, Failure):
            return surplus
        return _Opened(raw_socket(sock), tls, times, protocol, surplus)
    finally:
        sock.close()  # a no-op once its handle has been taken over


class _Handshake:
    """The socket while it opens: plain bytes in and out, waiting by the greenlet."""

    def __init__(self, sock: Any, tls: TlsBytes | None, times: ReadTimes) -> None:
        self._sock = sock
        self._tls = tls
        self._times = times

    def shake_hands(self) -> None:
        """Do the TLS handshake."""
        assert self._tls is not None  # noqa: S101  # only called with TLS
        while True:
            done = self._tls.handshake()
            self._sock.sendall(self._tls.outgoing())
            if done:
                return
            self._tls.receive(self._receive())

    def send(self, data: bytes) -> None:
        if self._tls is not None:
            self._tls.send(data)
            data = self._tls.outgoing()
        self._sock.sendall(data)

    def receive(self) -> bytes:
        """Plain bytes, at least one. Raises ConnectionResetError when no more come."""
        if self._tls is None:
            return self._receive()
        while True:
            plain = self._tls.plain() or self._tls.receive(self._receive())
            if plain:
                return plain

    def _receive(self) -> bytes:
        data, ancillary, _, _ = self._sock.recvmsg(65536, ANCILLARY_BYTES)
        if not data:
            raise ConnectionResetError(errno.ECONNRESET, "connection closed while the WebSocket was opening")
        self._times.read(ancillary, drained=len(data) < 65536)
        return bytes(data)


def _upgrade(stream: _Handshake, protocol: ClientProtocol, headers: Mapping[str, str]) -> bytes | Failure:
    """The opening handshake; the bytes that came after the server's answer to it, which `protocol` must not see."""
    request = protocol.connect()
    for name, value in headers.items():
        request.headers[name] = value
    protocol.send_request(request)
    stream.send(b"".join(outgoing(protocol)))
    head = b""
    while b"\r\n\r\n" not in head:
        if len(head) > MAX_HEAD_BYTES:
            return Failure(FailureKind.BAD_ANSWER, f"over {MAX_HEAD_BYTES} bytes and no end of the head")
        head += stream.receive()
    head, _, surplus = head.partition(b"\r\n\r\n")
    status = head[:40].split(b"\r\n", 1)[0].split(None, 2)
    if len(status) < 2 or not status[0].startswith(b"HTTP/1.") or not status[1].isdigit():
        return Failure(FailureKind.BAD_ANSWER, f"not an HTTP answer: {head[:60]!r}")
    if status[1] != b"101":
        return Failure(FailureKind.STATUS, f"HTTP {int(status[1])} instead of 101", int(status[1]))
    try:
        protocol.receive_data(head + b"\r\n\r\n")
    except WebSocketException as error:
        return Failure(FailureKind.BAD_ANSWER, _bounded(str(error)))
    protocol.events_received()
    refused = protocol.handshake_exc
    if refused is not None or protocol.state is not OPEN:
        return Failure(FailureKind.BAD_ANSWER, _bounded(f"no WebSocket handshake: {refused}"))
    return surplus


def _told(error: OSError) -> str:
    name = errno.errorcode.get(error.errno or 0, "")
    return _bounded(f"{name} {error.strerror or error}".strip())


def _bounded(text: str) -> str:
    return text[:MAX_DETAIL]
