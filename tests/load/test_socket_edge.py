from __future__ import annotations

import socket
import ssl
import sys
import threading
import time
from collections.abc import Callable

import gevent
import pytest
from websockets.frames import Opcode

from comfysoak_core.clock import Anchor, AnchoredClock
from comfysoak_core.codes import Code
from comfysoak_load.edge.failures import Failure, FailureKind
from comfysoak_load.edge.frames import Kind
from comfysoak_load.edge.opening import open_socket
from comfysoak_load.edge.socket_edge import Closing, WebSocket
from comfysoak_load.edge.stamps import STAMP_ERROR_NS, Arrival
from comfysoak_load.sockets.keepalive import Keepalive
from tests.load.raw_server import CERTIFICATE, RawServer, frame, open_web_socket, raw_server, read_frame

CLOCK = AnchoredClock(Anchor.take())
Script = Callable[[socket.socket], None]


class Listening:
    """Keeps what a socket tells."""

    def __init__(self) -> None:
        self.messages: list[tuple[Kind, bytes]] = []
        self.arrivals: list[Arrival] = []
        self.closing: Closing | None = None

    def on_message(self, kind: Kind, payload: bytes, arrival: Arrival) -> None:
        self.messages.append((kind, payload))
        self.arrivals.append(arrival)

    def on_closed(self, closing: Closing) -> None:
        assert self.closing is None, "told twice"
        self.closing = closing

    def wait(self, ready: Callable[[Listening], object]) -> None:
        """Let the loop run until it is so; a test that hangs says what it had."""
        give_up = time.monotonic() + 10
        while not ready(self):
            assert time.monotonic() < give_up, (self.messages[:5], self.closing)
            gevent.sleep(0.002)


def opened(server: RawServer, listening: Listening, **options: object) -> WebSocket:
    found = open_socket(f"ws://127.0.0.1:{server.port}/ws?clientId=a", listening, CLOCK, **options)  # type: ignore[arg-type]
    assert isinstance(found, WebSocket), found
    return found


def after_opening(script: Script) -> Script:
    """A handler that opens the WebSocket, then does as `script` says."""

    def handler(connection: socket.socket) -> None:
        open_web_socket(connection)
        script(connection)

    return handler


def test_messages_come_in_order_with_times() -> None:
    """Text and binary, small and large, whole and fragmented: each with a time not after now and an error bound."""
    big = bytes(range(256)) * 8000

    def script(connection: socket.socket) -> None:
        connection.sendall(frame(Opcode.TEXT, b"one") + frame(Opcode.BINARY, big))
        connection.sendall(frame(Opcode.TEXT, b"tw", fin=False) + frame(Opcode.CONT, b"o"))
        read_frame(connection)

    listening = Listening()
    before = CLOCK.now_ns()
    with raw_server(after_opening(script)) as server:
        sock = opened(server, listening)
        listening.wait(lambda told: len(told.messages) == 3)
        assert listening.messages == [(Kind.TEXT, b"one"), (Kind.BINARY, big), (Kind.TEXT, b"two")]
        assert all(before - STAMP_ERROR_NS <= arrival.at_ns <= CLOCK.now_ns() for arrival in listening.arrivals)
        assert all(arrival.error_ns >= STAMP_ERROR_NS for arrival in listening.arrivals)
        assert (sock.messages, sock.message_bytes) == (3, 3 + len(big) + 3)
        sock.close(wait_s=0)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux stamps")
@pytest.mark.parametrize("tls", [False, True])
def test_the_time_is_that_of_arrival_and_not_of_reading(tls: bool) -> None:
    """A process that was busy when a message came still knows when it came, over TLS as well."""
    sent_ns: list[int] = []
    go = threading.Event()

    def script(connection: socket.socket) -> None:
        go.wait(10)
        connection.sendall(frame(Opcode.TEXT, b"now"))
        sent_ns.append(CLOCK.now_ns())
        read_frame(connection)

    listening = Listening()
    with raw_server(after_opening(script), tls=tls) as server:
        sock = open_socket(
            f"{'wss' if tls else 'ws'}://127.0.0.1:{server.port}/ws",
            listening,
            CLOCK,
            tls_context=ssl.create_default_context(cafile=CERTIFICATE),
        )
        assert isinstance(sock, WebSocket), sock
        go.set()
        while not sent_ns:
            time.sleep(0.001)  # the event loop stands still
        time.sleep(0.25)
        listening.wait(lambda told: told.messages)
        read_late_ns = CLOCK.now_ns() - sent_ns[0]
        assert read_late_ns > 200_000_000
        assert listening.arrivals[0].at_ns <= sent_ns[0] + STAMP_ERROR_NS
        assert listening.arrivals[0].error_ns == STAMP_ERROR_NS
        sock.close(wait_s=0)


