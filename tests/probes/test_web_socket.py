"""A WebSocket that only listens: what it takes from a server, and what it does about one that misbehaves."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import SimpleNamespace

import pytest
from websockets.sync.server import ServerConnection, serve

from comfysoak_probes.fetch import FetchError, Trouble
from comfysoak_probes.log import web_socket
from comfysoak_probes.log.web_socket import ListeningSocket
from tests.probes.answering import answering, free_port, http


@contextmanager
def sockets(handle: Callable[[ServerConnection], None]) -> Iterator[str]:
    """A real WebSocket server whose every connection is handled so."""
    with serve(handle, "127.0.0.1", 0) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.socket.getsockname()[1]}"
        finally:
            server.shutdown()
            thread.join()


def all_messages(url: str) -> tuple[list[str], str]:
    """Every message until the end, and how it ended."""
    found: list[str] = []
    with contextlib.ExitStack() as at_end:
        try:
            listening = ListeningSocket(url, "/ws?clientId=1")  # the end may come with the server's answer to it
            at_end.callback(listening.close)
            while True:
                found += listening.messages(5.0)
        except FetchError as error:
            return found, str(error)


def test_messages_come_in_order_and_pictures_are_left_out() -> None:
    """Texts whole or in fragments, those that came with the handshake too; binary frames are not for us."""

    def handle(connection: ServerConnection) -> None:
        connection.send("first")
        connection.send(b"\x00\x00\x00\x01 a preview")
        connection.send(["frag", "ment", "ed"])
        connection.send("last \u00e9")

    with sockets(handle) as url:
        assert all_messages(url) == (["first", "fragmented", "last \u00e9"], "the socket was closed, code 1000")


def test_a_pause_of_ours_is_no_silence_of_the_server(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who did not listen for minutes reads what came; who listened that long in vain is told so."""
    now_s = [1000.0]
    monkeypatch.setattr(web_socket, "time", SimpleNamespace(monotonic=lambda: now_s[0]))
    speak, done = threading.Event(), threading.Event()

    def handle(connection: ServerConnection) -> None:
        speak.wait(5)
        connection.send("piled up")
        done.wait(5)

    with sockets(handle) as url, contextlib.closing(ListeningSocket(url, "/ws")) as listening:
        assert listening.messages(0.05) == []
        now_s[0] += 300
        speak.set()
        # A pong may come before it: that is a reading without a message.
        assert (listening.messages(5.0) or listening.messages(5.0)) == ["piled up"]
        monkeypatch.setattr(listening, "_receive", lambda wait_s: [])
        for _ in range(6):
            now_s[0] += 10
            assert listening.messages(1.0) == []
        now_s[0] += 1
        with pytest.raises(FetchError, match="silent for 60 s"):
            listening.messages(1.0)
        done.set()


def test_nothing_to_read_is_no_error() -> None:
    """A silent server: an empty list after the wait."""
    done = threading.Event()
    with sockets(lambda connection: (done.wait(5), None)[1]) as url:
        listening = ListeningSocket(url, "/ws")
        assert listening.messages(0.05) == []
        listening.close()
        done.set()


def test_a_message_over_the_bound_ends_the_socket() -> None:
    """A huge message is not read into memory: the socket is closed with 1009."""

    def handle(connection: ServerConnection) -> None:
        connection.send("x" * (17 * 1024 * 1024))

    with sockets(handle) as url:
        found, words = all_messages(url)
    assert found == []
    assert "1009" in words


def test_the_token_goes_with_the_handshake() -> None:
    """A server behind a token is listened to as well."""
    seen: list[str | None] = []

    def handle(connection: ServerConnection) -> None:
        assert connection.request is not None
        seen.append(connection.request.headers.get("Authorization"))

    with sockets(handle) as url:
        ListeningSocket(url, "/ws", token="t0ken").close()
    assert seen == ["Bearer t0ken"]


@pytest.mark.parametrize(
    "answer", [http("<html>"), http("", 403), http("x", 200), b"garbage\r\n\r\n"], ids=["html", "403", "200", "garbage"]
)
def test_what_is_no_socket_says_so(answer: bytes) -> None:
    """Another answer than an upgrade: an error of the kind that makes the caller try another way."""
    with answering(lambda method, path: [answer, b""]) as server, pytest.raises(FetchError) as caught:
        ListeningSocket(server.url, "/ws")
    assert caught.value.trouble is Trouble.NOT_HTTP


def test_a_connection_cut_in_the_handshake_is_unreachable_or_no_socket() -> None:
    """A server that dies at that moment raises like all others: nothing hangs, nothing else escapes."""
    with answering(lambda method, path: b"") as server, pytest.raises(FetchError):
        ListeningSocket(server.url, "/ws")
    with pytest.raises(FetchError) as caught:
        ListeningSocket(f"http://127.0.0.1:{free_port()}", "/ws")
    assert caught.value.trouble is Trouble.REFUSED


def test_frames_that_are_none_end_the_socket() -> None:
    """After a good handshake raw nonsense: closed as a protocol error."""

    def handle(connection: ServerConnection) -> None:
        connection.socket.sendall(b"\xff\xff\xff\xff\xff\xff\xff\xff")
        connection.recv(timeout=5)

    with sockets(handle) as url:
        found, words = all_messages(url)
    assert found == []
    assert "1002" in words
