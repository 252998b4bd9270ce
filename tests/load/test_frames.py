from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st
from websockets.frames import CloseCode, Frame, Opcode

from comfysoak_load.edge.frames import FrameReader, Kind
from tests.load.raw_server import frame

BIG = b"x" * 70_000


def reader(max_bytes: int = 1_000_000) -> FrameReader:
    return FrameReader(max_bytes)


WIRE = b"".join(
    (
        frame(Opcode.TEXT, b"{}"),
        frame(Opcode.PING, b"are you there"),
        frame(Opcode.BINARY, BIG),
        frame(Opcode.TEXT, b"first ", fin=False),
        frame(Opcode.PING, b""),
        frame(Opcode.CONT, b"second ", fin=False),
        frame(Opcode.CONT, b"third"),
        frame(Opcode.BINARY, b"y" * 200),
    )
)
MESSAGES = [
    (Kind.TEXT, b"{}"),
    (Kind.BINARY, BIG),
    (Kind.TEXT, b"first second third"),
    (Kind.BINARY, b"y" * 200),
]


@given(st.lists(st.integers(0, len(WIRE)), max_size=20))
def test_messages_do_not_depend_on_how_the_bytes_were_cut(cuts: list[int]) -> None:
    """The same bytes give the same messages, however the network cuts them."""
    frames = reader()
    found: list[tuple[Kind, bytes]] = []
    edges = [0, *sorted(cuts), len(WIRE)]
    for start, end in itertools.pairwise(edges):
        found += frames.feed(WIRE[start:end])
    assert found == MESSAGES
    assert not frames.finished


def test_pings_are_answered() -> None:
    """Each ping of the server gets its pong, also in the middle of a fragmented message."""
    frames = reader()
    frames.feed(WIRE)
    pongs = frames.take_replies()
    assert [pongs[0], pongs[2 + 4 + 13]] == [0x8A, 0x8A]  # a header of 2 bytes, a mask of 4, the ping's own words
    assert len(pongs) == (6 + 13) + 6
    assert frames.take_replies() == b""


@pytest.mark.parametrize(
    ("wire", "exact"),
    [
        (frame(Opcode.TEXT, b"a"), True),
        (frame(Opcode.TEXT, b"a") + frame(Opcode.TEXT, b"b"), True),
        (frame(Opcode.TEXT, b"a") + frame(Opcode.TEXT, b"b")[:-1], False),
        (frame(Opcode.TEXT, b"a") + frame(Opcode.PONG, b""), False),
        (frame(Opcode.TEXT, b"a", fin=False) + frame(Opcode.CONT, b"b"), True),
    ],
)
def test_only_a_message_that_ends_with_the_read_has_its_time(wire: bytes, exact: bool) -> None:
    """The last message is exact only when its last byte was the last byte read."""
    frames = reader()
    assert frames.feed(wire)
    assert frames.last_is_exact is exact


@pytest.mark.parametrize(
    "wire",
    [
        b"\x82\x7f" + (2**40).to_bytes(8, "big"),
        b"\x82\x7f" + (2**64 - 1).to_bytes(8, "big") + b"abc",
        frame(Opcode.TEXT, b"a" * 600, fin=False) + frame(Opcode.CONT, b"b" * 600, fin=False),
    ],
    ids=["a tebibyte", "the most there can be", "by fragments"],
)
def test_a_message_over_the_bound_ends_the_connection_with_1009(wire: bytes) -> None:
    """A frame that announces too much, and fragments that add up to too much, are refused before they are held."""
    frames = reader(max_bytes=1000)
    assert frames.feed(wire) == []
    assert frames.finished
    assert frames.close_sent is not None
    assert frames.close_sent.code == CloseCode.MESSAGE_TOO_BIG


@pytest.mark.parametrize(
    "wire",
    [
        Frame(Opcode.TEXT, b"masked").serialize(mask=True),
        frame(Opcode.CONT, b"of nothing"),
        b"\x83\x00",  # an opcode that does not exist
        b"\xc1\x00",  # a bit that was not agreed on
        b"\x09\x00",  # a ping in fragments
        frame(Opcode.TEXT, b"a", fin=False) + frame(Opcode.TEXT, b"b"),
    ],
    ids=["masked", "nothing to continue", "no such opcode", "unagreed bit", "ping in fragments", "two at once"],
)
def test_a_server_that_breaks_the_rules_is_cut_off(wire: bytes) -> None:
    """What no server may send ends the connection with 1002, and what follows is not looked at."""
    frames = reader()
    assert frames.feed(wire + frame(Opcode.TEXT, b"later")) == []
    assert frames.finished
    assert frames.close_sent is not None
    assert frames.close_sent.code == CloseCode.PROTOCOL_ERROR
    assert frames.feed(frame(Opcode.TEXT, b"later")) == []


def test_a_close_frame_ends_the_messages() -> None:
    """What a server sends after its close frame is thrown away."""
    frames = reader()
    close = frame(Opcode.CLOSE, b"\x03\xf3going")
    assert frames.feed(frame(Opcode.TEXT, b"last") + close + frame(Opcode.TEXT, b"late")) == [(Kind.TEXT, b"last")]
    assert frames.finished
    assert frames.close_received is not None
    assert (frames.close_received.code, frames.close_received.reason) == (1011, "going")
    assert frames.take_replies()[0] == 0x88  # a close frame answers it


@given(st.lists(st.binary(max_size=40), max_size=20))
def test_any_bytes_are_survived(chunks: list[bytes]) -> None:
    """No sequence of bytes raises, and after a failure nothing comes any more."""
    frames = reader(max_bytes=10_000)
    for chunk in chunks:
        ended = frames.finished
        assert not (frames.feed(chunk) and ended)
