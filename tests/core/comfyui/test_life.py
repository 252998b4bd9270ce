"""The life of one prompt: every end it can have, and what it asks for on the way."""

from __future__ import annotations

import json
from typing import Any

import pytest
from tests.core.comfyui.lives import (
    EMPTY_QUEUE,
    GRAPH,
    ID,
    PENDING,
    RUNNING,
    SHAPE,
    accepted,
    begin,
    entry,
    life,
    prompt,
    run,
    s,
    status,
    success,
    tell,
    told,
)

from comfysoak_core.codes import Code
from comfysoak_core.comfyui.answers import Damaged
from comfysoak_core.comfyui.asking import Need, Patience
from comfysoak_core.comfyui.history import Job, NoEntry, NoJob, NoJobsRoute
from comfysoak_core.comfyui.life import PromptLife
from comfysoak_core.comfyui.messages import parse_text
from comfysoak_core.comfyui.shape import GraphShape
from comfysoak_core.rows import Outcome

BROKEN = Damaged(500, "no", "")


def _need(one: PromptLife) -> Need:
    """A call, so that no checker of types takes what is needed next for what was needed before."""
    return one.next.need


def _end(one: PromptLife) -> tuple[str | None, str | None]:
    row = one.row
    assert _need(one) == Need.DONE
    assert row.finished_ns is not None
    return row.outcome, row.code


def _fetched(one: PromptLife) -> PromptLife:
    assert _need(one) == Need.FETCH_OUTPUTS
    one.outputs_checked(s(9), received=len(one.outputs), size_bytes=10)
    return one


def _vanish(one: PromptLife, at_s: float) -> None:
    """Two whole polls that find nothing."""
    for _ in range(2):
        assert _need(one) == Need.ASK_HISTORY
        one.history(NoEntry(), s(at_s))
        assert _need(one) == Need.ASK_QUEUE
        one.queue(EMPTY_QUEUE, s(at_s))
        at_s += 1


def _silent(one: PromptLife) -> float:
    """Nothing comes until the life wants to ask; when that is, in seconds."""
    step = one.next
    assert step.need == Need.WAIT
    one.tick(step.due_ns)
    assert _need(one) == Need.ASK_HISTORY
    return step.due_ns / s(1)


def test_a_whole_life() -> None:
    """Sent, accepted, run, ended, looked up, fetched: a success with all its times."""
    one = life()
    assert _need(one) == Need.SEND
    one = accepted()
    tell(one, *begin(), *run("1", "2", "3"), *success())
    assert _need(one) == Need.ASK_HISTORY
    one.history(entry(), s(3))
    assert _end(_fetched(one)) == (Outcome.SUCCESS, None)
    row = one.row
    assert (row.end_source, row.number, row.outputs_ok, row.fetched_ns) == ("socket", 7, True, s(9))
    assert (row.started_server_ns, row.ended_server_ns) == (1_000_000_000, 3_000_000_000)
    assert (row.nodes_cached, row.nodes_executed, row.nodes_total) == (0, 3, 3)
    assert not one.is_on_server


def test_execution_success_is_not_the_end() -> None:
    """History is written after execution_success, so the life goes on waiting for `executing` null."""
    one = accepted()
    tell(one, *begin(), *run("1", "2", "3"), success()[0])
    assert _need(one) == Need.WAIT
    tell(one, success()[1], at_s=3)
    assert _need(one) == Need.ASK_HISTORY


def test_an_end_that_does_not_come_is_asked_for() -> None:
    """After execution_success a short silence is enough to ask history, which ends it."""
    one = accepted()
    tell(one, *begin(), *run("1", "2", "3"), success()[0])
    assert _silent(one) < 5
    one.history(entry(), s(5))
    assert _end(_fetched(one)) == (Outcome.SUCCESS, Code.LOST_TERMINAL)
    assert one.row.end_source == "history"


