"""A run that is asked to end before it has begun: nothing more is started, and it is sealed like any other."""

from __future__ import annotations

import signal
import time
from pathlib import Path

import pytest

from comfysoak.children import kill_group, start, wait_for_line
from comfysoak.supervisor import Interruption, Options, Supervisor, new_clock
from comfysoak_core.errors import ComfySoakError, ExitCode
from comfysoak_core.recording.recording import Recording
from comfysoak_core.scenario.read import read_scenario
from comfysoak_core.scenario.resolve import resolve
from tests.cli.runs import small_scenario


def test_ctrl_c_before_the_first_process_starts_none(tmp_path: Path) -> None:
    """The recording says that it was interrupted, and has no log of any process."""
    plan = resolve(*read_scenario(small_scenario(tmp_path)))
    clock = new_clock()
    recording = Recording.create(tmp_path, plan.name, clock=clock, plan=plan.model_dump(mode="json"))
    interruption = Interruption()
    interruption.take(signal.SIGINT, None)
    supervisor = Supervisor(recording, plan, Options(), interruption, clock, lambda _state, _rows: None)
    end = supervisor.run()
    supervisor.make_report()
    assert end.exit_code is ExitCode.INTERRUPTED
    assert supervisor.children == {}
    assert (recording.run.sealed, recording.run.ended and recording.run.ended.reason) == (True, "interrupted")


def test_waiting_for_a_process_ends_when_nobody_wants_it_any_more(tmp_path: Path) -> None:
    """A simulator that never gets ready does not hold up Ctrl-C; without one it is told, with its last words."""
    child = start("server", ["http.server", "0"], {}, tmp_path)
    try:
        began_s = time.monotonic()
        assert wait_for_line(child, "never said", 600, give_up=lambda: True) is None
        assert time.monotonic() - began_s < 300
        with pytest.raises(ComfySoakError, match="was not ready"):
            wait_for_line(child, "never said", 0.1, give_up=lambda: False)
    finally:
        kill_group(child.process.pid)
        child.wait_or_kill(5)