@pytest.mark.parametrize(
    ("script", "expected"),
    [
        (
            lambda connection: connection.sendall(frame(Opcode.CLOSE, b"\x03\xf3no more")),
            Closing(1011, "server", "no more"),
        ),
        (
            lambda connection: connection.sendall(frame(Opcode.CLOSE, b"\x03\xf1")),
            Closing(1009, "server", "", Code.WS_TOO_BIG),
        ),
        (
            lambda connection: connection.sendall(frame(Opcode.TEXT, b"x" * 50)[:20]),
            Closing(1006, "network", "connection ended without a close frame", Code.WS_ABNORMAL),
        ),
        (
            lambda connection: connection.sendall(b"\x82\x7f" + (2**50).to_bytes(8, "big")),
            Closing(1009, "client", f"frame of {2**50} bytes", Code.WS_TOO_BIG),
        ),
        (
            lambda connection: connection.sendall(frame(Opcode.CONT, b"of nothing")),
            Closing(1002, "client", "unexpected continuation frame", Code.BAD_MESSAGE),
        ),
    ],
)
def test_each_end_is_told_apart(script: Script, expected: Closing) -> None:
    """Who closed, with which code, and whether that is a failure of the catalogue."""
    listening = Listening()
    with raw_server(after_opening(script)) as server:
        opened(server, listening)
        listening.wait(lambda told: told.closing)
    assert listening.closing == expected


def test_a_reset_is_the_networks() -> None:
    """A connection that is reset ended abnormally, by the network."""

    def script(connection: socket.socket) -> None:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")

    listening = Listening()
    with raw_server(after_opening(script)) as server:
        opened(server, listening)
        listening.wait(lambda told: told.closing)
    assert listening.closing is not None
    assert (listening.closing.closed_by, listening.closing.code) == ("network", Code.WS_ABNORMAL)


def test_our_own_close_waits_for_the_servers() -> None:
    """Closing sends a close frame, waits for the answer to it, and is no failure."""

    def script(connection: socket.socket) -> None:
        opcode, code = read_frame(connection)
        assert opcode == Opcode.CLOSE
        time.sleep(0.05)
        connection.sendall(frame(Opcode.CLOSE, code))

    listening = Listening()
    with raw_server(after_opening(script)) as server:
        assert opened(server, listening).close(wait_s=10) == Closing(1000, "client")
    assert listening.closing == Closing(1000, "client")


def test_a_server_that_does_not_close_is_left_alone_after_a_while() -> None:
    """A close frame that is never answered holds nobody up."""
    listening = Listening()
    with raw_server(after_opening(lambda connection: time.sleep(5))) as server:
        closing = opened(server, listening).close(wait_s=0.05)
    assert (closing.closed_by, closing.code) == ("client", None)


def test_pings_are_answered_and_text_is_sent() -> None:
    """What the server pings comes back, and what we send arrives masked and whole."""
    heard: list[tuple[int, bytes]] = []

    def script(connection: socket.socket) -> None:
        connection.sendall(frame(Opcode.PING, b"there?"))
        heard.append(read_frame(connection))
        heard.append(read_frame(connection))
        connection.sendall(frame(Opcode.TEXT, b"thanks"))

    listening = Listening()
    with raw_server(after_opening(script)) as server:
        sock = opened(server, listening)
        gevent.sleep(0.05)
        sock.send_text(b"hello")
        listening.wait(lambda told: told.messages)
    assert heard == [(Opcode.PONG, b"there?"), (Opcode.TEXT, b"hello")]


@pytest.mark.parametrize(
    ("handler", "kind"),
    [
        (lambda connection: time.sleep(5), FailureKind.TIMEOUT),
        (lambda connection: connection.sendall(b"<html>hello</html>\r\n\r\n"), FailureKind.BAD_ANSWER),
        (lambda connection: connection.sendall(b"HTTP/1.1 404 Not Found\r\n\r\n"), FailureKind.STATUS),
        (lambda connection: connection.sendall(b"HTTP/1.1 101 Yes\r\n\r\n"), FailureKind.BAD_ANSWER),
        (lambda connection: connection.sendall(b"x" * 100_000), FailureKind.BAD_ANSWER),
        (lambda connection: None, FailureKind.RESET),
    ],
)
def test_a_socket_that_does_not_open_is_a_value(handler: Script, kind: FailureKind) -> None:
    """Whatever answers the opening handshake, or nobody: the reason comes back, and no exception."""
    with raw_server(handler) as server:
        found = open_socket(f"ws://127.0.0.1:{server.port}/ws", Listening(), CLOCK, deadline_s=0.3)
    assert isinstance(found, Failure)
    assert found.kind is kind