def test_messages_may_come_before_the_answer() -> None:
    """The socket may be faster than HTTP, even with the whole prompt."""
    one = life()
    one.sent(s(0.5))
    tell(one, *begin(), *run("1", "2", "3"), *success())
    one.answered(200, json.dumps({"prompt_id": ID, "number": 1, "node_errors": {}}).encode(), s(3))
    one.history(entry(), s(4))
    assert _end(_fetched(one)) == (Outcome.SUCCESS, None)
    assert one.row.accepted_ns == s(3)


def test_old_servers_make_the_id_themselves() -> None:
    """What came under an id not yet known is looked at once the answer has told it."""
    one = PromptLife(prompt(), SHAPE)
    one.sent(s(0.5))
    early = json.dumps({"type": "execution_start", "data": {"prompt_id": "theirs", "timestamp": 5}})
    assert not one.message(parse_text(early), s(1))
    one.answered(200, b'{"prompt_id": "theirs", "number": 1, "node_errors": {}}', s(2))
    assert (one.server_id, one.row.id, one.row.start_received_ns) == ("theirs", ID, s(1))


def test_messages_of_other_prompts_change_nothing() -> None:
    """On a shared socket only its own messages move a life."""
    one = accepted()
    other = parse_text('{"type": "executing", "data": {"node": null, "prompt_id": "other"}}')
    assert one.message(other, s(2)) is False
    assert _need(one) == Need.WAIT
    assert one.row.messages == 0


def test_a_refusal_is_told_with_its_node() -> None:
    """400 from validation ends the life as rejected."""
    error = {"type": "required_input_missing", "message": "missing", "details": "seed", "extra_info": {}}
    body = {"error": {"type": "prompt_outputs_failed_validation"}, "node_errors": {"2": {"errors": [error]}}}
    one = life()
    one.sent(s(1))
    one.answered(400, json.dumps(body).encode(), s(2))
    assert _end(one) == (Outcome.REJECTED, Code.VALIDATION_REJECTED)
    assert (one.row.node_id, one.row.error_type, one.row.http_status) == ("2", "required_input_missing", 400)


@pytest.mark.parametrize("status_code", [500, 413, 403])
def test_other_answers_end_it_as_a_submit_error(status_code: int) -> None:
    """Any other status means that the prompt was not taken."""
    one = life()
    one.sent(s(1))
    one.answered(status_code, b"no", s(2))
    assert _end(one) == (Outcome.FAILED, Code.SUBMIT_ERROR)


def test_a_refused_connection_is_a_server_that_is_down() -> None:
    """Nothing was sent, nothing needs to be asked."""
    one = life()
    one.sent(s(1))
    one.submit_failed("connection refused", s(2), refused=True)
    assert _end(one) == (Outcome.FAILED, Code.SERVER_DOWN)


def test_a_broken_submission_may_have_arrived() -> None:
    """When the connection broke, history is asked before anything is said."""
    one = life()
    one.sent(s(1))
    one.submit_failed("connection reset", s(2))
    assert _need(one) == Need.ASK_HISTORY
    one.history(entry(), s(3))
    assert _end(_fetched(one)) == (Outcome.SUCCESS, Code.LOST_TERMINAL)


def test_a_broken_submission_that_did_not_arrive() -> None:
    """In neither history nor queue: it was the submission that failed."""
    one = life()
    one.sent(s(1))
    one.answered(502, b"bad gateway", s(2))
    _vanish(one, 3)
    assert _end(one) == (Outcome.FAILED, Code.SUBMIT_ERROR)
    assert one.row.error_type == "http 502"


