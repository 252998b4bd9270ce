"""Incident folders: what was recorded around a finding, beside the report, safe to open."""

from __future__ import annotations

import csv
import json
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from comfysoak_analysis import open_run
from comfysoak_analysis.findings.finding import Finding
from comfysoak_analysis.incidents import moments_of, spans_of, write_incidents
from comfysoak_analysis.report import build
from comfysoak_analysis.sheet import LONGEST_CELL
from comfysoak_core.codes import Code
from comfysoak_core.rows import Event, Server, ServerLog
from tests.analysis.planted import SERVER, START_NS, plant
from tests.analysis.test_frames import S, prompt

OTHER = "http://gpu-2:8188"
AT_S = 150


def planted(directory: Path, **changes: Any) -> Path:
    """A run of five minutes with one node that raises after 150 s, and two servers in its tables."""
    rows = [
        Event(at_ns=START_NS + AT_S * S, source="sampler", kind="xid", subject="GPU-0", detail="Xid 31"),
        Server(at_ns=START_NS + AT_S * S, server=OTHER, queue_pending=7),
        ServerLog(
            at_ns=START_NS + (AT_S + 1) * S, server=SERVER, source="socket", kind="exception", text="!!! \x1b[2J"
        ),
        ServerLog(at_ns=START_NS + (AT_S + 1) * S, server=OTHER, source="socket", kind="error", text="of another"),
    ]
    values: dict[str, Any] = {
        "duration_s": 300.0, "users": 2, "workflows": ("sketch-sd15",), "node_error_at_s": (AT_S,),
        "other_rows": tuple(rows),
    } | changes  # fmt: skip
    return plant(directory, **values)


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def seconds(row: dict[str, str], column: str = "at") -> float:
    """When a row was, in seconds after the start."""
    return datetime.fromisoformat(row[column][:26] + "+00:00").timestamp() - START_NS / S


def test_a_finding_leaves_the_minutes_around_it(directory: Path) -> None:
    """Samples, queue, Xids, prompts and the log of its server; times in UTC; the page and the verdict lead there."""
    verdict = build(planted(directory))
    (finding,) = verdict.findings
    assert finding.incident == "incidents/finding-NODE_ERROR"
    folder = directory / finding.incident
    facts = json.loads((folder / "finding.json").read_text())
    assert (facts["code"], facts["certainty"], facts["link"]) == (
        "NODE_ERROR", "certain", "../../report.html#finding-NODE_ERROR",
    )  # fmt: skip
    assert facts["first"].endswith("Z")
    assert set(facts["files"]) == {path.name for path in folder.iterdir()} - {"finding.json"}
    gpu = [seconds(row) for row in rows_of(folder / "gpu.csv")]
    failed_at = finding.first_ns / S - START_NS / S
    assert len(gpu) == pytest.approx(1200, abs=2)
    assert min(gpu) == pytest.approx(failed_at - 60, abs=0.2)
    assert max(gpu) == pytest.approx(failed_at + 60, abs=0.2)
    assert {row["server"] for row in rows_of(folder / "queue.csv")} == {SERVER}
    assert [row["detail"] for row in rows_of(folder / "events.csv")] == ["Xid 31"]
    assert finding.examples[0] in {row["id"] for row in rows_of(folder / "prompts.csv")}
    log = (folder / "server_log.txt").read_text()
    assert "[exception] !!! [2J" in log
    assert "of another" not in log
    assert 'href="incidents/finding-NODE_ERROR/"' in (directory / "report.html").read_text()
    assert json.loads((directory / "verdict.json").read_text())["findings"][0]["incident"] == finding.incident


