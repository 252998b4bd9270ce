"""Opening a WebSocket: connect, TLS, and the opening handshake, within a deadline; what goes wrong is a value."""

from __future__ import annotations

import errno
import socket
import ssl
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

import gevent
import gevent.ssl
from websockets.client import ClientProtocol
from websockets.exceptions import WebSocketException
from websockets.protocol import OPEN
from websockets.uri import parse_uri

from comfysoak_core.clock import AnchoredClock
from comfysoak_load.edge.failures import MAX_DETAIL, Failure, FailureKind, failure_of
from comfysoak_load.edge.frames import MAX_MESSAGE_BYTES
from comfysoak_load.edge.socket_edge import SocketListener, WebSocket
from comfysoak_load.edge.stamps import ask_for_stamps
from comfysoak_load.edge.wire import Wire

OPEN_DEADLINE_S = 15.0
MAX_HEAD_BYTES = 64 * 1024
SMALL_BUFFER_BYTES = 4096
_SMALL_SEGMENT_BYTES = 536  # the other side sizes its own buffer by this: over loopback it would be megabytes


def open_socket(
    url: str,
    listener: SocketListener,
    clock: AnchoredClock,
    *,
    headers: Mapping[str, str] | None = None,
    tls_context: ssl.SSLContext | None = None,
    deadline_s: float = OPEN_DEADLINE_S,
    max_bytes: int = MAX_MESSAGE_BYTES,
    small_buffers: bool = False,
) -> WebSocket | Failure:
    """Open `url` (ws:// or wss://) within `deadline_s`; a Failure says why that did not work.

    With `small_buffers` the kernels hold a few kilobytes for us, so that who sends notices when we do not read.
    """
    timeout = gevent.Timeout.start_new(deadline_s)
    wire = None
    try:
        began_ns = clock.now_ns()
        wire = _connect(url, tls_context, _prepare_small if small_buffers else ask_for_stamps)
        surplus = _upgrade(wire, url, headers or {})
        if isinstance(surplus, Failure):
            return surplus
        raw, tls = wire.release()
        wire = None
    except gevent.Timeout as fired:
        if fired is not timeout:
            raise
        return Failure(FailureKind.TIMEOUT, f"the WebSocket did not open within {deadline_s:g} s")
    except OSError as error:
        return failure_of(error)
    finally:
        timeout.close()
        if wire is not None:
            wire.close()
    return WebSocket(raw, tls, listener, clock, max_bytes, empty_ns=began_ns, surplus=surplus)


def _connect(url: str, tls_context: ssl.SSLContext | None, prepare: Any) -> Wire:
    parts = urlsplit(url)
    secure = parts.scheme == "wss"
    context = (tls_context or gevent.ssl.create_default_context()) if secure else None
    return Wire.open(parts.hostname or "", parts.port or (443 if secure else 80), context, prepare)


def _prepare_small(sock: Any) -> None:
    ask_for_stamps(sock)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, SMALL_BUFFER_BYTES)
    if hasattr(socket, "TCP_MAXSEG"):
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, _SMALL_SEGMENT_BYTES)


def _upgrade(wire: Wire, url: str, headers: Mapping[str, str]) -> bytes | Failure:
    """The opening handshake; the bytes that came after the server's answer to it, which are frames already."""
    protocol = ClientProtocol(parse_uri(url), max_size=None)
    request = protocol.connect()
    for name, value in headers.items():
        request.headers[name] = value
    protocol.send_request(request)
    wire.send(b"".join(protocol.data_to_send()))
    head = b""
    while b"\r\n\r\n" not in head:
        if len(head) > MAX_HEAD_BYTES:
            return Failure(FailureKind.BAD_ANSWER, f"over {MAX_HEAD_BYTES} bytes and no end of the head")
        data = wire.receive()
        if not data:
            raise ConnectionResetError(errno.ECONNRESET, "connection closed while the WebSocket was opening")
        head += data
    head, _, surplus = head.partition(b"\r\n\r\n")
    return _refused(protocol, head) or surplus


def _refused(protocol: ClientProtocol, head: bytes) -> Failure | None:
    """Why the server's answer opens no WebSocket; None when it does."""
    status = head[:40].split(b"\r\n", 1)[0].split(None, 2)
    if len(status) < 2 or not status[0].startswith(b"HTTP/1.") or not status[1].isdigit():
        return Failure(FailureKind.BAD_ANSWER, f"not an HTTP answer: {head[:60]!r}")
    if status[1] != b"101":
        return Failure(FailureKind.STATUS, f"HTTP {int(status[1])} instead of 101", int(status[1]))
    try:
        protocol.receive_data(head + b"\r\n\r\n")
    except WebSocketException as error:
        return Failure(FailureKind.BAD_ANSWER, str(error)[:MAX_DETAIL])
    protocol.events_received()
    wrong = protocol.handshake_exc
    if wrong is not None or protocol.state is not OPEN:
        return Failure(FailureKind.BAD_ANSWER, f"no WebSocket handshake: {wrong}"[:MAX_DETAIL])
    return None
