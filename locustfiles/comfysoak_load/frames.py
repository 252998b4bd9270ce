"""WebSocket frames out of bytes, without any I/O.

Nearly all that ComfyUI sends are whole, unmasked data frames: those are cut out here. The handshake, control frames,
fragmented messages and everything that breaks the rules go through `websockets`' own protocol, frame by frame, so
that the two never hold half a frame each.
"""

from __future__ import annotations

from enum import IntEnum

from websockets.client import ClientProtocol
from websockets.frames import CloseCode, Frame, Opcode

MAX_MESSAGE_BYTES = 256 * 1024 * 1024  # beyond this a message is a failure (WS_TOO_BIG), not a picture


class Kind(IntEnum):
    """What a message is."""

    TEXT = 1
    BINARY = 2


_WHOLE = {0x81: Kind.TEXT, 0x82: Kind.BINARY}  # the first byte of a frame that is a message of its own


class FrameReader:
    """Turns the bytes of an open connection into messages.

    `protocol` has completed its handshake and was given no byte beyond it; what it wants sent after a `feed` is for
    the caller to send (`outgoing`). `last_is_exact` tells, after each `feed`, whether the last message returned ended
    with the last byte fed: only then is the time of that read its time of arrival. `finished` is True once the server
    has sent its close frame or broken the rules: what comes after that is thrown away.
    """

    __slots__ = (
        "_fragments",
        "_fragments_bytes",
        "_fragments_kind",
        "_max_bytes",
        "_needed",
        "_pending",
        "finished",
        "last_is_exact",
        "protocol",
    )

    def __init__(self, protocol: ClientProtocol, max_bytes: int = MAX_MESSAGE_BYTES) -> None:
        self.protocol = protocol
        self.last_is_exact = False
        self.finished = False
        self._max_bytes = max_bytes
        self._pending: bytearray | None = None  # the beginning of a frame whose end has not come yet
        self._needed = 0  # with fewer bytes than this in `_pending` there is no use in looking at it
        self._fragments: list[bytes] | None = None
        self._fragments_bytes = 0
        self._fragments_kind = Kind.TEXT

    def feed(self, data: bytes) -> list[tuple[Kind, bytes]]:
        """The messages that end within `data`, in order."""
        self.last_is_exact = False
        if self.finished:
            return []
        if self._pending is not None:
            self._pending += data
            if len(self._pending) < self._needed:
                return []
            data = bytes(self._pending)
            self._pending = None
        messages: list[tuple[Kind, bytes]] = []
        position = self._cut(data, messages)
        if position < len(data):
            self.last_is_exact = False
            self._pending = bytearray(data[position:])
        return messages

    def _cut(self, data: bytes, messages: list[tuple[Kind, bytes]]) -> int:
        """Cut whole frames off `data` into `messages`; where the first frame that is not whole begins."""
        position, size = 0, len(data)
        self._needed = 2
        while size - position >= 2:
            first, length = data[position], data[position + 1]
            start = position + 2
            if length > 125:
                start, length = _long_header(data, position)
                if length > self._max_bytes:
                    self._fail_too_big(f"frame of {length} bytes")
                    return size
            end = start + length
            if end > size:
                self._needed = end - position
                return position
            if first in _WHOLE and data[position + 1] < 128 and self._fragments is None:
                messages.append((_WHOLE[first], data[start:end]))
                self.last_is_exact = True
            else:
                self._through_protocol(data[position:end], messages)
                if self.finished:
                    return size
            position = end
        return position

    def _through_protocol(self, frame: bytes, messages: list[tuple[Kind, bytes]]) -> None:
        self.last_is_exact = False
        self.protocol.receive_data(frame)
        for event in self.protocol.events_received():
            if isinstance(event, Frame):
                self._take(event, messages)
        if self.protocol.close_rcvd is not None or self.protocol.parser_exc is not None:
            self.finished = True

    def _take(self, frame: Frame, messages: list[tuple[Kind, bytes]]) -> None:
        if frame.opcode in (Opcode.TEXT, Opcode.BINARY):
            self._fragments_kind = Kind(int(frame.opcode))
            self._fragments, self._fragments_bytes = [], 0
        elif frame.opcode is not Opcode.CONT or self._fragments is None:
            return
        self._fragments.append(bytes(frame.data))
        self._fragments_bytes += len(frame.data)
        if self._fragments_bytes > self._max_bytes:
            self._fail_too_big(f"fragments of {self._fragments_bytes} bytes")
        elif frame.fin:
            messages.append((self._fragments_kind, b"".join(self._fragments)))
            self._fragments = None
            self.last_is_exact = True

    def _fail_too_big(self, reason: str) -> None:
        self.protocol.fail(CloseCode.MESSAGE_TOO_BIG, reason)
        self.finished = True
        self._pending = self._fragments = None


def _long_header(data: bytes, position: int) -> tuple[int, int]:
    """Where the payload begins and how long it is, for a frame with an extended length or a mask.

    While the header itself has not come whole, the length is such that the frame ends beyond `data`.
    """
    second = data[position + 1]
    width = {126: 2, 127: 8}.get(second & 0x7F, 0)
    start = position + 2 + width + (4 if second & 0x80 else 0)  # only clients may mask: the protocol will say so
    if start > len(data):
        return start, 0
    return start, int.from_bytes(data[position + 2 : position + 2 + width], "big") if width else second & 0x7F


def outgoing(protocol: ClientProtocol) -> list[bytes]:
    """What the protocol wants sent now; its mark for the end of the stream is left out."""
    return [chunk for chunk in protocol.data_to_send() if chunk]
