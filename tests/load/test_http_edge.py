from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import gevent
import gevent.ssl
import pytest

from comfysoak_load.edge.failures import Failure, FailureKind
from comfysoak_load.edge.http_answers import Answer
from comfysoak_load.edge.http_edge import HttpEdge
from tests.load.raw_server import CERTIFICATE, answer, raw_server, read_request

Script = Callable[[socket.socket], None]


@contextmanager
def edge_to(script: Script, *, path: str = "") -> Iterator[HttpEdge]:
    """An edge to a server that does `script` with each connection; its deadlines are looked after."""
    with raw_server(script) as server:
        edge = HttpEdge(f"http://127.0.0.1:{server.port}{path}")
        ticking = gevent.spawn(_expire, edge)
        yield edge
        ticking.kill()
        edge.close()


def _expire(edge: HttpEdge) -> None:
    while True:
        gevent.sleep(0.02)
        edge.expire()


class Echo:
    """Answers each request with what it was; counts connections and requests."""

    def __init__(self, *, closes_after: int = 1_000_000) -> None:
        self.connections = 0
        self.requests: list[bytes] = []
        self._closes_after = closes_after

    def __call__(self, connection: socket.socket) -> None:
        self.connections += 1
        for _ in range(self._closes_after):
            request = read_request(connection)
            if not request:
                return
            self.requests.append(request)
            answer(connection, request.split(b"\r\n")[0])


def test_one_connection_carries_many_requests() -> None:
    """Requests one after the other share a connection; the base URL's own path stands before theirs."""
    echo = Echo()
    with edge_to(echo, path="/comfy/") as edge:
        answers = [edge.get("/queue"), edge.post("/prompt", b"{}"), edge.get("/view?filename=a")]
    assert [found.body for found in answers if isinstance(found, Answer)] == [
        b"GET /comfy/queue HTTP/1.1",
        b"POST /comfy/prompt HTTP/1.1",
        b"GET /comfy/view?filename=a HTTP/1.1",
    ]
    assert echo.connections == 1
    assert echo.requests[1].endswith(b"\r\n\r\n{}")
    assert b"\r\nHost: 127.0.0.1:" in echo.requests[0]


def test_requests_at_once_have_a_connection_each() -> None:
    """No request waits for another one's connection: the harness has no queue of its own."""
    together = threading.Barrier(5)

    def script(connection: socket.socket) -> None:
        read_request(connection)
        together.wait(10)
        answer(connection, b"done")

    with edge_to(script) as edge:
        asked = [gevent.spawn(edge.get, "/") for _ in range(5)]
        gevent.joinall(asked)
    assert [found.value.body for found in asked] == [b"done"] * 5


def test_a_connection_the_server_has_closed_is_not_used_again() -> None:
    """A server that closes after each answer fails no request, not even one that may not be repeated."""
    echo = Echo(closes_after=1)
    with edge_to(echo) as edge:
        for _ in range(3):
            assert isinstance(edge.post("/prompt", b"{}"), Answer)
            gevent.sleep(0.05)
    assert echo.connections == 3


def test_only_what_may_be_repeated_is_repeated() -> None:
    """Of a connection that breaks during a request, a GET tries another one; a POST says that it may have arrived."""
    first = threading.Event()

    def breaks(connection: socket.socket) -> None:
        answer(connection, read_request(connection)[:4])
        if not first.is_set():
            first.set()
            read_request(connection)  # and no answer
            return
        answer(connection, b"again")

    for ask, expected in ((HttpEdge.get, "again"), (lambda edge, path: edge.post(path, b"{}"), None)):
        first.clear()
        requests: list[bytes] = []

        def script(connection: socket.socket, requests: list[bytes] = requests) -> None:
            while request := read_request(connection):
                requests.append(request)
                if len(requests) == 2:
                    return
                answer(connection, b"again")

        with edge_to(script) as edge:
            edge.get("/first")
            found = ask(edge, "/second")
        if expected is None:
            assert isinstance(found, Failure)
            assert (found.kind, found.sent, len(requests)) == (FailureKind.RESET, True, 2)
        else:
            assert isinstance(found, Answer)
            assert (found.body, len(requests)) == (b"again", 3)


def slowly(connection: socket.socket) -> None:
    """Never quite silent, never done."""
    read_request(connection)
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
    for _ in range(200):
        connection.sendall(b"x")
        time.sleep(0.01)


@pytest.mark.parametrize(
    ("script", "kind"),
    [
        (lambda connection: time.sleep(5), FailureKind.TIMEOUT),
        (slowly, FailureKind.TIMEOUT),
        (lambda connection: read_request(connection) and None, FailureKind.RESET),
        (lambda connection: connection.sendall(b"<html>\r\n\r\n"), FailureKind.BAD_ANSWER),
        (lambda connection: answer(connection, b"x" * 2000), FailureKind.TOO_BIG),
    ],
)
def test_every_failure_is_a_value_in_time(script: Script, kind: FailureKind) -> None:
    """Silence, drops by drops, a hang-up, nonsense and too much: each is a Failure within the deadline."""
    with edge_to(script) as edge:
        started = time.monotonic()
        found = edge.get("/", deadline_s=0.4, max_bytes=1000)
        assert time.monotonic() - started < 4
    assert isinstance(found, Failure)
    assert found.kind is kind
    assert edge.failures == 1


def test_nobody_there_is_refused_and_a_name_may_be_unknown() -> None:
    """What never arrived is told from what may have."""
    with raw_server(lambda connection: None) as server:
        pass
    refused = HttpEdge(f"http://127.0.0.1:{server.port}").post("/prompt", b"{}")
    unknown = HttpEdge("http://no-such-host.invalid").get("/", deadline_s=5)
    assert isinstance(refused, Failure)
    assert (refused.kind, refused.sent) == (FailureKind.REFUSED, False)
    assert isinstance(unknown, Failure)
    assert unknown.kind in (FailureKind.UNRESOLVED, FailureKind.TIMEOUT)


def test_https_is_spoken_and_certificates_are_checked() -> None:
    """With trust in the certificate there is an answer, without it a Failure."""
    context = gevent.ssl.create_default_context(cafile=CERTIFICATE)
    with raw_server(Echo(), tls=True) as server:
        trusting = HttpEdge(f"https://127.0.0.1:{server.port}", tls_context=context)
        assert isinstance(trusting.get("/"), Answer)
        assert isinstance(trusting.get("/"), Answer)
        trusting.close()
        wary = HttpEdge(f"https://127.0.0.1:{server.port}").get("/")
    assert isinstance(wary, Failure)
    assert wary.kind is FailureKind.TLS


def test_a_header_cannot_smuggle_another_one() -> None:
    """A header of several lines is refused before anything is sent."""
    with pytest.raises(ValueError, match="one line"):
        HttpEdge("http://127.0.0.1", headers={"Authorization": "Bearer a\r\nX: y"})
