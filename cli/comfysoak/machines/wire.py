"""The channel between master and worker: words with a body, over one TCP connection, in frames of bounded size."""

from __future__ import annotations

import contextlib
import select
import socket
import struct
import threading
import time
from dataclasses import dataclass

from pydantic import ValidationError

from comfysoak.machines.words import WORDS, Word
from comfysoak_core.errors import ComfySoakError

WORD_BYTES = 64 * 1024
BODY_BYTES = 256 * 1024
_FRAME = struct.Struct(">II")
_READ_BYTES = 256 * 1024


class LineLostError(ComfySoakError):
    """The connection is gone. `closed`: the other side has closed it, or nobody is there; else it fell silent."""

    def __init__(self, what: str, *, closed: bool) -> None:
        super().__init__(what, "Look whether the other side runs, and what lies between the two.")
        self.closed = closed


class NonsenseError(ComfySoakError):
    """The other side does not speak as master and worker do."""


@dataclass(frozen=True, slots=True)
class Said:
    """One frame."""

    word: Word
    body: bytes = b""


class Frames:
    """Cuts what comes in into frames; raises NonsenseError for what is none, before it takes memory."""

    def __init__(self) -> None:
        self._data = bytearray()

    def feed(self, data: bytes) -> None:
        """Take bytes as they come."""
        self._data += data

    def next(self) -> Said | None:
        """The next whole frame."""
        if len(self._data) < _FRAME.size:
            return None
        word_bytes, body_bytes = _FRAME.unpack_from(self._data)
        if word_bytes > WORD_BYTES or body_bytes > BODY_BYTES:
            raise NonsenseError("the other side is no ComfySoak: what it says is not in frames", "Check host and port.")
        end = _FRAME.size + word_bytes + body_bytes
        if len(self._data) < end:
            return None
        text = bytes(self._data[_FRAME.size : _FRAME.size + word_bytes])
        body = bytes(self._data[_FRAME.size + word_bytes : end])
        del self._data[:end]
        try:
            return Said(WORDS.validate_json(text), body)
        except ValidationError as error:
            raise NonsenseError(
                f"the other side said something unknown: {error.errors()[0]['msg'][:200]}",
                "Master and worker must be the same version of ComfySoak.",
            ) from None


class Wire:
    """One end of a connection. Any thread may send; one thread receives. A send that takes `silence_s` is a loss."""

    def __init__(self, connection: socket.socket, silence_s: float) -> None:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.settimeout(0.0)
        self._socket = connection
        self._frames = Frames()
        self._sending = threading.Lock()
        self._is_closed = False
        self.silence_s = silence_s

    def send(self, word: Word, body: bytes = b"") -> None:
        """Send a frame. Raises LineLostError."""
        text = word.model_dump_json().encode()
        data = memoryview(_FRAME.pack(len(text), len(body)) + text + body)
        give_up = time.monotonic() + self.silence_s
        with self._sending:
            while data:
                data = data[self._send_some(data, give_up) :]

    def _send_some(self, data: memoryview, give_up: float) -> int:
        if self._is_closed:
            raise LineLostError("the connection is closed", closed=True)
        try:
            return self._socket.send(data)
        except (BlockingIOError, InterruptedError):
            left_s = give_up - time.monotonic()
            if left_s <= 0:
                raise LineLostError(f"nothing could be sent for {self.silence_s:g} s", closed=False) from None
            select.select([], [self._socket], [], min(left_s, 0.5))
            return 0
        except OSError as error:
            raise LineLostError(f"the connection broke: {error.strerror or error}", closed=True) from error

    def receive(self, within_s: float) -> Said | None:
        """The next frame, None when none comes in time. Raises LineLostError and NonsenseError."""
        give_up = time.monotonic() + within_s
        while (said := self._frames.next()) is None:
            left_s = give_up - time.monotonic()
            if not self._take(max(left_s, 0.0)) and left_s <= 0:
                return None
        return said

    def _take(self, within_s: float) -> bool:
        """Read what is there; False when nothing came in time."""
        if self._is_closed:
            raise LineLostError("the connection is closed", closed=True)
        try:
            if not select.select([self._socket], [], [], within_s)[0]:
                return False
            data = self._socket.recv(_READ_BYTES)
        except (BlockingIOError, InterruptedError):
            return False
        except (OSError, ValueError) as error:  # ValueError: another thread has closed it
            raise LineLostError(f"the connection broke: {error}", closed=True) from error
        if not data:
            raise LineLostError("the other side has closed the connection", closed=True)
        self._frames.feed(data)
        return True

    def cut(self) -> None:
        """End the connection, from any thread: whoever waits in `receive` notices."""
        self._is_closed = True
        with contextlib.suppress(OSError):  # it was gone already
            self._socket.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """End it and let go; for the thread that receives."""
        self.cut()
        self._socket.close()
