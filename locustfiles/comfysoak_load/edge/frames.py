"""WebSocket frames out of bytes, without any I/O.

Nearly all that ComfyUI sends are whole, unmasked data frames: those are cut out here, and pings are answered. Closes,
fragmented messages and everything that breaks the rules go through `websockets`' own protocol, frame by frame, so
that the two never hold half a frame each. That protocol object is made when it is needed and dropped when it is not:
it is two thirds of what an idle socket would weigh.
"""

from __future__ import annotations

from enum import IntEnum

from websockets.client import ClientProtocol
from websockets.frames import Close, CloseCode, Frame, Opcode
from websockets.protocol import OPEN
from websockets.uri import parse_uri

MAX_MESSAGE_BYTES = 256 * 1024 * 1024  # beyond this a message is a failure (WS_TOO_BIG), not a picture


class Kind(IntEnum):
    """What a message is."""

    TEXT = 1
    BINARY = 2


_WHOLE = {0x81: Kind.TEXT, 0x82: Kind.BINARY}  # the first byte of a frame that is a message of its own
_PING, _PONG = 0x89, 0x8A
_SHORT = 126  # lengths below it stand in the second byte; from 128 on it says that the frame is masked
_ANYWHERE = parse_uri("ws://server/ws")  # the handshake is over: the protocol does not use it any more


class FrameReader:
    """Turns the bytes of an open connection into messages.

    After each `feed`: what `take_replies` gives is for the caller to send. `last_is_exact` tells whether the last
    message returned ended with the last byte fed: only then is the time of that read its time of arrival. `finished`
    is True once the server has sent its close frame (`close_received`) or broken the rules (`close_sent` says how):
    what comes after that is thrown away.
    """

    __slots__ = (
        "_fragments",
        "_fragments_bytes",
        "_fragments_kind",
        "_max_bytes",
        "_needed",
        "_pending",
        "_replies",
        "_rules",
        "close_received",
        "close_sent",
        "finished",
        "last_is_exact",
        "pongs",
    )

    def __init__(self, max_bytes: int = MAX_MESSAGE_BYTES) -> None:
        self.last_is_exact = False
        self.finished = False
        self.pongs = 0  # that have come so far
        self.close_received: Close | None = None
        self.close_sent: Close | None = None  # by the rules: an answer to the server's, or a complaint
        self._max_bytes = max_bytes
        self._pending: bytearray | None = None  # the beginning of a frame whose end has not come yet
        self._needed = 0  # with fewer bytes than this in `_pending` there is no use in looking at it
        self._rules: ClientProtocol | None = None
        self._replies: bytes = b""
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

    def take_replies(self) -> bytes:
        """What must be sent now: pongs, the answer to a close frame, or a close frame that says what was wrong."""
        replies, self._replies = self._replies, b""
        return replies

    def _cut(self, data: bytes, messages: list[tuple[Kind, bytes]]) -> int:
        """Cut whole frames off `data` into `messages`; where the first frame that is not whole begins."""
        position, size = 0, len(data)
        self._needed = 2
        while size - position >= 2:
            first, length = data[position], data[position + 1]
            start = position + 2
            if length >= _SHORT:
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
            elif first in (_PING, _PONG) and data[position + 1] < _SHORT:
                self._answer(first, data[start:end])
            else:
                self._by_the_rules(data[position:end], messages)
                if self.finished:
                    return size
            position = end
        return position

    def _answer(self, first: int, payload: bytes) -> None:
        self.last_is_exact = False
        if first == _PING:
            self._replies += outgoing(Opcode.PONG, payload)
        else:
            self.pongs += 1

    def _by_the_rules(self, frame: bytes, messages: list[tuple[Kind, bytes]]) -> None:
        self.last_is_exact = False
        rules = self._rules
        if rules is None:
            rules = self._rules = ClientProtocol(_ANYWHERE, state=OPEN, max_size=None)
        rules.receive_data(frame)
        for event in rules.events_received():
            if isinstance(event, Frame):
                self._take(event, messages)
        if rules.close_rcvd is not None or rules.parser_exc is not None:
            self.finished = True
            self.close_received = rules.close_rcvd
            self.close_sent = rules.close_sent
            self._replies += b"".join(rules.data_to_send())
        if self.finished or self._fragments is None:
            self._rules = None

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
        self.close_sent = Close(CloseCode.MESSAGE_TOO_BIG, reason)
        self._replies += close_frame(self.close_sent)
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


def outgoing(opcode: Opcode, payload: bytes) -> bytes:
    """A whole frame as clients send it: masked."""
    return Frame(opcode, payload).serialize(mask=True)


def close_frame(close: Close) -> bytes:
    """A close frame as clients send it."""
    return outgoing(Opcode.CLOSE, close.serialize())
