"""The end of a run that is broken off: nothing of ours is left on somebody's server."""

from __future__ import annotations

import signal
import sys
from pathlib import Path
from typing import Any

import pytest

from comfysoak_core.comfyui.vary import Range, Vary
from comfysoak_core.scenario.curve import Line
from comfysoak_core.scenario.plan import Plan
from comfysoak_core.scenario.stage import Stage
from comfysoak_core.scenario.workload import Workload
from tests.load.conftest import simulated
from tests.load.locusting import planned_locust, queue_of, rows, wait_until

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="load runs on Linux and macOS")
LONG: dict[str, Any] = {  # 10 s at a hundred times the speed
    "1": {"class_type": "HarnessSteps", "inputs": {"steps": 200, "seconds_per_step": 5.0, "tag": "a"}},
    "2": {"class_type": "SaveImage", "inputs": {"images": ["1", 0], "filename_prefix": "long"}},
}
TAGS = Vary(inputs={"1.seconds_per_step": Range(5.0, 5.001)})
SEVERAL_A_TASK = """\
from locust import events
from comfysoak_load.harness import attach
from comfysoak_load.shape import PlanShape
from comfysoak_load.users import ComfyUser

events.init.add_listener(attach)


class Shape(PlanShape):
    pass


class Several(ComfyUser):
    def generate(self):
        for _ in range(100):
            self.client.generate()
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_nothing_is_left_on_the_server(number: int, tmp_path: Path) -> None:
    """Open prompts are taken back, those that timed out before as well, and tasks that would send more send none."""
    (tmp_path / "several.py").write_text(SEVERAL_A_TASK, encoding="utf-8")
    long, short = (
        Workload(name=f"{deadline_s}", graph=LONG, vary=TAGS, deadline_s=deadline_s) for deadline_s in (600, 0.5)
    )
    plan = Plan(
        name="end",
        servers=("http://nobody",),
        workloads=(long, short),
        stages=(Stage(duration_s=60, users=Line.level(3)),),
    )
    with simulated() as (server, _):
        plan = plan.model_copy(update={"servers": (server,)})
        process, recording = planned_locust(tmp_path, plan, "-s", "1", locustfile=tmp_path / "several.py")
        try:
            wait_until(lambda: len(queue_of(server)) >= 5, "prompts that wait, of some of which nobody waits")
            process.send_signal(number)
            said, _ = process.communicate(timeout=30)
            assert process.returncode == 0, said
        finally:
            process.kill()
        wait_until(lambda: not queue_of(server), "an empty queue", within_s=5)
    outcomes = [row["outcome"] for row in rows(recording, "prompts")]
    assert set(outcomes) == {"timeout", "aborted"}
    assert outcomes.count("aborted") <= 3
