"""Open load: every arrival of the schedule is a row, sent or not, whatever number of processes send it."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import pytest

from comfysoak_core.errors import ExitCode
from tests.cli.runs import comfysoak, prompts_of, small_scenario

CLOSED = "  - {users: 2, for: 3s}\n"


@pytest.mark.parametrize("processes", ["1", "2"])
def test_a_constant_rate_is_scheduled_exactly(tmp_path: Path, processes: str) -> None:
    """Sixty arrivals fifty milliseconds apart, dealt out to the processes; each counts from the moment it was due."""
    small_scenario(tmp_path, (CLOSED, "  - {arrivals: 20/s, process: constant, for: 3s}\n"))
    done = comfysoak("run", "small.yaml", "--processes", processes, "--json", cwd=tmp_path)
    assert done.returncode in (ExitCode.OK, ExitCode.NOT_VALID), done.stderr
    rows = prompts_of(tmp_path)
    moments = [int(str(row["scheduled_ns"])) for row in rows]
    assert len(rows) == 60
    assert all(abs(later - earlier - 50_000_000) <= 1 for earlier, later in pairwise(moments))
    assert len({row["worker"] for row in rows}) == int(processes)
    assert {row["outcome"] for row in rows} == {"success"}
    assert all(int(str(row["sent_ns"])) >= int(str(row["scheduled_ns"])) for row in rows)


def test_what_cannot_be_sent_is_a_row(tmp_path: Path) -> None:
    """With too much on its way an arrival is not sent, says why, and makes the run invalid rather than better."""
    small_scenario(
        tmp_path,
        (CLOSED, "  - {arrivals: 20/s, process: constant, in_flight_most: 2, for: 3s}\n"),
        ("seconds_per_step: 5ms", "seconds_per_step: 25ms"),
    )
    done = comfysoak("run", "small.yaml", cwd=tmp_path)
    assert done.returncode == ExitCode.NOT_VALID, done.stdout + done.stderr
    assert "never sent" in done.stdout
    rows = prompts_of(tmp_path)
    unsent = [row for row in rows if row["outcome"] == "not_sent"]
    assert len(rows) == 60
    assert unsent
    assert {row["error_message"] for row in unsent} == {"2 prompts were on their way already"}
    assert all(row["sent_ns"] is None for row in unsent)
