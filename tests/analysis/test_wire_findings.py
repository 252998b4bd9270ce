"""Findings of codes that rows carry: each with the evidence that tells its causes apart, none for what was intended."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from comfysoak_analysis import open_run
from comfysoak_analysis.findings.detectors import find_all
from comfysoak_analysis.findings.finding import Finding
from comfysoak_analysis.findings.told import told
from comfysoak_analysis.gpu_state import GpuStates
from comfysoak_core.codes import CATALOGUE, Area, Code
from comfysoak_core.rows import Event, NodeRun, Prompt, Row, Server, ServerLog, Session
from tests.analysis.planted import SERVER, START_NS, plant
from tests.analysis.test_findings import found
from tests.analysis.test_frames import S, prompt

OTHER = "http://gpu-2:8188"
_DERIVED = {Code.WORKER_DEAD, Code.NODE_HANG, Code.WS_IDLE_CUT, Code.HISTORY_BLOAT, Code.OUTPUT_CORRUPT}


def ns(seconds: float) -> int:
    return START_NS + round(seconds * S)


def ended(number: int, at_s: float, code: str | None, outcome: str = "failed", **more: Any) -> Prompt:
    """A prompt that was sent a second before and ended so."""
    values: dict[str, Any] = {
        "workflow": "sdxl", "scheduled_ns": ns(at_s - 1), "sent_ns": ns(at_s - 1), "finished_ns": ns(at_s),
        "outcome": outcome, "code": code,
    } | more  # fmt: skip
    return prompt(number, **values)


def socket(name: str, from_s: float, to_s: float, **more: Any) -> Session:
    values: dict[str, Any] = {"role": "user", "client_id": "c", "server": SERVER, "closed_by": "network"} | more
    return Session(id=name, worker="w", opening_ns=ns(from_s), opened_ns=ns(from_s), closed_ns=ns(to_s),
                   longest_silence_ns=S, **values)  # fmt: skip


def event(at_s: float, kind: str, code: str | None = None, server: str | None = SERVER, **more: Any) -> Event:
    return Event(at_ns=ns(at_s), source="sampler", kind=kind, server=server, code=code, **more)


def findings(directory: Path, *rows: Row, **changes: Any) -> Mapping[str, Finding]:
    """Of a recording with these rows alone."""
    values: dict[str, Any] = {"prompts_most": 0, "users": 0, "watchers": 0, "gpu": False, "duration_s": 120.0}
    return found(open_run(plant(directory, **(values | changes), other_rows=rows)))


@pytest.mark.parametrize("code", [one for one in CATALOGUE if CATALOGUE[one].area in {Area.WIRE, Area.EXECUTION}])
def test_every_code_of_wire_and_execution_that_rows_carry_is_found(
    code: Code, everything: Mapping[str, Finding]
) -> None:
    """Whoever decided on it, load or probe."""
    if code not in _DERIVED:
        assert everything[code.value].count >= 1


@pytest.fixture(scope="module")
def everything(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Finding]:
    """The findings of a recording in which prompts, one after the other, carry every code."""
    rows: list[Row] = []
    for number, code in enumerate(CATALOGUE):
        outcome = {"CACHE_HIT": "cached", "DEADLINE": "timeout", "VALIDATION_REJECTED": "rejected"}.get(code, "failed")
        rows.append(ended(number, 2.0 + number, code, outcome))
    rows += [
        event(60, "head_of_line", "WS_HEAD_OF_LINE", detail="5 sockets were told nothing"),
        socket("z", 1, 50, code="WS_ZOMBIE", closed_by="client"),
        *(Server(at_ns=ns(70 + second), server=SERVER, canary_answer_ns=1_500_000_000) for second in range(3)),
    ]
    return findings(tmp_path_factory.mktemp("everything"), *rows)


def test_what_was_meant_to_be_is_no_finding(directory: Path) -> None:
    """Deliberate mistakes that are refused, users who take their prompts back, and a server that a stage restarts."""
    rows = [
        ended(1, 10, "VALIDATION_REJECTED", "rejected", expected="rejected", deliberate="unknown-node"),
        ended(2, 11, "SUBMIT_ERROR", "rejected", expected="rejected", deliberate="broken-json"),
        ended(3, 12, None, "interrupted", expected="interrupted", cancel_asked_ns=ns(11)),
        ended(4, 13, "DEADLINE", "timeout", expected="timeout"),
        ended(5, 14, None, "aborted"),
        ended(6, 15, "SUBMIT_ERROR", "not_sent"),
        event(30, "phase", server=None, subject="cold_start"),
        event(31, "cold_start", subject="start"),
        event(32, "restart", "SERVER_RESTARTED", detail="queue numbers began again"),
        *(Server(at_ns=ns(31 + second), server=SERVER, missing="all: connection refused") for second in range(5)),
        *(socket(f"s{number}", 1, 31.5, code="WS_ABNORMAL", close_code=1006) for number in range(4)),
        event(40, "cold_start", subject="ready"),
        event(41, "cold_start", subject="picture", detail="sdxl"),
    ]
    assert findings(directory, *rows, phases_by_events=True) == {}


@pytest.mark.parametrize("at_s", [5.0])
def test_deadlines_say_whether_it_was_the_queue_or_the_work(directory: Path, at_s: float) -> None:
    """And in which node the work stood."""
    due = {"scheduled_ns": ns(at_s), "sent_ns": ns(at_s), "deadline_ns": ns(at_s + 30), "finished_ns": ns(at_s + 30)}
    waited = [ended(number, 0, "DEADLINE", "timeout", **due) for number in range(3)]
    worked = ended(9, 0, "DEADLINE", "timeout", **due, start_received_ns=ns(at_s + 4))
    node = NodeRun(id=f"{worked.id}/8", prompt_id=worked.id, node_id="8", node_class="VAEDecode", server=SERVER,
                   workflow="sdxl", started_ns=ns(at_s + 9))  # fmt: skip
    finding = findings(directory, *waited, worked, node)["DEADLINE"]
    assert finding.evidence == (
        "4 prompts of sdxl did not end within 30 s. "
        "3 had not begun: they waited for 30 s: queue wait, not service time. "
        "1 had begun: after 4 s in the queue they had worked for 26 s, then in VAEDecode (8)."
    )
    assert finding.chart == "queue"


def test_users_who_left_say_what_became_of_their_prompts(directory: Path) -> None:
    """Taken back, or left to go on for nobody."""
    left = [
        ended(number, 20, "GAVE_UP", "given_up", left_ns=ns(20), cancel_asked_ns=ns(20) if number else None)
        for number in range(3)
    ]
    evidence = findings(directory, *left)["GAVE_UP"].evidence
    assert "their users left after 1 s. 2 were taken back, 1 went on for nobody." in evidence


@pytest.mark.parametrize(
    ("others", "words"),
    [
        ((), "They were refused every time: a node or a file they name is missing on the server."),
        ((ended(8, 9, None, "success"),), "accepted there with other inputs: look at what was varied."),
        (
            (ended(8, 9, None, "success", server=OTHER),),
            "while other servers took them: a node or a file they name is missing on these servers.",
        ),
    ],
)
def test_refusals_say_whether_workflow_inputs_or_server_are_wrong(
    directory: Path, others: tuple[Prompt, ...], words: str
) -> None:
    """The types of the errors, the nodes, and whether it is always so."""
    refused = [
        ended(number, 10, "VALIDATION_REJECTED", "rejected", error_type="value_not_in_list",
              node_class="CheckpointLoaderSimple", error_message=f"Value not in list: ckpt_name: 'a{number}'")
        for number in range(3)
    ]  # fmt: skip
    evidence = findings(directory, *refused, *others)["VALIDATION_REJECTED"].evidence
    assert evidence.startswith("3 prompts of sdxl: value_not_in_list, in CheckpointLoaderSimple: “Value not in list")
    assert evidence.endswith(words)


def test_failed_submissions_are_told_by_status(directory: Path) -> None:
    """Each means another thing."""
    rows = [ended(number, 10, "SUBMIT_ERROR", http_status=413, error_message="too large") for number in range(3)]
    rows += [ended(7, 11, "SUBMIT_ERROR", http_status=504), ended(8, 12, "SUBMIT_ERROR", error_message="reset")]
    evidence = findings(directory, *rows)["SUBMIT_ERROR"].evidence
    for words in (
        "status 413 (3, too large a body", "status 504 (1, a proxy waited too long", "the connection broke (1)",
    ):  # fmt: skip
        assert words in evidence


def test_consequences_of_a_restart_name_it(directory: Path) -> None:
    """Sockets dropped and submissions broken are facts, and their cause stands beside them; later ones have another."""
    rows = [
        event(50, "server_restarted", "SERVER_RESTARTED", detail="queue numbers fell from 41 to 0"),
        event(48, "server_process_gone", detail="process 7, python: was killed by SIGKILL; it ran for 9 s"),
        event(45, "container_oom_kill", "CGROUP_OOM", detail="oom_kill rose from 0 to 1"),
        ServerLog(at_ns=ns(44), server=SERVER, source="file", kind="exception", text="!!! Exception: boom"),
        *(socket(f"s{number}", 1 + number, 49.5, code="WS_ABNORMAL", close_code=1006) for number in range(4)),
        socket("lone", 1, 90, code="WS_ABNORMAL", close_code=1006),
        *(ended(number, 51, "SUBMIT_ERROR", error_message="reset") for number in range(2)),
        *(ended(10 + number, 51, "SERVER_RESTARTED", "lost") for number in range(3)),
    ]
    told_ = findings(directory, *rows)
    assert "4 of 5 came within 3 s of SERVER_RESTARTED of http://127.0.0.1:8188." in told_["WS_ABNORMAL"].evidence
    assert "All 2 came within 3 s of SERVER_RESTARTED" in told_["SUBMIT_ERROR"].evidence
    restarted = told_["SERVER_RESTARTED"].evidence
    assert "Its process 7, python: was killed by SIGKILL; it ran for 9 s." in restarted
    for words in ("from 41 to 0", "It ended 3 prompts.", "CGROUP_OOM came just before", "“!!! Exception: boom”"):
        assert words in restarted


def test_lost_last_messages_say_whether_the_socket_was_away(directory: Path) -> None:
    """A reconnect explains it; where the socket was open throughout somebody did not pass the message on."""
    rows = [
        ended(1, 10, "LOST_TERMINAL", "success", client_id="a", end_received_ns=ns(10), end_error_ns=4 * S),
        ended(2, 20, "LOST_TERMINAL", "success", client_id="b", end_received_ns=ns(20), end_error_ns=4 * S),
        socket("s1", 1, 9.5, client_id="a", code="WS_ABNORMAL", close_code=1006),
        socket("s2", 1, 90, client_id="b", code=None, closed_by="client"),
    ]
    evidence = findings(directory, *rows)["LOST_TERMINAL"].evidence
    assert "noticed at most 4.0 s late. Of 1 the socket had been dropped meanwhile." in evidence
    assert "Of 1 the socket was open throughout" in evidence


@pytest.mark.parametrize(
    ("ours_at_s", "words"), [(18.0, "asked to interrupt another prompt"), (5.0, "somebody else did")]
)
def test_a_misfire_is_held_against_our_own_interrupts(directory: Path, ours_at_s: float, words: str) -> None:
    """One shortly before on the same server may have hit it."""
    hit = ended(1, 20, "INTERRUPT_MISFIRE", "interrupted", node_class="KSampler")
    ours = ended(2, 21, None, "interrupted", expected="interrupted", cancel_asked_ns=ns(ours_at_s))
    assert words in findings(directory, hit, ours)["INTERRUPT_MISFIRE"].evidence


@pytest.mark.parametrize(("apart_s", "cleared"), [(0.2, True), (9.0, False)])
def test_a_queue_that_was_cleared_is_told_from_single_deletions(
    directory: Path, apart_s: float, *, cleared: bool
) -> None:
    """All at one moment is one request."""
    rows = [ended(number, 20 + apart_s * number, "PROMPT_VANISHED", "vanished") for number in range(4)]
    assert ("somebody cleared the queue" in findings(directory, *rows)["PROMPT_VANISHED"].evidence) is cleared


def test_node_errors_name_exception_node_and_share(directory: Path) -> None:
    """All prompts of a workflow have it, or some do."""
    rows = [
        ended(number, 20 + number, "NODE_ERROR", error_type="ValueError", node_class="Blend", node_id="5",
              error_message=f"size {number} does not fit")
        for number in range(3)
    ]  # fmt: skip
    rows += [ended(10 + number, 30 + number, None, "success") for number in range(5)]
    evidence = findings(directory, *rows)["NODE_ERROR"].evidence
    assert evidence == (
        "3 prompts of sdxl: ValueError in Blend (5): “size 0 does not fit”. Hit: 3 of 8 of sdxl on http://127.0.0.1:8188."
    )


def test_cached_prompts_say_whether_inputs_came_again(directory: Path) -> None:
    """A seed that is not varied, or one that does not reach the nodes that work."""
    again = [ended(number, 20, "CACHE_HIT", "cached", variation='{"3.seed": 1}') for number in range(4)]
    assert "1 set of inputs among them: inputs come again." in findings(directory, *again)["CACHE_HIT"].evidence
    new = [replace(row, variation=f'{{"3.seed": {number}}}') for number, row in enumerate(again)]
    evidence = findings(directory.with_name("b"), *new)["CACHE_HIT"].evidence
    assert "what was varied does not reach the nodes that work" in evidence


def canaries(*took_s: float, **more: Any) -> list[Server]:
    return [
        Server(at_ns=ns(20 + 2 * number), server=SERVER, canary_answer_ns=round(took * S), **more)
        for number, took in enumerate(took_s)
    ]


@pytest.mark.parametrize(
    ("readings", "is_told"),
    [
        (canaries(1.2, 1.4, 1.1), True),
        (canaries(3.4), True),
        (canaries(1.2, 1.4, 0.9, 0.8), False),  # a collection of garbage now and then
        (canaries(2.0, 2.0, 2.0, late_ns=S), False),  # the sampler itself was held up
        ([Server(at_ns=ns(20), server=SERVER, missing="all: GET /prompt timed out after 5 s")], True),
        ([Server(at_ns=ns(-20), server=SERVER, missing="all: GET /prompt timed out after 5 s")], False),
    ],
)
def test_http_that_stands_still_is_told(directory: Path, readings: list[Server], *, is_told: bool) -> None:
    """Three slow answers, or one of three seconds; the recording's own delays are none."""
    told_ = findings(directory, *readings)
    assert ("LOOP_BLOCKED" in told_) is is_told
    if is_told:
        assert told_["LOOP_BLOCKED"].certainty.value == "likely"


