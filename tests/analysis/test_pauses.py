"""Cold starts and settles in the report: what took how long, what was left in memory, and what is no finding."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from comfysoak_analysis import open_run
from comfysoak_analysis.cold_starts import cold_starts
from comfysoak_analysis.findings.detectors import find_all
from comfysoak_analysis.gpu_state import GpuStates
from comfysoak_analysis.health import health
from comfysoak_core.codes import Code
from comfysoak_core.rows import Event
from tests.analysis.planted import SERVER, START_NS, plant

S = 1_000_000_000


def event(at_s: float, kind: str, subject: str | None = None, detail: str = "", code: str | None = None) -> Event:
    return Event(
        at_ns=START_NS + round(at_s * S), source="load-0", kind=kind, server=SERVER, subject=subject, detail=detail,
        code=code,
    )  # fmt: skip


def step(at_s: float, name: str, detail: str = "", code: str | None = None) -> Event:
    return event(at_s, "cold_start", name, detail, code)


FAILED = step(30, "failed", "it was not ready, within 10 s", code="COLD_START_FAILED")


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        (
            (step(20, "start"), step(27, "answers"), step(28, "ready"), step(32.5, "picture", "sdxl")),
            ["ready after 8 s, first picture after 12.5 s (sdxl)"],
        ),
        ((step(20, "start"), step(28, "ready"), FAILED), ["ready after 8 s, failed: it was not ready, within 10 s"]),
        ((FAILED,), ["failed: it was not ready, within 10 s"]),
        (
            (step(1, "start"), step(2, "ready"), step(20, "start"), step(23, "ready")),
            ["ready after 1 s", "ready after 3 s"],
        ),
        ((), []),
    ],
)
def test_steps_become_times(tmp_path: Path, rows: tuple[Event, ...], words: list[str]) -> None:
    """From process start, however far each server came, one line for each."""
    run = open_run(plant(tmp_path, prompts_most=0, other_rows=rows))
    assert [one.in_words() for one in cold_starts(run)] == words
    assert [value for name, value in health(run) if name.startswith("Cold start of")] == words


def test_an_intended_absence_is_no_finding(tmp_path: Path) -> None:
    """Refused connections and a restart while a server starts cold say nothing against it; later ones do."""
    told = event(26, "server_restarted", detail="it answered again", code="SERVER_RESTARTED")
    starts = (step(19, "start"), step(25, "ready"), step(26, "picture", "sdxl"))
    away: dict[str, Any] = {"down_from_s": 20, "down_for_s": 5, "prompts_most": 0}
    assert Code.SERVER_DOWN in find(plant(tmp_path / "down", **away))
    findings = find(plant(tmp_path / "cold", **away, other_rows=(*starts, told)))
    assert not findings.keys() & {Code.SERVER_DOWN, Code.SERVER_RESTARTED}
    late = event(50, "server_restarted", detail="it answered again", code="SERVER_RESTARTED")
    findings = find(plant(tmp_path / "late", other_rows=(*starts, late)))
    assert findings[Code.SERVER_RESTARTED] == 1


def test_a_failed_cold_start_is_a_finding(tmp_path: Path) -> None:
    """With the reason in words."""
    run = open_run(plant(tmp_path, other_rows=(step(20, "start"), FAILED)))
    (found,) = (one for one in find_all(run, GpuStates(run)) if one.code is Code.COLD_START_FAILED)
    assert found.evidence == f"{SERVER}: it was not ready, within 10 s."


def find(directory: Path) -> dict[Code, int]:
    run = open_run(directory)
    return {one.code: one.count for one in find_all(run, GpuStates(run))}


def test_memory_is_read_while_servers_are_settled(tmp_path: Path) -> None:
    """The level of each settle, the first beside the last; those that failed are counted."""
    rows = [
        *(event(at_s, "settled", edge) for begin in (20, 40) for at_s, edge in ((begin, "begin"), (begin + 5, "end"))),
        event(50, "not_settled", detail="after 60 s 3 prompts are in its queue"),
    ]
    lines = dict(health(open_run(plant(tmp_path, other_rows=tuple(rows)))))
    (memory,) = (value for name, value in lines.items() if name.startswith("Settled memory of"))
    assert " in use after the first of 2 settles, " in memory
    assert lines["Not settled"] == f"1 times, last {SERVER}: after 60 s 3 prompts are in its queue"
