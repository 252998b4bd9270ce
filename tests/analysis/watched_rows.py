"""What a probe alone recorded, written row by row: no plan, no load."""

from __future__ import annotations

from pathlib import Path

from comfysoak_core.clock import NS_PER_S, ManualClock
from comfysoak_core.recording.journal import Journal
from comfysoak_core.recording.run_file import Ended, EndReason, RunFile, Segment, write_run_file
from comfysoak_core.rows import Row
from tests.analysis.planted import START_NS


def recorded(directory: Path, *rows: Row, lasts_s: float = 60.0, ended: EndReason | None = EndReason.FINISHED) -> Path:
    """A recording of watching with these rows."""
    (directory / "journal").mkdir(parents=True)
    journal = Journal(directory / "journal", host="gpu-1", process="sampler", clock=ManualClock(START_NS))
    for row in rows:
        journal.add(row)
    journal.close()
    end_ns = START_NS + round(lasts_s * NS_PER_S)
    run = RunFile(
        id="00000000-0000-4000-8000-000000000002",
        name="probe",
        created_ns=START_NS,
        segments=(Segment(started_ns=START_NS, ended_ns=end_ns),),
        ended=None if ended is None else Ended(at_ns=end_ns, reason=ended),
    )
    write_run_file(run, directory / "run.json")
    return directory
