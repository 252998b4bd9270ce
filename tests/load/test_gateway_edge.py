"""HTTP to a gateway and to where its pictures lie, over real sockets."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import gevent
import pytest

from comfysoak_load.edge.failures import Failure, FailureKind
from comfysoak_load.edge.http_answers import Answer
from comfysoak_load.edge.wire import Wire
from comfysoak_load.gateway import edge as gateway_edge
from comfysoak_load.gateway.edge import ORIGINS_MOST, GatewayEdge
from tests.load.raw_server import RawServer, answer, raw_server, read_request


@contextmanager
def edge_of(server: RawServer) -> Iterator[GatewayEdge]:
    """The edge of a gateway, with somebody who looks after its deadlines."""
    edge = GatewayEdge(f"http://127.0.0.1:{server.port}", {"Authorization": "Bearer secret"})

    def look_after() -> None:
        while True:
            gevent.sleep(0.02)
            edge.expire()

    looking = gevent.spawn(look_after)
    try:
        yield edge
    finally:
        looking.kill()
        edge.close()


def echo(connection: socket.socket) -> None:
    """Answers with what it was asked."""
    while request := read_request(connection):
        answer(connection, request)


def test_the_token_goes_to_the_gateway_and_nowhere_else() -> None:
    """The same host on another port is another origin, and a redirect leads nowhere."""

    def redirects(connection: socket.socket) -> None:
        read_request(connection)
        connection.sendall(b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n")

    with raw_server(echo) as own, raw_server(echo) as foreign, raw_server(redirects) as moved, edge_of(own) as edge:
        answers = [edge.picture(f"http://127.0.0.1:{server.port}/a.png?b=1") for server in (own, foreign, moved)]
        assert isinstance(answers[0], Answer)
        assert b"Authorization: Bearer secret" in answers[0].body
        assert isinstance(answers[1], Answer)
        assert answers[1].body.startswith(b"GET /a.png?b=1 HTTP/1.1")
        assert b"secret" not in answers[1].body
        assert isinstance(answers[2], Answer)
        assert answers[2].status == 302


def test_a_picture_that_hangs_ends_however_many_places_there_are(monkeypatch: pytest.MonkeyPatch) -> None:
    """A place that is forgotten for newer ones would take the deadline of what is under way with it."""
    monkeypatch.setattr(gateway_edge, "FETCH_DEADLINE_S", 0.3)
    hangs = threading.Event()

    def hang(connection: socket.socket) -> None:
        read_request(connection)
        hangs.set()
        connection.recv(1)

    with ExitStack() as stack:
        own, hung, *others = [stack.enter_context(raw_server(how)) for how in (echo, hang, *[echo] * ORIGINS_MOST)]
        edge = stack.enter_context(edge_of(own))
        waiting = gevent.spawn(edge.picture, f"http://127.0.0.1:{hung.port}/a.png")
        while not hangs.is_set():
            gevent.sleep(0.005)
        for other in others:
            assert isinstance(edge.picture(f"http://127.0.0.1:{other.port}/a.png"), Answer)
        waiting.join(timeout=10)
        assert isinstance(waiting.value, Failure)
        assert waiting.value.kind is FailureKind.TIMEOUT


def test_a_place_at_its_usual_port_is_called_without_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """The signature of a signed URL is over the host as a browser would call it."""
    usual = Wire.open
    with raw_server(echo) as server:

        def to_the_test(_host: str, _port: int, _tls: object) -> Wire:
            return usual("127.0.0.1", server.port, None)

        monkeypatch.setattr(Wire, "open", to_the_test)
        with edge_of(server) as edge:
            answers = [edge.picture(f"{place}/a.png") for place in ("http://cdn", "https://cdn", "http://cdn:443")]
    hosts = [line for one in answers if isinstance(one, Answer) for line in one.body.split(b"\r\n") if b"Host:" in line]
    assert hosts == [b"Host: cdn", b"Host: cdn", b"Host: cdn:443"]