def test_answers_while_our_own_loops_stood_still_accuse_nobody(directory: Path) -> None:
    """The machine was busy: nobody can tell who was slow."""
    assert "LOOP_BLOCKED" not in findings(directory, *canaries(1.5, 1.5, 1.5), lag_max_s=0.9)


def test_answers_in_a_settle_stage_may_take_their_time(directory: Path) -> None:
    """Letting go of memory holds the loop, and it was asked to."""
    settle = event(15, "phase", server=None, subject="settle")
    rows = (settle, *canaries(1.5, 1.5, 1.5), event(30, "phase", server=None, subject="load"))
    assert "LOOP_BLOCKED" not in findings(directory, *rows, phases_by_events=True)


def test_bad_messages_say_where_they_came_from(directory: Path) -> None:
    """On sockets, or instead of answers."""
    rows = [
        event(10, "bad_message", "BAD_MESSAGE", subject="s1", detail="not JSON: <html>"),
        event(11, "bad_message", "BAD_MESSAGE", subject="s1", detail="not JSON: <html>"),
        event(12, "bad_answer", "BAD_MESSAGE", subject="queue", detail="GET /queue: status 502"),
    ]
    evidence = findings(directory, *rows)["BAD_MESSAGE"].evidence
    assert "2 messages on 1 socket: “not JSON: <html>”." in evidence
    assert "The probe was answered so 1 time: “GET /queue: status 502”." in evidence


def test_texts_of_servers_are_bounded_and_plain(directory: Path) -> None:
    """Whatever a node raises, the evidence stays one short line."""
    row = ended(1, 10, "NODE_ERROR", error_type="E" * 5000, error_message="\x1b[2J\n" + "x" * 9000, node_class="N\x00")
    evidence = findings(directory, row)["NODE_ERROR"].evidence
    assert len(evidence) < 900
    assert evidence.isprintable()


def test_thinned_rows_are_counted_by_the_whole(story: Any) -> None:
    """A finding says how many there were, not how many are kept for a closer look."""
    rows = told(story, Code.NODE_ERROR)
    assert (rows.count, len(rows.prompts)) == (1, 1)
    assert find_all(story, GpuStates(story))