@pytest.mark.parametrize("refusal", [None, b"no"])
def test_a_submission_that_broke_while_the_prompt_ran(refusal: bytes | None) -> None:
    """Its messages have shown that it arrived: it is open, asked after like any other, and only a refusal is odd."""
    one = life()
    one.sent(s(1))
    tell(one, *begin(), *run("1"))
    if refusal is None:
        one.submit_failed("connection reset", s(3))
    else:
        one.answered(500, refusal, s(3))
    one.socket_lost(s(4))
    assert _silent(one) == 6
    one.socket_reopened(s(6))
    assert (one.next.need, one.next.due_ns) == (Need.ASK_HISTORY, s(6))
    tell(one, *run("2", "3"), *success(), at_s=7)
    one.history(entry(), s(8))
    assert _end(_fetched(one)) == (Outcome.SUCCESS, None if refusal is None else Code.BAD_MESSAGE)


def test_an_id_that_is_none_is_not_taken() -> None:
    """A server that tells an empty id is asked by the one it was sent."""
    one = life()
    one.sent(s(0.5))
    one.answered(200, b'{"prompt_id": "", "number": 1, "node_errors": {}}', s(1))
    assert one.server_id == ID


def test_dropped_outputs_make_a_success_a_failure() -> None:
    """200 with node_errors left something out that was asked for."""
    error = {"type": "value_not_in_list", "message": "Value not in list", "details": "x", "extra_info": {}}
    node_errors = {"4": {"errors": [error], "class_type": "VAELoader", "dependent_outputs": ["5"]}}
    one = life(fetch=False)
    one.sent(s(0.5))
    one.answered(200, json.dumps({"prompt_id": ID, "number": 1, "node_errors": node_errors}).encode(), s(1))
    tell(one, *begin(), *run("1", "2", "3"), *success())
    one.history(entry(), s(3))
    assert _end(one) == (Outcome.FAILED, Code.OUTPUT_DROPPED)
    assert (one.row.node_id, one.row.node_class, one.row.error_type) == ("4", "VAELoader", "value_not_in_list")


@pytest.mark.parametrize(
    ("error_type", "message", "ends"),
    [
        ("RuntimeError", "no", (Outcome.FAILED, Code.NODE_ERROR)),
        ("torch.OutOfMemoryError", "Allocation on device", (Outcome.OOM, Code.OOM)),
        ("torch.cuda.OutOfMemoryError", "CUDA out of memory", (Outcome.OOM, Code.OOM)),
        ("torch.AcceleratorError", "CUDA error: out of memory", (Outcome.OOM, Code.OOM)),
        ("torch.AcceleratorError", "CUDA error: an illegal memory access", (Outcome.FAILED, Code.NODE_ERROR)),
        ("X", "x" * 9999 + "\n\nThis error means you ran out of memory on your GPU.", (Outcome.OOM, Code.OOM)),
        (None, None, (Outcome.FAILED, Code.NODE_ERROR)),
    ],
)
def test_errors_of_nodes(error_type: str | None, message: str | None, ends: tuple[Outcome, Code]) -> None:
    """Out of memory is told by type or by the tip; a CUDA error keeps its exception type."""
    one = accepted()
    failure: dict[str, Any] = {
        "node_id": "2",
        "node_type": "KSampler",
        "exception_type": error_type,
        "exception_message": message,
    }
    tell(one, *begin(), *run("1"), told("execution_error", **failure), told("executing", node=None))
    one.history(entry("execution_error", **failure), s(3))
    assert _end(one) == ends
    assert one.row.end_source == "socket"
    assert (one.row.node_id, one.row.error_type) == ("2", error_type)


def test_an_interrupt_nobody_asked_for_is_a_misfire() -> None:
    """Who was interrupted without having been meant is told apart from who was."""
    for asked, code in ((False, Code.INTERRUPT_MISFIRE), (True, None)):
        one = accepted()
        if asked:
            one.cancel_asked(s(2))
        tell(one, *begin(), told("execution_interrupted", node_id="2"), told("executing", node=None))
        one.history(entry("execution_interrupted", node_id="2"), s(3))
        assert _end(one) == (Outcome.INTERRUPTED, code)


