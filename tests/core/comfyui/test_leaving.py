"""Users who cancel a prompt, or give up on it: what is asked of the server when, and what the end is called."""

from __future__ import annotations

from typing import Any

import pytest
from tests.core.comfyui.lives import EMPTY_QUEUE, PENDING, RUNNING, accepted, begin, entry, run, s, success, tell, told

from comfysoak_core.codes import Code
from comfysoak_core.comfyui.address import Address
from comfysoak_core.comfyui.answers import Damaged
from comfysoak_core.comfyui.asking import Need
from comfysoak_core.comfyui.history import NoEntry
from comfysoak_core.comfyui.leaving import Leave
from comfysoak_core.comfyui.life import PromptLife
from comfysoak_core.rows import Outcome, Prompt

CANCEL = Leave(at_ns=s(5), within_ns=s(20))
GIVE_UP = Leave(at_ns=s(5), give_up=True, withdraw=False)
INTERRUPTED = [told("execution_interrupted", node_id="2"), told("executing", node=None)]


def _need(one: PromptLife) -> Need:
    return one.next.need


def _asked(leave: Leave = CANCEL, *, running: bool = True) -> PromptLife:
    """A prompt that the server is asked to take back, at the time it is meant to be."""
    one = accepted(leave=leave)
    if running:
        tell(one, *begin(), *run("1"))
    assert (_need(one), one.next.due_ns) == (Need.WITHDRAW, s(5))
    one.cancel_asked(s(5))
    return one


def _end(one: PromptLife) -> Prompt:
    assert _need(one) is Need.DONE
    return one.row


def _told(row: Prompt) -> tuple[Any, ...]:
    return row.outcome, row.expected, row.code


def test_a_running_prompt_is_interrupted() -> None:
    """Asked while it runs, it ends as interrupted, which is what was expected of it."""
    one = _asked()
    one.withdrawn(RUNNING, s(5.1))
    assert _need(one) is Need.WAIT
    tell(one, *INTERRUPTED, at_s=6)
    one.history(entry("execution_interrupted", node_id="2"), s(6.1))
    row = _end(one)
    assert _told(row) == (Outcome.INTERRUPTED, Outcome.INTERRUPTED, None)
    assert row.cancel_asked_ns == s(5)


def test_a_pending_prompt_leaves_no_trace() -> None:
    """Deleted while it waits, it is in neither queue nor history: interrupted, as we asked, and not vanished."""
    one = _asked(running=False)
    one.withdrawn(EMPTY_QUEUE, s(5.1))
    assert _need(one) is Need.ASK_HISTORY
    one.history(NoEntry(), s(5.3))
    assert _told(_end(one)) == (Outcome.INTERRUPTED, Outcome.INTERRUPTED, None)


def test_deleted_by_the_account_of_ordinary_polls() -> None:
    """Where /queue could not be read after the deletion, the ordinary questions find it gone all the same."""
    one = accepted(leave=CANCEL, socket=False)
    while _need(one) is not Need.WITHDRAW:
        one.tick(one.next.due_ns)
        one.history(NoEntry(), one.next.due_ns)
        one.queue(PENDING, one.next.due_ns)
    one.cancel_asked(s(5))
    for at_s in (5.1, 6.2, 7.3, 8.4):
        one.withdrawn(Damaged(0, "no answer", ""), s(at_s))
        one.tick(s(at_s + 0.5))
        one.history(NoEntry(), s(at_s + 0.5))
        one.queue(EMPTY_QUEUE, s(at_s + 0.5))
    assert _told(_end(one)) == (Outcome.INTERRUPTED, Outcome.INTERRUPTED, None)


def test_of_several_servers_one_that_does_not_have_it_proves_nothing() -> None:
    """Behind a proxy the server that was asked may be another: it is asked again, until all the polls miss it."""
    address = Address()
    address.several = True
    one = accepted(leave=CANCEL, address=address)
    one.cancel_asked(s(5))
    one.withdrawn(EMPTY_QUEUE, s(5.1))
    assert (_need(one), one.next.due_ns) == (Need.WITHDRAW, s(6.1))
    one.withdrawn(RUNNING, s(6.2))
    assert _need(one) is Need.WAIT


def test_what_still_waits_is_asked_for_again() -> None:
    """A server that has not deleted it is asked once more, a second later."""
    one = _asked(running=False)
    one.withdrawn(PENDING, s(5.1))
    assert (_need(one), one.next.due_ns) == (Need.WITHDRAW, s(6.1))


def test_a_prompt_that_ended_before_its_cancel_is_an_ordinary_one() -> None:
    """Nothing is asked of the server, and its ordinary outcome is expected."""
    one = accepted(leave=CANCEL, fetch=False)
    tell(one, *begin(), *run("1", "2", "3"), *success())
    one.history(entry(), s(3))
    row = _end(one)
    assert _told(row) == (Outcome.SUCCESS, Outcome.SUCCESS, None)
    assert row.cancel_asked_ns is None


