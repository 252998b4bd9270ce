"""A prompt sent through a gateway is found again in ComfyUI by its text, and by having come after it was sent."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from comfysoak_core.comfyui.answers import Damaged
from comfysoak_core.gateway.traces import MAX_KNOWN, MAX_SIGHTED, Ledger, Trace, parse_history_page, parse_queue_page


def graph(text: str) -> dict[str, Any]:
    return {"6": {"class_type": "CLIPTextEncode", "inputs": {"text": text, "clip": ["4", 1]}}}


def queued(prompt_id: str, number: float, text: str) -> Trace:
    return Trace(prompt_id, number, graph(text))


def ended(prompt_id: str, number: float, text: str, *, failed: bool = False) -> Trace:
    end = "execution_error" if failed else "execution_success"
    status = {"messages": [[end, {"timestamp": 1000}]]}
    page = {prompt_id: {"prompt": [number, prompt_id, graph(text), {}, []], "outputs": {}, "status": status}}
    found = parse_history_page(200, json.dumps(page).encode())
    assert isinstance(found, tuple)
    return found[0]


def test_what_was_there_before_is_not_ours() -> None:
    """The same text of an earlier run, or of somebody else."""
    ledger = Ledger()
    ledger.note([ended("old", 1, "cat")], 100)
    ledger.note([ended("old", 1, "cat"), ended("new", 2, "cat")], 300)
    traces = [ended("old", 1, "cat"), ended("new", 2, "cat")]
    taken = ledger.take(traces, "cat", 200, succeeded=True)
    assert taken is not None
    assert taken.prompt_id == "new"
    assert ledger.take(traces, "cat", 200, succeeded=True) is None


def test_of_several_one_that_ended_as_the_answer_says_is_taken() -> None:
    """Then the one that was queued first."""
    ledger = Ledger()
    traces = [
        queued("waits", 1, "cat"),
        ended("failed", 2, "cat", failed=True),
        ended("b", 4, "cat"),
        ended("a", 3, "cat"),
    ]
    ledger.note(traces, 100)
    ids = []
    while (taken := ledger.take(traces, "cat", 50, succeeded=True)) is not None:
        ids.append(taken.prompt_id)
    assert ids == ["a", "b", "failed", "waits"]


def test_a_prompt_that_was_seen_waiting_and_is_nowhere_is_gone() -> None:
    """One that has ended is not, nor one that was never seen, nor one that is somebody's."""
    ledger = Ledger()
    ledger.note([queued("a", 1, "cat")], 100)
    assert ledger.gone([], "cat", 50)
    assert not ledger.gone([], "dog", 50)
    assert not ledger.gone([queued("a", 1, "cat")], "cat", 50)
    ledger.note([ended("a", 1, "cat")], 110)
    assert not ledger.gone([], "cat", 50)


def test_a_ledger_does_not_grow_without_end() -> None:
    """The oldest are forgotten."""
    ledger = Ledger()
    for number in range(MAX_KNOWN + 10):
        ledger.note([queued(str(number), number, "x")], number)
    kept = len(ledger._first_seen), len(ledger._sighted)  # there is no other way to see
    assert kept == (MAX_KNOWN, MAX_SIGHTED)


def test_queue_and_history_are_read_with_their_graphs() -> None:
    """What runs is told from what waits."""
    item = [7, "a", graph("cat"), {}, []]
    found = parse_queue_page(
        200, json.dumps({"queue_running": [item], "queue_pending": [[8, "b", {}, {}, []]]}).encode()
    )
    assert isinstance(found, tuple)
    assert [(trace.prompt_id, trace.runs, trace.number) for trace in found] == [("a", True, 7), ("b", False, 8)]
    assert found[0].has_text("cat")
    assert isinstance(parse_history_page(500, b""), Damaged)


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.text(max_size=5),
    lambda children: st.lists(children, max_size=5) | st.dictionaries(st.text(max_size=5), children, max_size=4),
    max_leaves=20,
)


@given(_JSON)
def test_hostile_answers_are_read_as_far_as_they_go(document: Any) -> None:
    """Any JSON in the place of a queue, a history or a graph: values, no error."""
    for body in (
        document,
        {"queue_running": document},
        {"a": {"prompt": document}},
        {"a": {"prompt": [1, "a", document]}},
    ):
        content = json.dumps(body).encode()
        for found in (parse_queue_page(200, content), parse_history_page(200, content)):
            for trace in found if isinstance(found, tuple) else ():
                assert not trace.has_text("nothing of that kind")
                assert not trace.was_cached