def test_nobody_there_is_refused() -> None:
    """A port nobody listens on refuses."""
    with raw_server(lambda connection: None) as server:
        pass
    found = open_socket(f"ws://127.0.0.1:{server.port}/ws", Listening(), CLOCK)
    assert isinstance(found, Failure)
    assert found.kind is FailureKind.REFUSED


def test_a_certificate_that_does_not_hold_is_refused() -> None:
    """Without trust in its certificate there is no connection to a server."""
    with raw_server(after_opening(lambda connection: time.sleep(1)), tls=True) as server:
        found = open_socket(f"wss://127.0.0.1:{server.port}/ws", Listening(), CLOCK)
    assert isinstance(found, Failure)
    assert found.kind is FailureKind.TLS


def test_a_silent_server_is_found_out_by_the_keepalive() -> None:
    """A server that answers no pings is dropped after a while; one that answers them is kept."""

    def answers(connection: socket.socket) -> None:
        while (got := read_frame(connection))[0] == Opcode.PING:
            connection.sendall(frame(Opcode.PONG, got[1]))

    dead, alive = Listening(), Listening()
    keepalive = Keepalive(CLOCK, ping_every_s=0.05, dead_after_s=0.4)
    with (
        raw_server(after_opening(lambda connection: time.sleep(10))) as silent,
        raw_server(after_opening(answers)) as ok,
    ):
        keepalive.watch(opened(silent, dead))
        kept = opened(ok, alive)
        keepalive.watch(kept)
        keepalive.start()
        dead.wait(lambda told: told.closing)
        keepalive.stop()
        assert dead.closing is not None
        assert (dead.closing.closed_by, dead.closing.code) == ("network", Code.WS_ABNORMAL)
        assert kept.open
        kept.close(wait_s=0)


def test_a_process_that_was_held_up_drops_nobody() -> None:
    """It neither pinged nor read meanwhile: what it heard last says nothing of the server."""

    def answers(connection: socket.socket) -> None:
        while (got := read_frame(connection))[0] == Opcode.PING:
            connection.sendall(frame(Opcode.PONG, got[1]))

    listening = Listening()
    keepalive = Keepalive(CLOCK, ping_every_s=0.04, dead_after_s=0.4)
    with raw_server(after_opening(answers)) as server:
        sock = opened(server, listening)
        keepalive.watch(sock)
        keepalive.start()
        listening.wait(lambda _: sock.answered_ns)
        time.sleep(0.6)  # the event loop stands still
        before_ns = sock.answered_ns
        listening.wait(lambda _: sock.answered_ns > before_ns or sock.closing)
        keepalive.stop()
        assert sock.open
        sock.close(wait_s=0)


def test_a_message_half_way_answers_no_ping() -> None:
    """Its bytes prove that the server lives, not that it has nothing else to tell: only a pong proves that."""
    go_on = threading.Event()

    def script(connection: socket.socket) -> None:
        read_frame(connection)
        large = frame(Opcode.BINARY, b"x" * 1000)
        connection.sendall(large[:500])
        go_on.wait(10)
        connection.sendall(large[500:] + frame(Opcode.PONG))
        read_frame(connection)

    listening = Listening()
    with raw_server(after_opening(script)) as server:
        sock = opened(server, listening)
        began_ns = sock.last_heard_ns
        sock.ping()
        listening.wait(lambda _: sock.last_heard_ns > began_ns)
        assert sock.answered_ns == 0
        go_on.set()
        listening.wait(lambda _: sock.answered_ns)
        assert sock.messages == 1
        sock.close(wait_s=0)


def test_a_server_that_never_reads_our_pongs_is_given_up() -> None:
    """What cannot be sent is kept up to a bound, and then the socket ends."""

    def script(connection: socket.socket) -> None:
        ping = frame(Opcode.PING, b"x" * 125) * 1000
        for _ in range(400):
            connection.sendall(ping)

    listening = Listening()
    with raw_server(after_opening(script)) as server:
        opened(server, listening)
        listening.wait(lambda told: told.closing)
    assert listening.closing is not None
    assert "does not read" in listening.closing.reason
