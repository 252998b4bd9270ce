"""The structured lines people follow while a run goes on."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

from tests.core.recording.samples import START_NS, make_journal, make_run, prompt, session

from comfysoak_core.clock import ManualClock
from comfysoak_core.recording.recorder import Recorder
from comfysoak_core.recording.recording import Recording


def lines(recording: Recording, name: str) -> list[dict[str, Any]]:
    """The lines of a log."""
    path = recording.layout.logs / name
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def events(recording: Recording) -> list[tuple[str, str]]:
    """What happened to which connection."""
    return [(line["connection"], line["event"]) for line in lines(recording, "connections.jsonl")]


def test_a_socket_is_logged_when_it_opens_and_when_it_closes(tmp_path: Path) -> None:
    """One line each, however often its row is written, with times and reasons people can read."""
    clock = ManualClock(START_NS)
    recording = make_run(tmp_path, clock)
    journal = make_journal(recording, clock)
    recorder = Recorder(recording.layout)
    opening = session("s", START_NS)
    opened = replace(opening, opened_ns=START_NS + 2_000_000)
    closed = replace(
        opened, closed_ns=START_NS + 1_500_000_000, close_code=1006, closed_by="network", reason="reset",
        code="WS_ABNORMAL", messages=3, message_bytes=99, longest_silence_ns=250_000_000,
    )  # fmt: skip
    for row, expected in (
        (opening, []),
        (opened, [("s", "opened")]),
        (replace(opened, messages=2), [("s", "opened")]),
        (closed, [("s", "opened"), ("s", "closed")]),
        (replace(closed, reopened_as="t"), [("s", "opened"), ("s", "closed")]),
    ):
        journal.add_now(row)
        recorder.log()
        assert events(recording) == expected
    assert lines(recording, "connections.jsonl") == [
        {
            "time": "2026-11-18T11:06:40.002000Z", "event": "opened", "connection": "s", "server": "http://gpu-1:8188",
            "role": "user", "worker": "w1", "client_id": "c1", "open_took_seconds": 0.002,
        },
        {
            "time": "2026-11-18T11:06:41.500000Z", "event": "closed", "connection": "s", "server": "http://gpu-1:8188",
            "role": "user", "worker": "w1", "client_id": "c1", "closed_by": "network", "close_code": 1006,
            "reason": "reset", "code": "WS_ABNORMAL", "open_seconds": 1.498, "messages": 3, "message_bytes": 99,
            "longest_silence_seconds": 0.25,
        },
    ]  # fmt: skip


def test_a_socket_that_never_opened_is_one_line(tmp_path: Path) -> None:
    """Opened and closed in one row gives both lines, refused gives one."""
    recording = make_run(tmp_path, ManualClock(START_NS))
    journal = make_journal(recording, ManualClock())
    journal.add(session("refused", 1, closed_ns=2, closed_by="refused"))
    journal.add(session("short", 1, opened_ns=2, closed_ns=3))
    journal.flush()
    Recorder(recording.layout).log()
    assert events(recording) == [("refused", "not opened"), ("short", "opened"), ("short", "closed")]


def test_a_generation_is_logged_when_it_ends(tmp_path: Path) -> None:
    """Success or failure, outcome, code, times, server, workflow; text of servers bounded and without secrets."""
    recording = make_run(tmp_path, ManualClock(START_NS))
    journal = make_journal(recording, ManualClock())
    begun = prompt("p", START_NS)
    failed = replace(
        begun, outcome="oom", code="OOM", sent_ns=START_NS, end_received_ns=START_NS + 2_500_000_000,
        finished_ns=START_NS + 3_000_000_000, error_message="token=S3CRET " + "x" * 5000, server="http://u:S3CRET@gpu-1",
    )  # fmt: skip
    recorder = Recorder(recording.layout)
    journal.add_now(begun)
    recorder.log()
    assert lines(recording, "generations.jsonl") == []
    journal.add_now(failed)
    journal.add_now(prompt("q", START_NS, "cached"))
    recorder.log()
    first, second = lines(recording, "generations.jsonl")
    assert first["time"] == "2026-11-18T11:06:43.000000Z"
    assert (first["generation"], first["result"], first["outcome"], first["code"]) == ("p", "failure", "oom", "OOM")
    assert (first["workflow"], first["server"]) == ("sdxl", "http://[redacted]@gpu-1")
    assert first["latency_seconds"] == 2.5
    assert len(first["error"]) <= 500
    assert "S3CRET" not in json.dumps(first)
    assert (second["generation"], second["result"], second["outcome"]) == ("q", "success", "cached")


def test_a_recorder_started_again_repeats_nothing(tmp_path: Path) -> None:
    """What was logged is known again: from the journal, from open rows carried over, and from the tables."""
    clock = ManualClock(START_NS)
    recording = make_run(tmp_path, clock)
    journal = make_journal(recording, clock)
    rows = [session("a", 1, opened_ns=2), session("b", 1, opened_ns=2), session("c", 1, opened_ns=2)]
    for row in rows:
        journal.add_now(row)
    journal.add_now(replace(rows[0], closed_ns=3))
    Recorder(recording.layout).log()
    clock.advance(1000)
    journal.add_now(session("d", 9))
    Recorder(recording.layout).compact()
    journal.add_now(replace(rows[0], closed_ns=3, reopened_as="d"))
    journal.add_now(replace(rows[1], closed_ns=5))
    for _ in range(2):
        Recorder(recording.layout).log()
    recording.seal("finished", 10)
    assert sorted(events(recording)) == sorted(
        [(row_id, "opened") for row_id in "abc"] + [(row_id, "closed") for row_id in "abc"] + [("d", "not opened")]
    )


def test_prompts_that_were_open_at_the_end_are_failures(tmp_path: Path) -> None:
    """Sealing logs them as aborted."""
    recording = make_run(tmp_path, ManualClock(START_NS))
    make_journal(recording, ManualClock()).add_now(prompt("p", START_NS))
    recording.seal("interrupted", START_NS + 10**9)
    (line,) = lines(recording, "generations.jsonl")
    assert (line["result"], line["outcome"], line["time"]) == ("failure", "aborted", "2026-11-18T11:06:41.000000Z")


def test_the_configuration_has_no_secrets(tmp_path: Path) -> None:
    """logs/configuration.json tells what was run, with secrets hidden by their names."""
    recording = Recording.create(
        tmp_path, "x", clock=ManualClock(START_NS), argv=["comfysoak", "run", "--api-key", "S3CRET"],
        plan={"name": "x", "servers": ["http://u:S3CRET@gpu-1"], "workloads": [{"1": {"api_key": "S3CRET"}}]},
    )  # fmt: skip
    recording.seal("finished")
    text = (recording.layout.logs / "configuration.json").read_text()
    assert "S3CRET" not in text
    assert json.loads(text)["plan"]["name"] == "x"
    assert json.loads(text)["created"] == "2026-11-18T11:06:40.000000Z"


def test_hostile_values_stop_no_log(tmp_path: Path) -> None:
    """Rows of wrong types and without ids give a line or none, never an error."""
    recording = make_run(tmp_path, ManualClock())
    path = recording.layout.journal / "h~p~prompts~000000.jsonl"
    path.write_text(
        '{"format":1,"columns":["id","outcome","scheduled_ns","finished_ns","error_message"]}\n'
        '[[1,"success",1,1,null]]\n[["a","success","x",999999999999999999,{"a":1}],["b",{"odd":1},null,null,[]]]\n'
    )
    recorder = Recorder(recording.layout)
    recorder.log()
    assert [line["generation"] for line in lines(recording, "generations.jsonl")] == ["a", "b"]