def test_all_cached_is_no_work() -> None:
    """A prompt answered from the cache is `cached`, and a hit."""
    one = accepted(fetch=False)
    tell(one, *begin(["1", "2", "3"]), *success())
    one.history(NoEntry(), s(3))
    one.history(NoEntry(), s(4))
    one.stop(s(5))
    assert _end(one) == (Outcome.CACHED, Code.CACHE_HIT)


def test_a_cached_loader_alone_is_work() -> None:
    """The sampler ran."""
    one = accepted(fetch=False, ask_history=False)
    tell(one, *begin(["1"]), *run("2", "3"), *success())
    assert _end(one) == (Outcome.SUCCESS, None)
    assert (one.row.nodes_cached, one.row.nodes_executed) == (1, 2)


def test_outputs_that_alone_ran_again_are_no_work() -> None:
    """Another file name makes the server save again, not sample again."""
    one = accepted(fetch=False, ask_history=False)
    tell(one, *begin(["1", "2"]), *run("3"), *success())
    assert _end(one) == (Outcome.CACHED, Code.CACHE_HIT)


def test_a_sampler_whose_loader_left_the_cache_is_no_work() -> None:
    """A cached node needs no inputs: that its loader is in neither list changes nothing."""
    one = accepted(fetch=False, ask_history=False)
    tell(one, *begin(["2"]), *run("3"), *success())
    assert _end(one) == (Outcome.CACHED, Code.CACHE_HIT)


def test_what_did_not_run_was_not_needed() -> None:
    """A picture from the cache needs no sampler: that it neither ran nor was cached is no work."""
    graph = {**GRAPH, "4": {"class_type": "VAEDecode", "inputs": {"samples": ["2", 0]}}}
    graph["3"] = {"class_type": "SaveImage", "inputs": {"images": ["4", 0]}}
    for lost, outcome in ((False, Outcome.CACHED), (True, Outcome.SUCCESS)):
        one = PromptLife(prompt(), GraphShape.of(graph), fetch=False, ask_history=False)
        one.sent(s(1))
        one.answered(200, b"{}", s(1))
        tell(one, *begin(["4"]))
        if lost:  # then it may have run unseen
            one.socket_lost(s(3))
        tell(one, *run("3"), *success(), at_s=4)
        assert one.row.outcome == outcome


def test_history_that_answers_with_an_error_first_is_no_race() -> None:
    """A route that breaks is told as such, and not as the race every server has."""
    one = accepted(fetch=False)
    tell(one, *begin(), *run("1", "2", "3"), *success())
    one.history(Damaged(500, "expected 200 with an object", ""), s(3))
    one.history(entry(), s(3.1))
    assert _end(one) == (Outcome.SUCCESS, Code.BAD_MESSAGE)
    assert one.row.error_message == "/history answered 500: expected 200 with an object"


def test_history_that_does_not_answer_at_first_is_no_race() -> None:
    """A request without an answer says nothing of what history has."""
    one = accepted(fetch=False)
    tell(one, *begin(), *run("1", "2", "3"), *success())
    one.history(Damaged(0, "timed out", ""), s(3))
    assert not one.is_odd
    one.history(entry(), s(4))
    assert _end(one) == (Outcome.SUCCESS, None)


def test_history_that_never_answers_disagrees_with_nothing() -> None:
    """After a few tries the socket's word stands, and there is no other to set beside it."""
    one = accepted(fetch=False)
    tell(one, *begin(), *run("1", "2", "3"), *success())
    for number in range(Patience().race_tries):
        one.history(Damaged(0, "timed out", ""), s(3 + number))
    assert _end(one) == (Outcome.SUCCESS, None)
    assert one.disagreements == ()


def test_history_that_fills_on_the_second_asking() -> None:
    """An entry that was not there at the end and came soon after is a race, and a success."""
    one = accepted(fetch=False)
    tell(one, *begin(), *run("1", "2", "3"), *success())
    one.history(NoEntry(), s(3))
    step = one.next
    assert (step.need, step.due_ns) == (Need.ASK_HISTORY, s(3.1))
    one.history(entry(), s(3.1))
    assert _end(one) == (Outcome.SUCCESS, Code.HISTORY_RACE)


