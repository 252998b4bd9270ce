"""The server's side of the opening of a WebSocket, for the servers of the benchmarks."""

from __future__ import annotations

import base64
import hashlib
import re

_KEY = re.compile(rb"sec-websocket-key: *(\S+)", re.IGNORECASE)
_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


def switching(request: bytes) -> bytes | None:
    """The answer that opens the socket `request` asks for; None where it asks for none."""
    key = _KEY.search(request)
    if key is None:
        return None
    accept = base64.b64encode(hashlib.sha1(key[1] + _GUID).digest())
    return (
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Accept: " + accept + b"\r\n\r\n"
    )
