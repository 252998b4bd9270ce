from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from comfysoak_load.edge.failures import FailureKind
from comfysoak_load.edge.http_answers import Answer, AnswerReader, BadAnswerError

PLAIN = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 5\r\n\r\nhello"
CHUNKED = (
    b"HTTP/1.1 100 Continue\r\n\r\n"
    b"HTTP/1.1 200 OK\r\ntransfer-encoding: Chunked\r\nContent-Type: application/json\r\n\r\n"
    b"2;name=value\r\nhe\r\n3\r\nllo\r\n0\r\nX-Trailer: 1\r\n\r\n"
)


@pytest.mark.parametrize("wire", [PLAIN, CHUNKED])
@given(st.data())
def test_an_answer_is_the_same_however_it_was_cut(wire: bytes, data: st.DataObject) -> None:
    """Cut anywhere, an answer is whole with its last byte and not before."""
    cuts = sorted(data.draw(st.lists(st.integers(0, len(wire) - 1), max_size=10)))
    reader = AnswerReader()
    edges = [0, *cuts, len(wire)]
    ended = [reader.feed(wire[start:end]) for start, end in itertools.pairwise(edges)]
    assert ended == [False] * len(cuts) + [True]
    assert reader.answer() == Answer(200, b"hello", "application/json")
    assert reader.reusable


@pytest.mark.parametrize(
    ("wire", "reusable"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", True),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok", False),
        (b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok", False),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok and more", False),
        (b"HTTP/1.1 204 No Content\r\n\r\n", True),
    ],
)
def test_a_connection_is_kept_only_when_it_is_in_step(wire: bytes, reusable: bool) -> None:
    """Surplus bytes, old versions and `Connection: close` end a connection after its answer."""
    reader = AnswerReader()
    assert reader.feed(wire)
    assert reader.reusable is reusable


def test_an_answer_without_a_length_ends_with_its_connection() -> None:
    """Where no length is told, the end of the connection is the end of the body."""
    reader = AnswerReader()
    assert not reader.feed(b"HTTP/1.1 200 OK\r\n\r\nall of ")
    assert not reader.feed(b"it")
    assert reader.end()
    assert reader.answer().body == b"all of it"
    assert not reader.reusable


@pytest.mark.parametrize(
    ("wire", "kind"),
    [
        (b"<html>hello</html>\r\n\r\n", FailureKind.BAD_ANSWER),
        (b"HTTP/1.1 abc\r\n\r\n", FailureKind.BAD_ANSWER),
        (b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n", FailureKind.BAD_ANSWER),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", FailureKind.BAD_ANSWER),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", FailureKind.BAD_ANSWER),
        (b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 1\r\n\r\nx", FailureKind.BAD_ANSWER),
        (b"x" * 70_000, FailureKind.BAD_ANSWER),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 1001\r\n\r\n", FailureKind.TOO_BIG),
        (b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * 1001, FailureKind.TOO_BIG),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3e9\r\n" + b"x" * 1001, FailureKind.TOO_BIG),
    ],
)
def test_what_is_no_answer_is_said_to_be_none(wire: bytes, kind: FailureKind) -> None:
    """Nonsense and answers over the bound raise BadAnswerError with the failure they stand for."""
    with pytest.raises(BadAnswerError) as raised:
        AnswerReader(max_bytes=1000).feed(wire)
    assert raised.value.failure.kind is kind
    assert raised.value.failure.sent


@pytest.mark.parametrize("wire", [b"", PLAIN[:-1], PLAIN[:20], CHUNKED[:-1]])
def test_a_connection_that_ends_early_is_broken(wire: bytes) -> None:
    """An answer that was cut off is a broken connection, never a short answer."""
    reader = AnswerReader()
    reader.feed(wire)
    with pytest.raises(BadAnswerError) as raised:
        reader.end()
    assert raised.value.failure.kind is FailureKind.RESET


@given(st.lists(st.binary(max_size=60), max_size=10), st.booleans())
def test_any_bytes_are_survived(chunks: list[bytes], with_head: bool) -> None:
    """Whatever comes is an answer, or BadAnswerError, and nothing else."""
    reader = AnswerReader(max_bytes=100)
    if with_head:
        chunks = [b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", *chunks]
    try:
        for chunk in chunks:
            if reader.feed(chunk):
                assert len(reader.answer().body) <= 100
                break
    except BadAnswerError:
        pass


def test_a_body_in_tiny_chunks_costs_no_more_memory_than_its_bytes() -> None:
    """A server that sends one byte a chunk is slow, but not expensive."""
    reader = AnswerReader(max_bytes=20_000)
    reader.feed(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    assert not reader.feed(b"1\r\nx\r\n" * 10_000)
    assert reader.feed(b"0\r\n\r\n")
    assert reader.answer().body == b"x" * 10_000
