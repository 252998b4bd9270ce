"""Findings about sockets: cut when idle, forgotten, and all of them told nothing."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from comfysoak_analysis import open_run
from comfysoak_analysis.goals import evaluate
from comfysoak_analysis.report import documents
from comfysoak_core.rows import Event, Session
from tests.analysis.planted import SERVER, START_NS, plant
from tests.analysis.test_findings import with_rows
from tests.analysis.test_frames import S

SOCKET = Session(
    id="s", server=SERVER, worker="w", role="watcher", client_id="c", opening_ns=START_NS, opened_ns=START_NS,
    closed_ns=START_NS + 5 * S, close_code=1006, closed_by="network", code="WS_ABNORMAL", longest_silence_ns=5 * S,
)  # fmt: skip


def socket(name: str, from_s: float, to_s: float, silent_s: float, **changes: Any) -> Session:
    return replace(
        SOCKET,
        id=name,
        opening_ns=START_NS + round(from_s * S),
        opened_ns=START_NS + round(from_s * S),
        closed_ns=START_NS + round(to_s * S),
        longest_silence_ns=round(silent_s * S),
        **changes,
    )


def event(at_s: float, kind: str, **fields: Any) -> Event:
    return Event(at_ns=START_NS + round(at_s * S), source="load-0", kind=kind, server=SERVER, **fields)


def test_sockets_that_end_after_the_same_silence_are_cut_by_a_proxy(directory: Path) -> None:
    """However long each had been open, and again after each reconnect; no drop is left unexplained."""
    rows = [socket("a", 0, 7, 6.0), socket("b", 0, 12, 6.1), socket("c", 7, 13.2, 6.2), socket("d", 12, 18.1, 6.0)]
    findings = with_rows(directory, *rows)
    assert "4 sockets" in findings["WS_IDLE_CUT"].evidence
    assert "without a message for 6.0 s to 6.2 s" in findings["WS_IDLE_CUT"].evidence
    assert "WS_ABNORMAL" not in findings


def test_sockets_of_one_age_are_cut_by_a_proxy_too(directory: Path) -> None:
    """A limit to the age of connections does not ask for traffic."""
    rows = [socket(str(n), 3 * n, 3 * n + 10.0 + n / 10, 0.1 + n) for n in range(4)]
    assert "at an age of 10.0 s to 10.3 s" in with_rows(directory, *rows)["WS_IDLE_CUT"].evidence


def test_a_server_that_dies_cuts_nobody_for_being_idle(directory: Path) -> None:
    """All at one moment, and so of one age."""
    findings = with_rows(directory, *(socket(str(n), 0, 9 + n / 100, 9.0) for n in range(6)))
    assert "WS_IDLE_CUT" not in findings
    assert findings["WS_ABNORMAL"].count == 6


def test_a_server_that_crashes_again_and_again_cuts_nobody_for_being_idle(directory: Path) -> None:
    """At equal intervals, and so all sockets are of one age; but right after it nobody was let in."""
    refused: dict[str, Any] = {"opened_ns": None, "close_code": None, "closed_by": "refused", "code": "SERVER_DOWN"}
    rows = []
    for begins in (0, 60):
        rows += [socket(f"{n}/{begins}", begins + n / 2, begins + 60 + n / 100, 3.0 + n) for n in range(4)]
        again = [socket(f"{n}/{begins}/", begins + 60.2, begins + 60.3 + n / 10, 0.0) for n in range(4)]
        rows += [replace(row, **refused) for row in again]
    findings = with_rows(directory, *rows)
    assert "WS_IDLE_CUT" not in findings
    assert findings["WS_ABNORMAL"].count == 8


def test_drops_at_odd_ages_are_drops(directory: Path) -> None:
    """Nothing in common, nothing to conclude."""
    rows = [socket(str(n), 0, age, age / 2) for n, age in enumerate((3.0, 8.0, 14.0, 21.0, 27.0))]
    findings = with_rows(directory, *rows)
    assert "WS_IDLE_CUT" not in findings
    assert findings["WS_ABNORMAL"].count == 5


def test_zombies_say_which_of_them_were_asked_for(directory: Path) -> None:
    """The socket before it was closed after it had opened."""
    asked = {"code": None, "close_code": 1000, "closed_by": "client", "reason": "reconnected, open-first"}
    zombie = {"code": "WS_ZOMBIE", "close_code": 1000, "closed_by": "client", "reason": "told nothing"}
    rows = [
        socket("a/1", 0, 5, 1.0, reopened_as="a/2", **asked),
        socket("a/2", 5, 11, 6.0, reopened_as="a/3", **zombie),
        socket("b/1", 0, 12, 6.0, reopened_as="b/2", **zombie),
        event(11, "zombie", subject="a/2", code="WS_ZOMBIE"),
    ]
    finding = with_rows(directory, *rows)["WS_ZOMBIE"]
    assert finding.count == 2
    assert "replaced after 6 s" in finding.evidence
    assert "1 of them had been opened before an older socket" in finding.evidence


def test_head_of_line_is_tied_to_the_client_that_did_not_read(directory: Path) -> None:
    """How long it lasted, and that a reader of the scenario's own stalled meanwhile."""
    rows = [
        event(5, "stalled", subject="s/1"),
        event(5.2, "head_of_line", code="WS_HEAD_OF_LINE", detail="5 sockets were told nothing"),
        event(25, "stall_over", subject="s/1"),
        event(25.5, "head_of_line_over"),
    ]
    finding = with_rows(directory, *rows)["WS_HEAD_OF_LINE"]
    assert "told nobody anything for 20 s: 5 sockets were told nothing." in finding.evidence
    assert "1 client of the scenario's own did not read" in finding.evidence


def test_head_of_line_that_nobody_asked_for_accuses_no_reader_of_ours(directory: Path) -> None:
    """A stall long before it, and none that goes on."""
    rows = [
        event(1, "stalled", subject="s/1"),
        event(3, "stall_over", subject="s/1"),
        event(12, "head_of_line", code="WS_HEAD_OF_LINE", detail="5 sockets were told nothing"),
    ]
    evidence = with_rows(directory, *rows)["WS_HEAD_OF_LINE"].evidence
    assert "until the end of the run" in evidence
    assert "own did not read" not in evidence


def test_goals_and_the_line_on_sockets_name_drops_as_the_findings_do(directory: Path) -> None:
    """What is told as cut when idle is counted as that everywhere."""
    rows = [socket("a", 0, 7, 6.0), socket("b", 0, 12, 6.1), socket("c", 7, 13.2, 6.2), socket("d", 12, 18.1, 6.0)]
    run = open_run(plant(directory, other_rows=rows))
    _, files = documents(run)
    assert b"(WS_IDLE_CUT 4)" in files["report.html"]
    goals = ["sessions.drops{code=WS_IDLE_CUT} = 4", "sessions.drops{code=WS_ABNORMAL} = 0"]
    assert [one.value for one in evaluate(run, (), goals)] == [4, 0]