@pytest.mark.parametrize(("broken", "code"), [(False, None), (True, Code.BAD_MESSAGE)])
def test_history_that_never_has_it(*, broken: bool, code: Code | None) -> None:
    """The socket's word stands, and the disagreement is told; so are answers that were none."""
    one = accepted(fetch=False)
    tell(one, *begin(), *run("1", "2", "3"), *success())
    for number in range(Patience().race_tries):
        assert _need(one) == Need.ASK_HISTORY
        one.history(BROKEN if broken and number % 2 else NoEntry(), s(3 + number))
    assert _end(one) == (Outcome.SUCCESS, code)
    assert one.disagreements == ("the prompt has ended, but history never had it",)


def test_history_is_believed_before_the_socket() -> None:
    """Where the two channels differ, the outcome is that of history, and the disagreement is told."""
    one = accepted(fetch=False)
    tell(one, *begin(), *run("1", "2", "3"), *success())
    one.history(entry("execution_error", exception_type="E"), s(3))
    assert _end(one) == (Outcome.FAILED, Code.NODE_ERROR)
    assert one.disagreements == ("the socket told of success, history of failure",)


def test_a_waiting_prompt_is_looked_for_at_growing_intervals() -> None:
    """As long as the queue has it, it is asked for ever less often."""
    one = accepted()
    waits = []
    for _ in range(3):
        at_s = _silent(one)
        waits.append(at_s)
        one.history(NoEntry(), s(at_s))
        assert _need(one) == Need.ASK_QUEUE
        one.queue(PENDING, s(at_s))
    assert waits == [11, 31, 71]
    assert one.next.due_ns == s(100)  # the deadline comes before the next look


def test_a_message_ends_the_asking() -> None:
    """A message that comes while history is asked is believed; the late answer is not."""
    one = accepted()
    at_s = _silent(one)
    tell(one, *begin(), at_s=at_s)
    one.history(NoEntry(), s(at_s + 0.1))
    one.queue(EMPTY_QUEUE, s(at_s + 0.2))
    one.queue(EMPTY_QUEUE, s(at_s + 0.3))
    assert _need(one) == Need.WAIT


@pytest.mark.parametrize("deadline_s", [3, 5, 20])
def test_a_prompt_that_is_gone_before_a_short_deadline_vanishes(deadline_s: int) -> None:
    """Its cause is found before its time is up: it is in neither queue nor history, which is no timeout."""
    one = PromptLife(prompt(deadline_ns=s(deadline_s)), SHAPE)
    one.sent(s(0.1))
    one.answered(200, json.dumps({"prompt_id": ID, "number": 7, "node_errors": {}}).encode(), s(0.2))
    while (step := one.next).need is not Need.DONE:
        if step.need is Need.ASK_HISTORY:
            one.history(NoEntry(), step.due_ns)
        elif step.need is Need.ASK_QUEUE:
            one.queue(EMPTY_QUEUE, step.due_ns)
        else:
            one.tick(step.due_ns)
    assert one.next.due_ns < s(deadline_s)
    assert _end(one) == (Outcome.VANISHED, Code.LB_MISROUTED)


def test_a_prompt_that_was_deleted_vanishes() -> None:
    """Seen in the queue, then in neither queue nor history over two polls."""
    one = accepted()
    at_s = _silent(one)
    one.history(NoEntry(), s(at_s))
    one.queue(PENDING, s(at_s))
    _vanish(one, _silent(one))
    assert _end(one) == (Outcome.VANISHED, Code.PROMPT_VANISHED)


def test_one_poll_that_misses_it_is_not_enough() -> None:
    """A prompt may go from queue to history between the two questions of one poll."""
    one = accepted(fetch=False)
    at_s = _silent(one)
    one.history(NoEntry(), s(at_s))
    one.queue(EMPTY_QUEUE, s(at_s))
    assert _need(one) == Need.ASK_HISTORY
    one.history(entry(), s(at_s + 1))
    assert _end(one) == (Outcome.SUCCESS, Code.LOST_TERMINAL)