def test_a_cell_from_a_server_is_no_formula(directory: Path) -> None:
    """A spreadsheet would run it; control characters and endless texts are cut as well."""
    hostile = ["=1+1", "+cmd|' /C calc'!A0", "-2", "@SUM(A1)", " =9", "a\x00\x1b]0;x\x07\nb\u202ec", "x" * 9000]
    rows = [
        prompt(number, outcome="failed", code="NODE_ERROR", error_type="E", error_message=text,
               finished_ns=START_NS + 2 * S)
        for number, text in enumerate(hostile)
    ]  # fmt: skip
    run = open_run(plant(directory, prompts_most=0, users=0, watchers=0, gpu=False, other_rows=tuple(rows)))
    finding = Finding(Code.NODE_ERROR, len(rows), START_NS + 2 * S, START_NS + 2 * S, "they failed")
    assert write_incidents(run, [finding]).trouble == ""
    told = [row["error_message"] for row in rows_of(directory / "incidents/finding-NODE_ERROR/prompts.csv")]
    assert sorted(told) == sorted(
        ["'=1+1", "'+cmd|' /C calc'!A0", "'-2", "'@SUM(A1)", "' =9", "a ]0;x b c", "x" * LONGEST_CELL]
    )


def test_made_again_it_is_the_same_and_others_notes_stay(directory: Path) -> None:
    """Files of ours are replaced as a whole, what somebody put there is kept, nothing is left over."""
    folder = planted(directory) / "incidents" / "finding-NODE_ERROR"
    build(directory)
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    (folder / "notes.txt").write_text("the disk was full")
    (folder / "queue.csv").write_text("torn")
    build(directory)
    after = {path.name: path.read_bytes() for path in folder.iterdir()}
    assert after == {**before, "notes.txt": b"the disk was full"}
    assert [path.name for path in folder.parent.iterdir()] == [folder.name]


def test_folders_of_findings_that_are_no_more_are_taken_away(directory: Path) -> None:
    """Those of ours; with a note in it a folder stays, without our files, and so does what was never ours."""
    run = open_run(planted(directory))
    gone, noted = (Finding(code, 1, START_NS, START_NS, "it was") for code in (Code.OOM, Code.DEADLINE))
    write_incidents(run, [gone, noted])
    (directory / "incidents/finding-DEADLINE/notes.txt").write_text("mine")
    (directory / "incidents/finding-THROTTLED").mkdir()
    write_incidents(run, [])
    left = sorted(str(path.relative_to(directory / "incidents")) for path in (directory / "incidents").rglob("*"))
    assert left == ["finding-DEADLINE", "finding-DEADLINE/notes.txt", "finding-THROTTLED"]


def test_what_is_not_ours_is_left_alone_and_said(directory: Path, tmp_path: Path) -> None:
    """A folder of that name that somebody else made, or a link to elsewhere: one sentence, and the report is made."""
    planted(directory)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (directory / "incidents").mkdir()
    (directory / "incidents/finding-NODE_ERROR").symlink_to(elsewhere)
    verdict = build(directory)
    assert verdict.findings[0].incident == ""
    assert [doubt.what for doubt in verdict.doubts if doubt.name == "incident folders"] == [
        f"{directory}/incidents/finding-NODE_ERROR was not made by ComfySoak and was left as it is."
    ]
    assert list(elsewhere.iterdir()) == []
    assert [path.name for path in (directory / "incidents").iterdir()] == ["finding-NODE_ERROR"]


def test_where_no_folder_can_be_made_the_report_says_so_and_goes_on(directory: Path) -> None:
    """A file stands in its place."""
    (planted(directory) / "incidents").write_text("a file")
    verdict = build(directory)
    assert [doubt.weight.value for doubt in verdict.doubts if doubt.name == "incident folders"] == ["note"]
    assert (directory / "report.html").exists()


@pytest.mark.parametrize(
    ("at_s", "expected"),
    [((5,), (5,)), ((5, 60, 120), (5,)), ((5, 200, 400), (5, 200, 400)), (range(0, 5000, 10), (0, 2470, 4940))],
)
def test_moments_far_apart_are_three_at_most(at_s: Any, expected: tuple[int, ...]) -> None:
    """The first one always."""
    moments = tuple(START_NS + at * S for at in at_s)
    finding = Finding(Code.OOM, 9, moments[0], moments[-1], "", moments_ns=moments)
    assert tuple((at - START_NS) // S for at in moments_of(finding)) == expected
    assert all(last - first == 120 * S for first, last in spans_of(finding))
