"""HTTP answers of any kind, each within its bounds."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from comfysoak_probes.fetch import Address, Answer, Fetcher, FetchError, Trouble, parse_head
from tests.probes.answering import answering, free_port, http


def test_a_connection_is_kept_for_the_next_request() -> None:
    """Two requests, one connection; path, status, type and body come as they were sent."""
    with answering(lambda method, path: http(path, 404 if path == "/b" else 200, "text/x")) as server:
        fetcher = Fetcher(server.url)
        assert fetcher.get("/a") == Answer(200, "text/x", b"/a")
        assert fetcher.get("/b") == Answer(404, "text/x", b"/b")
        fetcher.close()
    assert (server.connections, server.asked) == (1, ["GET /a", "GET /b"])


def test_a_kept_connection_that_was_closed_is_opened_anew() -> None:
    """A server that closes after each answer, without saying so beforehand, is asked again."""
    with answering(lambda method, path: [http("x"), b""]) as server:
        fetcher = Fetcher(server.url)
        assert [fetcher.get("/").body for _ in range(3)] == [b"x"] * 3
        fetcher.close()
    assert server.connections == 3


def test_a_chunked_body_is_put_together() -> None:
    """Chunks with extensions and trailers give the body, and the connection goes on."""
    raw = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5;a=b\r\nhello\r\n1\r\n!\r\n0\r\nX-T: 1\r\n\r\n"
    with answering(lambda method, path: [raw[:50], raw[50:70], raw[70:]]) as server:
        fetcher = Fetcher(server.url)
        assert [fetcher.get("/").body for _ in range(2)] == [b"hello!"] * 2
        fetcher.close()
    assert server.connections == 1


def test_a_body_without_a_length_ends_with_the_connection() -> None:
    """HTTP/1.0 style: all bytes until the end."""
    with answering(lambda method, path: [b"HTTP/1.0 200 OK\r\n\r\nall ", b"of it", b""]) as server:
        assert Fetcher(server.url).get("/").body == b"all of it"


def test_nobody_there_is_refused() -> None:
    """A port without a listener is told apart from all else: that server is down."""
    with pytest.raises(FetchError, match="refused") as caught:
        Fetcher(f"http://127.0.0.1:{free_port()}").get("/")
    assert caught.value.trouble is Trouble.REFUSED


def test_a_name_that_leads_nowhere_is_unreachable() -> None:
    """A host name that does not exist is an answer in words."""
    with pytest.raises(FetchError) as caught:
        Fetcher("http://no-such-host.invalid").get("/")
    assert caught.value.trouble is Trouble.UNREACHABLE


@pytest.mark.parametrize(
    ("parts", "trouble"),
    [
        ([b"SSH-2.0-OpenSSH_9.6\r\n\r\n"], Trouble.NOT_HTTP),
        ([b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf", b""], Trouble.UNREACHABLE),
        ([b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 10_000], Trouble.NOT_HTTP),
        ([b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n", b"x" * 1000], Trouble.TOO_LARGE),
        ([b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n"], Trouble.NOT_HTTP),
        ([b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nfffffff0\r\n"], Trouble.TOO_LARGE),
        ([b""], Trouble.UNREACHABLE),
    ],
)
def test_an_answer_that_is_none_is_an_error_of_its_kind(parts: list[bytes], trouble: Trouble) -> None:
    """Another protocol, half a body, endless headers, a gigabyte announced, broken chunks, nothing at all."""
    with answering(lambda method, path: parts) as server, pytest.raises(FetchError) as caught:
        Fetcher(server.url, timeout_s=5).get("/")
    assert caught.value.trouble is trouble


def test_a_gigabyte_without_a_length_is_read_up_to_the_bound() -> None:
    """An endless body is given up after the bound, not held in memory."""
    sent = 0

    def endless(method: str, path: str) -> Iterator[bytes]:
        nonlocal sent
        yield b"HTTP/1.1 200 OK\r\n\r\n"
        while sent < 1 << 30:
            sent += 65536
            yield b"x" * 65536

    with answering(endless) as server, pytest.raises(FetchError) as caught:
        Fetcher(server.url, bytes_most=1 << 20).get("/")
    assert caught.value.trouble is Trouble.TOO_LARGE
    assert sent < 64 << 20


def test_a_server_that_drips_is_given_up_in_time() -> None:
    """One byte now and then never ends; the whole answer has a deadline, measured by the clock that is passed in."""
    moments = iter(range(100))

    def drip(method: str, path: str) -> Iterator[bytes]:
        yield b"HTTP/1.1 200 OK\r\nContent-Length: 8000000\r\n\r\n"
        while True:
            yield b"x"

    with answering(drip) as server, pytest.raises(FetchError) as caught:
        Fetcher(server.url, timeout_s=5.0, now_s=lambda: float(next(moments))).get("/")
    assert caught.value.trouble is Trouble.TIMEOUT


def test_a_token_is_sent_and_told_to_nobody() -> None:
    """The token goes into the header of the request, and into no error."""
    heads: list[bytes] = []
    import socket

    with socket.create_server(("127.0.0.1", 0)) as listener:
        fetcher = Fetcher(f"http://127.0.0.1:{listener.getsockname()[1]}", token="s3cret", timeout_s=0.2)
        with pytest.raises(FetchError) as caught:
            fetcher.get("/")
        connection, _ = listener.accept()
        heads.append(connection.recv(1000))
        connection.close()
    assert b"Authorization: Bearer s3cret\r\n" in heads[0]
    assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize("url", ["gpu-1:9400", "ftp://x/", "http://", ""])
def test_a_url_of_another_kind_is_refused(url: str) -> None:
    """What is no http URL raises at once, with an example of one."""
    with pytest.raises(ValueError, match="expected a URL such as"):
        Address.of(url)


def test_parts_of_a_url() -> None:
    """Host, port, path and query; an IPv6 address keeps its brackets in the Host header."""
    address = Address.of("https://[::1]:9400/metrics/?a=1")
    assert (address.host, address.port, address.tls, address.path) == ("::1", 9400, True, "/metrics?a=1")
    assert address.authority == "[::1]:9400"


def test_a_length_that_is_no_number_means_until_the_end() -> None:
    """Nonsense in Content-Length is as if it were not there."""
    assert parse_head(b"HTTP/1.1 200 OK\r\nContent-Length: -1").length is None
    assert parse_head(b"HTTP/1.1 204 No\r\nContent-Length: x").length == 0


def test_hints_before_an_answer_are_not_taken_for_it() -> None:
    """Status 103, twice, and then the answer: each request has its own."""
    hint = b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n"
    with answering(lambda method, path: [hint, hint, http(path)]) as server:
        fetcher = Fetcher(server.url)
        assert [fetcher.get(path).body for path in ("/a", "/b")] == [b"/a", b"/b"]
        fetcher.close()


@pytest.mark.parametrize("size", [b"-5", b"+5", b"0x5", b"1_0", b" ", b"", b"f" * 20])
def test_a_size_of_a_chunk_that_is_none_is_refused(size: bytes) -> None:
    """Python reads more as a number than HTTP does."""
    raw = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + size + b"\r\nhello\r\n0\r\n\r\n"
    with answering(lambda method, path: raw) as server, pytest.raises(FetchError, match="size of a chunk"):
        Fetcher(server.url).get("/")


def test_many_small_chunks_are_put_together() -> None:
    """Fifty thousand of them, however the network cuts them."""
    raw = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + b"1\r\nx\r\n" * 50_000 + b"0\r\n\r\n"
    with answering(lambda method, path: raw) as server:
        fetcher = Fetcher(server.url)
        assert [fetcher.get("/").body for _ in range(2)] == [b"x" * 50_000] * 2
        fetcher.close()
