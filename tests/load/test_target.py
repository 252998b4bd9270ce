from __future__ import annotations

from comfysoak_core.clock import ManualClock
from comfysoak_core.comfyui.address import Fall
from comfysoak_core.comfyui.messages import Status
from comfysoak_core.scenario.routing import Health
from comfysoak_load.edge.failures import Failure, FailureKind
from comfysoak_load.servers.target import Target

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
    assert target.standing.remaining == 2
    assert target.status_of(one) is first
    assert target.standing.remaining == 1


def test_other_messages_are_not_taken_for_a_status() -> None:
    """Messages that only speak of a status, and broken ones, are left to the parser."""
    target = Target("http://gpu-1:8188", CLOCK)
    for payload in (b'{"type": "executing", "data": {"node": "status"}}', b'{"type": "status"', b'{"status": 1}', b""):
        assert target.status_of(payload) is None


def test_what_cannot_be_reached_is_down_and_may_have_been_restarted() -> None:
    """Numbers that begin again after a refusal are a restart; a broken exchange is looked into."""
    target = Target("http://gpu-1:8188", CLOCK)
    assert target.numbered(7, CLOCK.now_ns()) is Fall.NONE
    target.failed(Failure(FailureKind.REFUSED, "Connection refused"))
    assert (target.standing.health, target.standing.reason) == (Health.DOWN, "connection refused: Connection refused")
    target.standing.told(0, CLOCK.advance(1))
    target.failed(Failure(FailureKind.RESET))
    assert (target.standing.health, target.standing.due_ns) == (Health.UP, CLOCK.now_ns())
    assert target.numbered(0, CLOCK.advance(1)) is Fall.AFTER_DROP
    target.failed(Failure(FailureKind.TIMEOUT))
    assert target.standing.health is Health.SILENT
