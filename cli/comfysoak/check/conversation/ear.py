"""One WebSocket of a check: a thread drains it, and every message is kept with the time at which it came.

The server's one send loop waits for each client, so nobody may leave a socket unread. No pings are sent unless asked
for: the platform sends none either, and they would keep an idle socket from being cut.
"""

from __future__ import annotations

import contextlib
import logging
import socket
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final, Self

from websockets.exceptions import ConnectionClosed, InvalidStatus, WebSocketException
from websockets.frames import CloseCode
from websockets.sync.client import ClientConnection, connect

from comfysoak_core.clock import NS_PER_S
from comfysoak_core.comfyui.json_text import bounded
from comfysoak_core.comfyui.messages import Message, Status, parse_binary, parse_text

OPEN_WITHIN_S: Final = 10.0
CLOSE_WITHIN_S: Final = 2.0
FIRST_WITHIN_S: Final = 10.0
MESSAGE_BYTES_MOST: Final = 256 * 1024 * 1024
MESSAGES_MOST: Final = 200_000  # no prompt gives so many; beyond, the socket is closed
_ABNORMAL: Final = int(CloseCode.ABNORMAL_CLOSURE)
_LOGGER: Final = logging.getLogger("comfysoak.check.websocket")  # the library logs what we tell in rows
_LOGGER.setLevel(logging.CRITICAL)


class NotOpenError(Exception):
    """The socket did not open; the message says why. `status` is that of an HTTP answer that was no 101."""

    def __init__(self, what: str, status: int | None = None) -> None:
        super().__init__(what)
        self.status = status


@dataclass(frozen=True, slots=True)
class Told:
    """One message, and when it came (ns of the check's steady clock)."""

    at_ns: int
    message: Message
    size_bytes: int


@dataclass(frozen=True, slots=True)
class End:
    """How a socket ended: the close code (1006: no close frame came), and whether it was us."""

    at_ns: int
    code: int
    reason: str
    ours: bool


class Ear:
    """An open socket. `told` only grows; it may be read at any time."""

    def __init__(
        self,
        url: str,
        headers: Mapping[str, str],
        steady_ns: Callable[[], int],
        *,
        cut_at: Callable[[Message], bool] | None = None,
    ) -> None:
        """Connect and shake hands; NotOpenError. `cut_at`: the message at which the connection is to be cut by us."""
        self.told: list[Told] = []
        self.end: End | None = None
        self.was_cut = False
        self._steady_ns = steady_ns
        self._cut_at = cut_at
        self._closing = False
        self._news = threading.Condition()
        self._connection = _opened(url, headers)
        self.opened_ns = steady_ns()
        self._thread = threading.Thread(target=self._drain, name="check-socket", daemon=True)
        self._thread.start()

    def __enter__(self) -> Self:
        """The socket itself; closed at the end of the block."""
        return self

    def __exit__(self, *_error: object) -> None:
        """Close it."""
        self.close()

    def first_status(self, within_s: float = FIRST_WITHIN_S) -> Status | None:
        """The first message, if it is a `status` and comes in time."""
        self.wait(0, within_s)
        first = self.told[0].message if self.told else None
        return first if isinstance(first, Status) else None

    def wait(self, heard: int, within_s: float) -> bool:
        """Until there are more than `heard` messages, or the socket has ended; False when the time is over."""
        with self._news:
            return self._news.wait_for(lambda: len(self.told) > heard or self.end is not None, max(within_s, 0.0))

    def take(self) -> list[Told]:
        """What was told since it was taken last, and forget it: a socket that is held for days keeps nothing."""
        with self._news:
            taken, self.told = self.told, []
        return taken

    def now_ns(self) -> int:
        """By the clock that its messages are stamped with."""
        return self._steady_ns()

    def ping(self, within_s: float) -> float | None:
        """Seconds until the pong; None when none came in time, or the socket has ended."""
        began_ns = self._steady_ns()
        try:
            answered = self._connection.ping().wait(within_s)
        except (ConnectionClosed, OSError):
            return None
        alive = answered and self.end is None  # the library lets waiters go when the connection is lost
        return (self._steady_ns() - began_ns) / NS_PER_S if alive else None

    def cut(self) -> None:
        """As a network that fails does it: no close frame."""
        self.was_cut = True
        with contextlib.suppress(OSError):
            self._connection.socket.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Say goodbye, wait for the answer for a moment, and let go; harmless when it has ended."""
        self._closing = True
        with contextlib.suppress(WebSocketException, OSError):
            self._connection.close()
        self._thread.join(CLOSE_WITHIN_S)

    def _drain(self) -> None:
        try:
            while len(self.told) < MESSAGES_MOST:
                self._take(self._connection.recv())
            self._ended(int(CloseCode.MESSAGE_TOO_BIG), f"over {MESSAGES_MOST} messages")
            self._connection.close()
        except ConnectionClosed as closed:
            frame = closed.sent if closed.rcvd is None and _too_big(closed) else closed.rcvd
            self._ended(_ABNORMAL if frame is None else int(frame.code), "" if frame is None else frame.reason)

    def _take(self, data: str | bytes) -> None:
        at_ns = self._steady_ns()
        if self.was_cut:
            return
        message = parse_text(data) if isinstance(data, str) else parse_binary(data)
        size_bytes = len(data.encode()) if isinstance(data, str) else len(data)
        with self._news:
            self.told.append(Told(at_ns, message, size_bytes))
            self._news.notify_all()
        if self._cut_at is not None and self._cut_at(message):
            self.cut()

    def _ended(self, code: int, reason: str) -> None:
        with self._news:
            self.end = End(self._steady_ns(), code, bounded(reason, 200), self._closing or self.was_cut)
            self._news.notify_all()


def _too_big(closed: ConnectionClosed) -> bool:
    return closed.sent is not None and closed.sent.code == CloseCode.MESSAGE_TOO_BIG


def _opened(url: str, headers: Mapping[str, str]) -> ClientConnection:
    try:
        connection = connect(
            url,
            additional_headers=dict(headers),
            compression=None,
            proxy=None,
            open_timeout=OPEN_WITHIN_S,
            close_timeout=CLOSE_WITHIN_S,
            ping_interval=None,
            max_size=MESSAGE_BYTES_MOST,
            logger=_LOGGER,
        )
        return connection.__enter__()  # closed by `close`; the library warns of one that nobody enters
    except InvalidStatus as error:
        status = error.response.status_code
        raise NotOpenError(f"HTTP {status} instead of 101", status) from error
    except TimeoutError as error:
        raise NotOpenError(f"it did not open within {OPEN_WITHIN_S:g} s") from error
    except (WebSocketException, OSError, ValueError, EOFError) as error:
        raise NotOpenError(bounded(str(error) or type(error).__name__, 200)) from error