def test_a_prompt_that_was_never_seen_went_elsewhere() -> None:
    """Accepted, yet neither queue, history nor socket ever knew of it: another server took it."""
    one = accepted()
    _vanish(one, _silent(one))
    assert _end(one) == (Outcome.VANISHED, Code.LB_MISROUTED)


def test_a_queue_that_grew_is_a_sighting() -> None:
    """Deleted before anybody looked: the status that came with its acceptance shows that it was there."""
    one = life()
    one.message(status(0), s(0.1))
    one.sent(s(0.9))
    one.message(status(1), s(0.95))
    one.answered(200, json.dumps({"prompt_id": ID, "number": 7, "node_errors": {}}).encode(), s(1))
    one.message(status(0), s(1.5))
    _vanish(one, _silent(one))
    assert _end(one) == (Outcome.VANISHED, Code.PROMPT_VANISHED)
    assert one.row.queue_remaining == 1


def test_after_a_reconnect_history_is_asked_at_once() -> None:
    """Nothing is replayed, so the life asks; the bare `executing` tells the node that runs."""
    one = accepted(fetch=False)
    tell(one, *begin(), *run("1"))
    bare = parse_text('{"type": "executing", "data": {"node": "2"}}')
    assert one.message(bare, s(2.5)) is False  # without a reconnect it is about somebody else
    one.socket_lost(s(3))
    one.socket_reopened(s(4))
    assert (one.next.need, one.next.due_ns) == (Need.ASK_HISTORY, s(4))
    assert one.message(bare, s(4.1))
    assert [(row.node_id, row.in_gap) for row in one.take_node_rows()] == [("1", False), ("2", True)]
    tell(one, *run("3"), *success(), at_s=5)
    one.history(entry(), s(6))
    assert _end(one) == (Outcome.SUCCESS, None)


def test_a_socket_lost_and_back_before_it_is_sent_has_lost_nothing() -> None:
    """Nothing could be told of it yet: it is looked for no more often than others, and nothing is taken for lost."""
    one = life()
    one.socket_lost(s(0.1))
    one.socket_reopened(s(0.5))
    one.sent(s(0.9))
    one.answered(200, json.dumps({"prompt_id": ID, "number": 7, "node_errors": {}}).encode(), s(1))
    assert one.heard.gaps == 0
    _vanish(one, _silent(one))
    assert _end(one) == (Outcome.VANISHED, Code.LB_MISROUTED)


def test_a_prompt_sent_without_its_socket_is_polled() -> None:
    """Its socket was lost before and is still away."""
    one = life()
    one.socket_lost(s(0.1))
    one.sent(s(0.9))
    one.answered(200, json.dumps({"prompt_id": ID, "number": 7, "node_errors": {}}).encode(), s(1))
    assert one.heard.gaps == 1
    assert _silent(one) < 4


def test_a_socket_lost_and_back_while_it_is_sent() -> None:
    """What was told in between is asked for once the server has answered; after that the socket is trusted again."""
    one = life()
    one.sent(s(1))
    one.socket_lost(s(2))
    one.socket_reopened(s(3))
    assert _need(one) == Need.WAIT
    one.answered(200, json.dumps({"prompt_id": ID, "number": 7, "node_errors": {}}).encode(), s(4))
    assert _need(one) == Need.ASK_HISTORY
    one.history(NoEntry(), s(4))
    one.queue(PENDING, s(4))
    assert _silent(one) == 14


def test_without_a_socket_it_polls() -> None:
    """While the socket is away history is asked every few seconds."""
    one = accepted(fetch=False)
    tell(one, *begin())
    one.socket_lost(s(3))
    at_s = _silent(one)
    assert at_s == 5
    one.history(NoEntry(), s(at_s))
    one.queue(RUNNING, s(at_s))
    assert _silent(one) == 7
    one.history(entry(), s(7))
    assert _end(one) == (Outcome.SUCCESS, Code.LOST_TERMINAL)
    assert one.row.end_error_ns == s(2)


