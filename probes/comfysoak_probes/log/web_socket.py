"""A WebSocket that only listens, for a thread of its own: protocol by `websockets`, bytes by a plain socket."""

from __future__ import annotations

import contextlib
import time

from websockets.client import ClientProtocol
from websockets.exceptions import InvalidHandshake, WebSocketException
from websockets.frames import Frame, Opcode
from websockets.http11 import Response
from websockets.protocol import CONNECTING
from websockets.uri import parse_uri

from comfysoak_probes.fetch import MIB, Address, FetchError, Trouble, connect

OPEN_WITHIN_S = 10.0
PING_EVERY_S = 20.0
SILENT_S = 60.0  # no byte, no pong for so long: the other end is gone or stands still
MESSAGE_BYTES = 16 * MIB
READ_BYTES = 256 * 1024


class ListeningSocket:
    """An open WebSocket whose text messages are read one after another."""

    def __init__(self, base_url: str, path: str, *, token: str | None = None) -> None:
        """Connect and shake hands. Raises FetchError."""
        address = Address.of(base_url)
        self._socket = connect(address, OPEN_WITHIN_S)
        scheme = "wss" if address.tls else "ws"
        uri = parse_uri(f"{scheme}://{address.authority}{address.path}{path}")
        self._protocol = ClientProtocol(uri, max_size=MESSAGE_BYTES)
        self._heard_s = self._pinged_s = self._listened_s = time.monotonic()
        self._parts: list[bytes] = []
        self._early: list[str] = []
        try:
            self._shake_hands(token)
        except FetchError:
            self._socket.close()
            raise

    def _shake_hands(self, token: str | None) -> None:
        request = self._protocol.connect()
        if token:
            request.headers["Authorization"] = f"Bearer {token}"
        self._protocol.send_request(request)
        self._send()
        deadline_s = time.monotonic() + OPEN_WITHIN_S
        while self._protocol.state is CONNECTING:  # a server that speaks and goes at once is past OPEN
            if self._protocol.handshake_exc is not None:
                raise _refused(self._protocol.handshake_exc)
            if time.monotonic() > deadline_s:
                raise FetchError(Trouble.TIMEOUT, f"no WebSocket within {OPEN_WITHIN_S:.0f} s")
            self._early += self._receive(1.0)
        if self._protocol.handshake_exc is not None:
            raise _refused(self._protocol.handshake_exc)

    def messages(self, wait_s: float) -> list[str]:
        """Text messages that have come, after waiting for the first at most `wait_s`. Raises FetchError at its end."""
        if self._early:
            early, self._early = self._early, []
            return early
        now_s = time.monotonic()
        if now_s - self._listened_s > PING_EVERY_S:
            self._heard_s = now_s  # it was us who paused: what came meanwhile waits to be read
        self._listened_s = now_s
        if now_s - self._heard_s > SILENT_S:
            raise FetchError(Trouble.TIMEOUT, f"the socket was silent for {SILENT_S:.0f} s, and no pong came")
        if now_s - self._pinged_s > PING_EVERY_S:
            self._pinged_s = now_s
            self._protocol.send_ping(b"")
            self._send()
        return self._receive(wait_s)

    def close(self) -> None:
        """Say goodbye and close; never waits."""
        with contextlib.suppress(OSError, WebSocketException, FetchError):
            self._protocol.send_close(1000)
            self._socket.settimeout(0.05)
            self._send()
        self._socket.close()

    def _receive(self, wait_s: float) -> list[str]:
        try:
            self._socket.settimeout(wait_s)
            data = self._socket.recv(READ_BYTES)
        except TimeoutError:
            return []
        except OSError as error:
            raise self._broke(error) from error
        self._heard_s = time.monotonic()
        if data:
            self._protocol.receive_data(data)
        else:
            self._protocol.receive_eof()
        texts = self._texts()
        ends = not data or self._protocol.close_expected()
        try:
            self._send()  # pongs, and the answer to a close
        except FetchError:
            if not texts and not ends:  # what was read counts; the next read tells of the end
                raise
        if not texts and ends and self._protocol.handshake_exc is None:
            raise FetchError(Trouble.UNREACHABLE, f"the socket was closed, code {self._close_code()}")
        return texts

    def _broke(self, error: OSError) -> FetchError:
        if self._protocol.close_rcvd is not None:  # it had said so, and did not wait for our answer
            return FetchError(Trouble.UNREACHABLE, f"the socket was closed, code {self._close_code()}")
        return FetchError(Trouble.UNREACHABLE, f"the socket broke: {error}")

    def _close_code(self) -> int:
        """The server's code, or ours where it broke the protocol; 1006 without a word of either."""
        closed = self._protocol.close_rcvd or self._protocol.close_sent
        return 1006 if closed is None else int(closed.code)

    def _texts(self) -> list[str]:
        found: list[str] = []
        for event in self._protocol.events_received():
            if isinstance(event, Response) or not isinstance(event, Frame):
                continue
            if event.opcode is Opcode.TEXT or (event.opcode is Opcode.CONT and self._parts):
                self._parts.append(bytes(event.data))
                if event.fin:
                    found.append(b"".join(self._parts).decode("utf-8", "replace"))
                    self._parts.clear()
        return found

    def _send(self) -> None:
        for data in self._protocol.data_to_send():
            if not data:
                continue
            try:
                self._socket.sendall(data)
            except OSError as error:
                raise self._broke(error) from error


def _refused(error: Exception) -> FetchError:
    words = str(error) if isinstance(error, InvalidHandshake) else type(error).__name__
    return FetchError(Trouble.NOT_HTTP, f"no WebSocket there: {words}"[:300])
