"""For any sequence of events, in any order, each prompt ends in exactly one outcome, and its memory stays bounded."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import orjson
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.core.comfyui.lives import (
    EMPTY_QUEUE,
    ID,
    PENDING,
    RUNNING,
    SHAPE,
    accepted,
    begin,
    entry,
    prompt,
    run,
    s,
    status,
    success,
    told,
)
from tests.core.comfyui.test_messages import FIELDS, JSON, KINDS

from comfysoak_core.comfyui.answers import Damaged, Queue
from comfysoak_core.comfyui.asking import Need
from comfysoak_core.comfyui.history import MAX_FILES, Job, NoEntry, NoJob, NoJobsRoute, history_entry
from comfysoak_core.comfyui.leaving import Leave
from comfysoak_core.comfyui.life import PromptLife
from comfysoak_core.comfyui.messages import parse_binary, parse_text
from comfysoak_core.comfyui.node_runs import MAX_EXPANDED
from comfysoak_core.rows import Outcome

Event = Callable[[PromptLife, int], Any]

MESSAGES = [
    *begin(),
    *begin(["1", "2", "3"]),
    *run("1", "2", "3", "2.0.0.1"),
    *success(),
    told("progress", node="2", value=1, max=20),
    told("executed", node="3", output={"images": [{"filename": "a.png"}]}),
    told("execution_error", node_id="2", exception_type="RuntimeError", exception_message="no"),
    told("execution_interrupted", node_id="2"),
    parse_text('{"type": "executing", "data": {"node": "2"}}'),
    parse_text('{"type": "executing", "data": {"node": null, "prompt_id": "other"}}'),
    parse_text("{"),
    parse_binary(bytes([0, 0, 0, 1, 0, 0, 0, 1])),
    status(0),
    status(3),
]
ANSWERS = [
    (200, {"prompt_id": ID, "number": 1, "node_errors": {}}),
    (200, {"prompt_id": "theirs", "number": 1, "node_errors": {"2": {"errors": [{"type": "t"}]}}}),
    (200, None),
    (400, {"error": {"type": "prompt_no_outputs"}, "node_errors": []}),
    (500, None),
    (502, None),
]
ENTRIES = [entry(), entry("execution_error", exception_type="E"), entry("execution_interrupted"), entry(outputs={})]
HISTORY = [*ENTRIES, history_entry(ID, {}), NoEntry(), NoEntry(), NoEntry(), Damaged(500, "", "")]
QUEUES: list[Queue | Damaged] = [
    EMPTY_QUEUE,
    EMPTY_QUEUE,
    EMPTY_QUEUE,
    RUNNING,
    PENDING,
    Queue(("x",), (), 1.0),
    Damaged(200, "", ""),
]
JOBS = [
    Job(ID, "pending", None),
    Job(ID, "failed", history_entry(ID, {})),
    NoJob(),
    NoJobsRoute(),
    Damaged(500, "", ""),
]


def _answered(answer: tuple[int, Any]) -> Event:
    return lambda one, at_ns: one.answered(answer[0], json.dumps(answer[1]).encode(), at_ns)


def _any_message() -> st.SearchStrategy[Event]:
    data = st.dictionaries(st.sampled_from(FIELDS), JSON, max_size=3).map(lambda given: {**given, "prompt_id": ID})
    return st.builds(
        lambda kind, said: (
            lambda one, at_ns: one.message(parse_text(json.dumps({"type": kind, "data": said})), at_ns, 0, 10)
        ),
        st.sampled_from(KINDS),
        data,
    )


OTHERS: list[Event] = [
    PromptLife.sent,
    PromptLife.tick,
    PromptLife.socket_lost,
    PromptLife.socket_reopened,
    PromptLife.deadline_passed,
    lambda one, at_ns: one.submit_failed("reset", at_ns),
    lambda one, at_ns: one.submit_failed("refused", at_ns, refused=True),
    lambda one, at_ns: one.outputs_checked(at_ns, received=1, size_bytes=5),
    lambda one, at_ns: one.outputs_checked(at_ns, received=0, size_bytes=0, problem="missing"),
    PromptLife.cancel_asked,
    PromptLife.left,
]
EVENTS: st.SearchStrategy[Event] = st.one_of(
    st.sampled_from(MESSAGES).map(lambda message: lambda one, at_ns: one.message(message, at_ns, 5, 100)),
    _any_message(),
    st.sampled_from(ANSWERS).map(_answered),
    st.sampled_from(HISTORY).map(lambda answer: lambda one, at_ns: one.history(answer, at_ns)),
    st.sampled_from(QUEUES).map(lambda answer: lambda one, at_ns: one.queue(answer, at_ns)),
    st.sampled_from(JOBS).map(lambda answer: lambda one, at_ns: one.job(answer, at_ns)),
    st.sampled_from(OTHERS),
    st.sampled_from(QUEUES).map(lambda answer: lambda one, at_ns: one.withdrawn(answer, at_ns)),
    st.sampled_from([PromptLife.server_gone, PromptLife.server_restarted]),
)
LEAVES: st.SearchStrategy[Leave | None] = st.none() | st.builds(
    Leave, at_ns=st.integers(0, s(90)), withdraw=st.booleans(), give_up=st.booleans(), within_ns=st.integers(0, s(15))
)


@settings(max_examples=400)
@given(
    st.lists(st.tuples(EVENTS, st.integers(0, s(20))), max_size=40), st.booleans(), st.booleans(), st.booleans(), LEAVES
)
def test_each_prompt_ends_in_exactly_one_outcome(
    events: list[tuple[Event, int]], fetch: bool, ask_history: bool, socket: bool, leave: Leave | None
) -> None:
    """Any events in any order: one outcome, at the latest at the end of the run, and it never changes."""
    one = PromptLife(prompt(), SHAPE, fetch=fetch, ask_history=ask_history, socket=socket, leave=leave)
    at_ns, final = 0, None
    for event, pause_ns in events:
        at_ns += pause_ns
        event(one, at_ns)
        done = one.next.need is Need.DONE
        assert done is (one.row.outcome is not None)
        if final is not None:
            assert one.row == final
        elif done:
            final = one.row
    one.stop(at_ns + 1)
    row = one.row
    assert one.next.need is Need.DONE
    assert row.outcome in set(Outcome)
    assert final is None or row == final
    assert (row.outcome == Outcome.GIVEN_UP) is (row.left_ns is not None)
    assert (row.end_source is None) is (row.end_received_ns is None)
    assert row.finished_ns is not None
    for node in one.take_node_rows():
        assert node.ended_ns is None or node.ended_ns >= node.started_ns


@settings(max_examples=200)
@given(st.data(), LEAVES)
def test_a_driver_that_does_as_it_is_told_comes_to_an_end(data: st.DataObject, leave: Leave | None) -> None:
    """Whatever the server answers, a driver that follows `next` is done soon after the deadline."""
    one = PromptLife(prompt(), SHAPE, leave=leave)
    now_ns = 0
    for _ in range(400):
        step = one.next
        if step.need is Need.DONE:
            break
        now_ns = max(now_ns, step.due_ns)
        _obey(one, step.need, now_ns, data)
        if data.draw(st.integers(0, 3)) == 0:
            one.message(data.draw(st.sampled_from(MESSAGES)), now_ns)
    assert one.next.need is Need.DONE
    assert now_ns <= s(120)


def _obey(one: PromptLife, need: Need, at_ns: int, data: st.DataObject) -> None:
    if need is Need.SEND:
        one.sent(at_ns)
        _answered(data.draw(st.sampled_from(ANSWERS)))(one, at_ns)
    elif need is Need.ASK_HISTORY:
        one.history(data.draw(st.sampled_from(HISTORY)), at_ns)
    elif need is Need.ASK_QUEUE:
        one.queue(data.draw(st.sampled_from(QUEUES)), at_ns)
    elif need is Need.FETCH_OUTPUTS:
        one.outputs_checked(at_ns, received=1, size_bytes=1)
    elif need is Need.LEAVE:
        one.left(at_ns)
    elif need is Need.WITHDRAW:
        one.cancel_asked(at_ns)
        one.withdrawn(data.draw(st.sampled_from(QUEUES)), at_ns)
    else:
        one.tick(at_ns)


def test_memory_is_bounded_whatever_the_server_sends() -> None:
    """A server that names ever new nodes and files is listened to up to a bound."""
    one = accepted()
    many = [{"filename": f"{number}.png"} for number in range(MAX_FILES + 10)]
    for number in range(60):
        ids = {f"{number}-{i}": {"state": "running" if i % 2 else "finished"} for i in range(100)}
        ids["x" * 100_000 + str(number)] = {"state": "running"}
        one.message(told("progress_state", nodes=ids), s(2))
        one.message(told("executed", node="3", output={"images": many}), s(2))
        one.message(parse_text(b"{" * 10_000), s(2))
    assert len(one.outputs) == MAX_FILES
    rows = one.take_node_rows()
    assert len(rows) <= MAX_EXPANDED + len(SHAPE.classes)
    assert all(len(row.node_id) <= 200 for row in rows)
    one.stop(s(3))
    assert len(orjson.dumps(one.row)) < 10_000


def test_texts_of_the_server_are_cut() -> None:
    """A megabyte of error is a row of a few kilobytes, and so is one in the place of an id."""
    one = accepted()
    huge = "x" * 1_000_000
    one.message(told("executing", node="2", display_node=huge), s(2))
    one.message(told("executed", node=huge, output={"images": [{"filename": "a"}], "text": ["t"]}), s(2))
    assert len(orjson.dumps(one.take_node_rows())) < 10_000
    assert len(one.outputs[0].node_id) == len(one.texts[0].node_id) == 200
    error = told("execution_error", node_id=huge, node_type=huge, exception_type=huge, exception_message=huge)
    one.message(error, s(2))
    one.message(told("executing", node=None), s(2))
    one.stop(s(3))
    assert len(orjson.dumps(one.row)) < 10_000