def test_a_prompt_without_a_socket_by_design_has_lost_nothing() -> None:
    """Where nobody listens, history is the way, not a finding."""
    one = accepted(fetch=False, socket=False)
    _silent(one)
    one.history(entry(), s(5))
    assert _end(one) == (Outcome.SUCCESS, None)


def test_absent_after_the_socket_was_lost_means_a_restart() -> None:
    """A server that knows nothing of it after the sockets dropped is a new one."""
    one = accepted()
    tell(one, *begin())
    one.socket_lost(s(3))
    one.socket_reopened(s(8))
    _vanish(one, 9)
    assert _end(one) == (Outcome.LOST, Code.SERVER_RESTARTED)


@pytest.mark.parametrize("gone", [True, False])
def test_a_server_that_goes_takes_its_prompts_along(gone: bool) -> None:
    """Gone or restarted: what was in it is lost."""
    one = accepted()
    tell(one, *begin())
    one.server_gone(s(3)) if gone else one.server_restarted(s(3))
    assert _end(one) == (Outcome.LOST, Code.SERVER_DOWN if gone else Code.SERVER_RESTARTED)


def test_a_server_that_goes_after_the_end() -> None:
    """The prompt had succeeded, but its outputs cannot be had: a failure, unless nobody wanted them."""
    for fetch, ends in ((True, (Outcome.FAILED, Code.SERVER_DOWN)), (False, (Outcome.SUCCESS, None))):
        one = accepted(fetch=fetch)
        shown = told("executed", node="3", output={"images": [{"filename": "a.png"}]})
        tell(one, *begin(), *run("1", "2", "3"), shown, *success())
        one.server_gone(s(4))
        assert _end(one) == ends


def test_files_outlive_a_restart() -> None:
    """After a restart the outputs of a prompt that had ended can still be fetched."""
    one = accepted()
    tell(one, *begin(), *run("1", "2", "3"), *success())
    one.history(entry(), s(3))
    one.server_restarted(s(4))
    assert _end(_fetched(one)) == (Outcome.SUCCESS, None)


def test_messages_after_the_end_change_no_times() -> None:
    """The first end counts; what comes after it is told as bad."""
    one = accepted(fetch=False)
    tell(one, *begin(), *run("1", "2", "3"), *success())
    ended_ns = one.row.end_received_ns
    tell(one, *success(), at_s=5)
    assert one.heard.ended_ns == ended_ns
    one.history(entry(), s(6))
    assert _end(one) == (Outcome.SUCCESS, Code.BAD_MESSAGE)


def test_the_deadline_asks_once_more() -> None:
    """At the deadline history has the last word; without it the prompt is a timeout that may still run."""
    for answer, ends in (
        (entry(), (Outcome.SUCCESS, Code.LOST_TERMINAL)),
        (NoEntry(), (Outcome.TIMEOUT, Code.DEADLINE)),
        (BROKEN, (Outcome.TIMEOUT, Code.DEADLINE)),
    ):
        one = accepted(fetch=False)
        tell(one, *begin(), at_s=95)
        assert (one.next.need, one.next.due_ns) == (Need.WAIT, s(100))
        one.tick(s(100))
        assert _need(one) == Need.ASK_HISTORY
        one.history(answer, s(101))
        assert _end(one) == ends
        assert one.is_on_server is (ends[0] is Outcome.TIMEOUT)


def test_a_server_that_never_answers_is_a_timeout() -> None:
    """Neither POST nor the last question is answered: the clock alone ends it."""
    one = life()
    one.sent(s(1))
    assert one.next.due_ns == s(100)
    one.tick(s(100))
    one.tick(s(104))
    assert one.row.outcome is None
    one.tick(s(105))
    assert _end(one) == (Outcome.TIMEOUT, Code.DEADLINE)


