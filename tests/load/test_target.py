from __future__ import annotations

from comfysoak_core.clock import ManualClock
from comfysoak_core.comfyui.messages import Status
from comfysoak_load.target import Target

CLOCK = ManualClock()


def test_where_a_server_is_asked_follows_from_its_base_url() -> None:
    """The socket has the server's scheme, host and path, and a client id that cannot break out of the query."""
    assert Target("http://gpu-1:8188", CLOCK).socket_url("a b&c") == "ws://gpu-1:8188/ws?clientId=a%20b%26c"
    assert Target("https://host/comfy/", CLOCK).socket_url("x") == "wss://host/comfy/ws?clientId=x"


def test_each_status_text_is_read_once() -> None:
    """What all sockets are told is the same message object for all of them, and the newest counts."""
    target = Target("http://gpu-1:8188", CLOCK)
    one = b'{"type": "status", "data": {"status": {"exec_info": {"queue_remaining": 1}}}}'
    two = one.replace(b"1", b"2")
    first = target.status_of(one)
    assert isinstance(first, Status)
    assert target.status_of(bytearray(two).decode().encode()) is target.status_of(two)
    assert target.queue_remaining == 2
    assert target.status_of(one) is first
    assert target.queue_remaining == 1


def test_other_messages_are_not_taken_for_a_status() -> None:
    """Messages that only speak of a status, and broken ones, are left to the parser."""
    target = Target("http://gpu-1:8188", CLOCK)
    for payload in (b'{"type": "executing", "data": {"node": "status"}}', b'{"type": "status"', b'{"status": 1}', b""):
        assert target.status_of(payload) is None


def test_numbers_that_begin_again_after_a_drop_show_a_restart() -> None:
    """Only a prompt sent after a broken socket, with a number that was given before, is proof."""
    target = Target("http://gpu-1:8188", CLOCK)
    assert not target.accepted(7, sent_ns=1)
    assert not target.accepted(6, sent_ns=2)  # answers overtake each other
    target.socket_dropped(10)
    assert not target.accepted(8, sent_ns=9)  # sent before the drop
    assert not target.accepted(9, sent_ns=11)  # the same server goes on counting
    target.socket_dropped(20)
    assert not target.accepted(None, sent_ns=21)
    assert target.accepted(0, sent_ns=22)
    assert not target.accepted(1, sent_ns=23)  # told once