def test_a_cancel_that_comes_too_late_is_no_failure() -> None:
    """The last node does not look at interrupts: the prompt succeeds, and that is right."""
    one = _asked()
    one.withdrawn(RUNNING, s(5.1))
    tell(one, *run("2", "3"), *success(), at_s=6)
    one.history(entry(), s(6.1))
    one.outputs_checked(s(7), received=1, size_bytes=1)
    assert _told(_end(one)) == (Outcome.SUCCESS, Outcome.SUCCESS, None)


def test_a_prompt_that_fails_after_its_cancel_has_failed() -> None:
    """An error is an error, whoever wanted it to end."""
    one = _asked()
    one.withdrawn(RUNNING, s(5.1))
    failure: dict[str, Any] = {"node_id": "2", "exception_type": "RuntimeError", "exception_message": "no"}
    tell(one, told("execution_error", **failure), told("executing", node=None), at_s=6)
    one.history(entry("execution_error", **failure), s(6.1))
    row = _end(one)
    assert (row.outcome, row.code) == (Outcome.FAILED, Code.NODE_ERROR)
    assert row.outcome != row.expected


def test_a_prompt_that_does_not_end_when_it_should_hangs() -> None:
    """Interrupted, and still there after the time it is given: the evidence of a node that cannot be interrupted."""
    one = _asked()
    one.withdrawn(RUNNING, s(5.1))
    while _need(one) is Need.WAIT:
        one.tick(one.next.due_ns)
        if _need(one) is Need.ASK_HISTORY and one.next.due_ns < s(25):
            one.history(NoEntry(), one.next.due_ns)
            one.queue(RUNNING, one.next.due_ns)
    assert (_need(one), one.next.due_ns) == (Need.ASK_HISTORY, s(25))
    one.history(NoEntry(), s(25.1))
    row = _end(one)
    assert _told(row) == (Outcome.TIMEOUT, Outcome.INTERRUPTED, Code.NODE_HANG)
    assert "20 s" in str(row.error_message)


def test_a_server_lost_after_the_cancel_is_no_cancel() -> None:
    """What is gone with its socket was lost by a restart, not deleted by us."""
    one = _asked(running=False)
    one.socket_lost(s(5.05))
    one.withdrawn(EMPTY_QUEUE, s(5.1))
    one.history(NoEntry(), s(5.4))
    assert _end(one).outcome is Outcome.LOST


@pytest.mark.parametrize(
    ("ends", "code"),
    [
        (entry(), Code.GAVE_UP),
        (entry("execution_error", node_id="2", exception_type="RuntimeError"), Code.NODE_ERROR),
        (NoEntry(), Code.GAVE_UP),
    ],
)
def test_who_gives_up_waits_no_longer_and_the_prompt_goes_on(ends: Any, code: Code) -> None:
    """The outcome is the user's; what became of it on the server is in its times, and in its code if it failed."""
    one = accepted(leave=GIVE_UP)
    tell(one, *begin(), *run("1"))
    assert (_need(one), one.next.due_ns) == (Need.LEAVE, s(5))
    one.left(s(5))
    assert one.is_left
    assert one.row.outcome is None
    assert one.is_on_server
    one.deadline_passed(s(100))
    one.history(ends, s(101))
    row = _end(one)
    assert _told(row) == (Outcome.GIVEN_UP, Outcome.SUCCESS, code)
    assert (row.left_ns, row.cancel_asked_ns, row.fetched_ns) == (s(5), None, None)


def test_who_gives_up_may_take_the_prompt_back() -> None:
    """With `withdraw` the server is asked at once; the user has left before."""
    one = accepted(leave=Leave(at_ns=s(5), give_up=True))
    one.left(s(5))
    assert (_need(one), one.next.due_ns) == (Need.WITHDRAW, s(5))
    one.cancel_asked(s(5))
    one.withdrawn(EMPTY_QUEUE, s(5.1))
    one.history(NoEntry(), s(5.4))
    assert _told(_end(one)) == (Outcome.GIVEN_UP, Outcome.SUCCESS, Code.GAVE_UP)


def test_a_run_that_ends_leaves_what_was_given_up_given_up() -> None:
    """The user had left before the run ended."""
    one = accepted(leave=GIVE_UP)
    one.left(s(5))
    one.stop(s(6))
    assert _told(_end(one)) == (Outcome.GIVEN_UP, Outcome.SUCCESS, Code.GAVE_UP)


def test_nobody_leaves_before_the_server_has_the_prompt() -> None:
    """An answer to POST /prompt that comes late is waited for: without it there is nothing to take back."""
    one = accepted(at_s=7.0, leave=CANCEL)
    assert (_need(one), one.next.due_ns) == (Need.WITHDRAW, s(5))