def test_jobs_stand_for_history_and_queue() -> None:
    """Where the server has /api/jobs, one answer tells it all."""
    one = accepted(fetch=False)
    at_s = _silent(one)
    one.job(NoJobsRoute(), s(at_s))
    one = accepted(fetch=False)
    at_s = _silent(one)
    one.job(Job(ID, "pending", None), s(at_s))
    at_s = _silent(one)
    one.job(NoJob(), s(at_s))
    assert _need(one) == Need.ASK_HISTORY
    one.job(NoJob(), s(at_s + 1))
    assert _end(one) == (Outcome.VANISHED, Code.PROMPT_VANISHED)


def test_outputs_decide_in_the_end() -> None:
    """A success whose outputs are missing or wrong is a failure with their code."""
    for code, expected in ((Code.OUTPUT_MISSING, Code.OUTPUT_MISSING), (None, Code.OUTPUT_WRONG)):
        one = accepted()
        tell(one, *begin(), *run("1", "2", "3"), *success())
        one.history(entry(), s(3))
        assert [file.filename for file in one.outputs] == ["a_00001_.png"]
        one.outputs_checked(s(4), received=0, size_bytes=0, problem="404", code=code)
        assert _end(one) == (Outcome.FAILED, expected)
        assert (one.row.outputs_ok, one.row.output_problem) == (False, "404")


def test_a_prompt_that_shows_nothing_needs_no_fetching() -> None:
    """No files and none expected: done. None where some were expected: the check decides."""
    one = accepted()
    tell(one, *begin(), *run("1", "2", "3"), *success())
    one.history(entry(outputs={}), s(3))
    assert _end(one) == (Outcome.SUCCESS, None)
    one = PromptLife(prompt(outputs_expected=1), SHAPE)
    one.sent(s(0.5))
    one.answered(200, json.dumps({"prompt_id": ID, "number": 7, "node_errors": {}}).encode(), s(1))
    tell(one, *begin(), *run("1", "2", "3"), *success())
    one.history(entry(outputs={}), s(3))
    assert _need(one) == Need.FETCH_OUTPUTS


def test_bad_messages_are_told_of_a_success() -> None:
    """What came in between does not change the outcome, but the row says so."""
    one = accepted(fetch=False, ask_history=False)
    one.message(parse_text("{"), s(1.5))
    tell(one, *begin(), *run("1", "2", "3"), *success())
    assert _end(one) == (Outcome.SUCCESS, Code.BAD_MESSAGE)


def test_the_end_of_the_run() -> None:
    """What has not begun was not sent, what is open is aborted, what has ended keeps its end."""
    due, open_, ended = life(), accepted(), accepted()
    tell(ended, *begin(), *run("1", "2", "3"), *success())
    for one, ends in (
        (due, (Outcome.NOT_SENT, None)),
        (open_, (Outcome.ABORTED, None)),
        (ended, (Outcome.SUCCESS, None)),
    ):
        one.stop(s(50))
        assert _end(one) == ends
        one.stop(s(60))
        assert one.row.finished_ns == s(50)
    assert ended.row.outputs_ok is None


def test_what_could_not_be_sent_says_why() -> None:
    """A prompt the harness could not send is a row with the reason."""
    one = life()
    one.not_sent("no user was free", s(1))
    assert _end(one) == (Outcome.NOT_SENT, None)
    assert one.row.error_message == "no user was free"


def test_nothing_moves_a_finished_life() -> None:
    """Whatever comes after the end, the row stays as it is."""
    one = accepted()
    one.stop(s(5))
    row = one.row
    tell(one, *begin(), *success(), at_s=6)
    one.history(entry(), s(6))
    one.queue(RUNNING, s(6))
    one.server_gone(s(6))
    one.answered(200, b"{}", s(6))
    one.outputs_checked(s(6), received=1, size_bytes=1)
    assert one.row == row
