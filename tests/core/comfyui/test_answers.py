"""Answers of HTTP routes: both versions, damaged ones, hostile ones."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.core.comfyui.recorded import CASES, Step, body_of, steps_of
from tests.core.comfyui.test_messages import JSON

from comfysoak_core.comfyui.answers import (
    MAX_NODE_ERRORS,
    Accepted,
    Damaged,
    Queue,
    Refused,
    SubmitFailed,
    SystemStats,
    parse_queue,
    parse_queue_remaining,
    parse_submission,
    parse_system_stats,
)
from comfysoak_core.comfyui.history import (
    HistoryEntry,
    Job,
    NoEntry,
    NoJob,
    NoJobsRoute,
    parse_history,
    parse_job,
)


def _answers(method: str, path: str, cases: list[str] | None = None) -> list[tuple[str, Step]]:
    return [
        (case, step)
        for case in cases or CASES
        for step in steps_of(case)
        if step["dir"] == "response"
        and step["method"] == method
        and step["path"].partition("?")[0].removeprefix("/api") == path
        and step["status"] is not None
        and body_of(step) is not None
    ]


def _json(document: object) -> bytes:
    return json.dumps(document).encode()


def test_every_recorded_submission_is_understood() -> None:
    """200 is accepted, 400 refused, all else failed, in all recorded answers to POST /prompt."""
    kinds = {200: Accepted, 400: Refused}
    answers = _answers("POST", "/prompt")
    assert len(answers) > 100
    for case, step in answers:
        found = parse_submission(step["status"], body_of(step) or b"")
        assert isinstance(found, kinds.get(step["status"], SubmitFailed)), (case, found)


def test_a_refusal_names_type_node_and_input() -> None:
    """What validation says is kept: the type, the node, its class and the input."""
    (_, step), *_ = _answers("POST", "/prompt", ["03c_validation_out_of_range"])
    found = parse_submission(400, body_of(step) or b"")
    assert isinstance(found, Refused)
    assert found.error_type == "prompt_outputs_failed_validation"
    assert {(p.node_id, p.node_class, p.type, p.input_name) for p in found.node_problems} == {
        ("1", "EmptyImage", "value_bigger_than_max", "batch_size"),
        ("1", "EmptyImage", "value_smaller_than_min", "width"),
    }


def test_accepted_with_node_errors_keeps_them() -> None:
    """A 200 may leave out outputs, and then says why."""
    (_, step), *_ = _answers("POST", "/prompt", ["22_worker_thread_dies"])
    found = parse_submission(200, body_of(step) or b"")
    assert isinstance(found, Accepted)
    assert [problem.type for problem in found.node_problems] == ["exception_during_validation"]


@pytest.mark.parametrize(
    ("status", "body", "unsure"),
    [
        (200, b"<html>", True),
        (200, b"", True),
        (200, b"[]", True),
        (400, b"<html>bad request</html>", False),
        (400, b'{"error": "no"}', False),
        (413, b"Maximum request body size 1 exceeded.", False),
        (500, b"500 Internal Server Error", False),
        (502, b"bad gateway", True),
        (504, b"", True),
    ],
)
def test_other_answers_to_a_submission_are_failures(status: int, body: bytes, unsure: bool) -> None:
    """Only where something in between answered may the prompt have arrived."""
    found = parse_submission(status, body)
    assert isinstance(found, SubmitFailed)
    assert found.unsure is unsure


def test_node_errors_are_bounded() -> None:
    """A server that names a million errors is heard up to a bound."""
    errors = {str(n): {"class_type": "X" * 9999, "errors": [{"type": "t", "message": "m" * 9999}]} for n in range(200)}
    found = parse_submission(400, _json({"error": {"type": "t"}, "node_errors": errors}))
    assert isinstance(found, Refused)
    assert len(found.node_problems) == MAX_NODE_ERRORS
    assert all(len(problem.message) <= 2000 for problem in found.node_problems)


def test_every_recorded_queue_is_understood() -> None:
    """Pending prompts come in the order in which they will run, not in that of the heap."""
    answers = _answers("GET", "/queue")
    assert len(answers) > 10
    for _, step in answers:
        found = parse_queue(200, body_of(step) or b"")
        assert isinstance(found, Queue)
        wire = step["json"]
        assert found.remaining == len(wire["queue_running"]) + len(wire["queue_pending"])
        assert list(found.pending) == [item[1] for item in sorted(wire["queue_pending"], key=lambda item: item[:2])]


def test_a_queue_with_odd_items_keeps_the_others() -> None:
    """Items that are none are left out."""
    found = parse_queue(200, _json({"queue_running": [[1, "a"]], "queue_pending": [3, [], ["x", "y"], [2.5, "b"]]}))
    assert found == Queue(("a",), ("b",), 2.5)
    assert "b" in found
    assert "y" not in found


def test_the_recorded_statistics_are_understood() -> None:
    """Both versions tell version, memory and devices."""
    versions = set()
    for _, step in _answers("GET", "/system_stats"):
        found = parse_system_stats(200, body_of(step) or b"")
        assert isinstance(found, SystemStats)
        assert found.devices[0].type == "cpu"
        assert found.ram_total_bytes
        versions.add(found.comfyui_version)
    assert versions == {"0.3.64", "0.33.0"}


def test_queue_remaining() -> None:
    """GET /prompt tells one number."""
    assert parse_queue_remaining(200, b'{"exec_info": {"queue_remaining": 3}}') == 3
    assert isinstance(parse_queue_remaining(200, b'{"exec_info": []}'), Damaged)


def test_every_recorded_history_entry_is_understood() -> None:
    """Each entry has an end, times in order, and its files."""
    seen = 0
    for case in CASES:
        for step in steps_of(case):
            path = step.get("path", "")
            if step["dir"] == "response" and path.startswith("/history/") and body_of(step) and step["status"] == 200:
                found = parse_history(path.removeprefix("/history/"), 200, body_of(step) or b"")
                assert isinstance(found, HistoryEntry | NoEntry), (case, found)
                if isinstance(found, HistoryEntry):
                    seen += 1
                    assert found.succeeded is (found.failure is None)
                    assert found.started_ms is not None
                    assert found.ended_ms is not None
                    assert found.started_ms <= found.ended_ms
    assert seen > 30


def test_an_entry_without_a_status_tells_what_it_can() -> None:
    """`status` may be null; files are files all the same."""
    entry = {"prompt": [3, "p"], "status": None, "outputs": {"9": {"images": [{"filename": "a.png"}, 3], "x": "y"}}}
    found = parse_history("p", 200, _json({"p": entry}))
    assert isinstance(found, HistoryEntry)
    assert (found.succeeded, found.number, [file.filename for file in found.files]) == (None, 3, ["a.png"])


@pytest.mark.parametrize("kind", ["execution_error", "execution_interrupted", "execution_success"])
def test_the_messages_of_an_entry_tell_its_end(kind: str) -> None:
    """The end is in the messages, also where no status_str says it."""
    found = parse_history("p", 200, _json({"p": {"status": {"messages": [[kind, {"timestamp": 9}]]}}}))
    assert isinstance(found, HistoryEntry)
    assert (found.succeeded, found.ended_ms) == (kind == "execution_success", 9)
    assert (found.failure is not None and found.failure.interrupted) is (kind == "execution_interrupted")


@pytest.mark.parametrize(
    ("status", "body"), [(500, b""), (200, b"<html>"), (200, b"[]"), (200, b'{"q": {}}'), (200, b'{"p": 3}')]
)
def test_damaged_history(status: int, body: bytes) -> None:
    """What is no answer about this prompt is told apart from an empty history."""
    assert isinstance(parse_history("p", status, body), Damaged)
    assert parse_history("p", 200, b"{}") == NoEntry()


def test_recorded_jobs_are_understood() -> None:
    """Every state of a job, and the two kinds of 404, are told apart."""
    states = set()
    for case in CASES:
        for step in steps_of(case):
            path = step.get("path", "")
            if step["dir"] == "response" and step["method"] == "GET" and path.startswith("/api/jobs/"):
                found = parse_job(path.removeprefix("/api/jobs/"), step["status"], body_of(step) or b"")
                states.add(found.state if isinstance(found, Job) else type(found).__name__)
                if isinstance(found, Job) and found.entry is not None:
                    assert found.entry.succeeded is (found.state == "completed")
                    assert found.entry.ended_ms is not None
    assert states >= {"pending", "in_progress", "completed", "failed", "cancelled", "NoJob", "Damaged"}
    assert isinstance(parse_job("p", 200, b'{"status": []}'), Damaged)
    assert parse_job("p", 404, b"") == NoJobsRoute()
    assert parse_job("p", 404, b'{"error": "Job not found"}') == NoJob()


def test_a_job_without_its_status_is_read_from_its_fields() -> None:
    """In lists a job has no execution_status; state, times and error are enough."""
    job = {"status": "failed", "priority": 4, "execution_start_time": 5, "execution_end_time": 9}
    found = parse_job("p", 200, _json(job | {"execution_error": {"node_id": "2", "exception_type": "E"}}))
    assert isinstance(found, Job)
    assert found.entry is not None
    assert (found.entry.succeeded, found.entry.started_ms, found.entry.ended_ms) == (False, 5, 9)
    assert found.entry.failure is not None
    assert found.entry.failure.error_type == "E"


PARSERS: list[Callable[[int, bytes], Any]] = [
    parse_submission,
    parse_queue,
    parse_queue_remaining,
    parse_system_stats,
    lambda status, body: parse_history("p", status, body),
    lambda status, body: parse_job("p", status, body),
]
DOCUMENTS = st.one_of(
    JSON,
    st.dictionaries(st.sampled_from(["queue_running", "queue_pending", "exec_info", "system", "devices"]), JSON),
    st.fixed_dictionaries({}, optional={"prompt_id": JSON, "number": JSON, "node_errors": JSON, "error": JSON}),
    st.fixed_dictionaries(
        {"status": JSON | st.just("completed")}, optional={"outputs": JSON, "execution_status": JSON}
    ),
    st.fixed_dictionaries(
        {
            "p": st.fixed_dictionaries(
                {},
                optional={
                    "prompt": JSON,
                    "outputs": st.dictionaries(st.text(max_size=3), st.dictionaries(st.text(max_size=3), JSON)) | JSON,
                    "status": st.fixed_dictionaries(
                        {"messages": st.lists(st.tuples(st.sampled_from(["execution_error", "execution_start"]), JSON))}
                    ),
                },
            )
        }
    ),
)


@settings(max_examples=400)
@given(st.sampled_from(PARSERS), st.sampled_from([200, 200, 400, 404]), DOCUMENTS)
def test_no_document_ever_raises(parse: Callable[[int, bytes], Any], status: int, document: Any) -> None:
    """Whatever a server answers becomes a value."""
    assert parse(status, _json(document)) is not None


@given(st.sampled_from(PARSERS), st.sampled_from([200, 400, 404, 500]), st.binary(max_size=100))
def test_no_body_ever_raises(parse: Callable[[int, bytes], Any], status: int, body: bytes) -> None:
    """Bytes of any kind become a value."""
    assert parse(status, body) is not None
