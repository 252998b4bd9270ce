"""Whether machines were fit to be measured, and which findings the scenario accepts."""

from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import Any

import pytest

from comfysoak_analysis import Run, open_run
from comfysoak_analysis.goals import evaluate
from comfysoak_analysis.gpu_state import GpuStates
from comfysoak_analysis.judgement import judge
from comfysoak_analysis.junit import junit
from comfysoak_analysis.summary import summary
from comfysoak_analysis.verdict import Conclusion, Standing, Weight
from comfysoak_core.codes import Code
from comfysoak_core.rows import GpuHealth, GpuProcess, GpuSlow, Host, Row
from comfysoak_core.scenario.goals import Accepted
from tests.analysis.planted import GIB, START_NS, plant


def every(seconds: int, make: Any) -> tuple[Row, ...]:
    """A row every so many seconds of a minute, `make(at_ns)`."""
    return tuple(make(START_NS + second * 10**9) for second in range(0, 60, seconds))


def _health(at_ns: int) -> GpuHealth:
    return GpuHealth(at_ns=at_ns, read_cost_ns=1, host="gpu-1", source="nvml", uuid="GPU-0", foreign_processes=1,
                     foreign_bytes=2 * GIB)  # fmt: skip


def _stranger(at_ns: int) -> GpuProcess:
    return GpuProcess(at_ns=at_ns, read_cost_ns=1, host="gpu-1", uuid="GPU-0", pid=999, kind="compute",
                      name="python3 train.py", memory_bytes=2 * GIB, is_server=False)  # fmt: skip


def _hot(at_ns: int) -> GpuSlow:
    return GpuSlow(at_ns=at_ns, read_cost_ns=1, host="gpu-1", source="nvml", uuid="GPU-0", power_watts=200.0,
                   event_reasons="software_thermal,software_power_cap")  # fmt: skip


def _host(**columns: Any) -> Any:
    def make(at_ns: int) -> Host:
        return Host(at_ns=at_ns, read_cost_ns=1, host="load-1", memory_total_bytes=32 * GIB, **columns)

    return make


def names(run: Run) -> dict[str, Weight]:
    """The doubts about a run by their names."""
    return {doubt.name: doubt.weight for doubt in judge(run, GpuStates(run)).doubts}


def test_a_clean_run_was_on_fit_machines(directory: Path) -> None:
    """Nothing is said of a machine that had room, air and its processors to itself."""
    unfit = {"GPU shared", "GPU held back", "disk full", "memory full", "processor stolen", "processor full"}
    assert not unfit & set(names(open_run(plant(directory))))


def test_a_gpu_that_others_fill_makes_the_run_invalid(directory: Path) -> None:
    """A quarter of its memory in other hands is not the GPU that was to be measured; who it was is named."""
    run = open_run(plant(directory, other_rows=(*every(5, _health), *every(5, _stranger))))
    verdict = judge(run, GpuStates(run))
    (doubt,) = [doubt for doubt in verdict.doubts if doubt.name == "GPU shared"]
    assert (doubt.weight, verdict.conclusion) == (Weight.INVALID, Conclusion.NOT_VALID)
    assert "up to 25% of its memory" in doubt.what


@pytest.mark.parametrize(
    ("rows", "name"),
    [
        (every(2, _hot), "GPU held back"),
        (every(5, _host(disk_free_bytes=100 * 2**20)), "disk full"),
        (every(5, _host(steal_ratio=0.2)), "processor stolen"),
        (every(5, _host(cpu_ratio=0.99)), "processor full"),
        (
            tuple(
                _host(memory_available_bytes=GIB // 2, swapped_out_bytes=GIB * second)(START_NS + second * 10**9)
                for second in range(10)
            ),
            "memory full",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_an_unfit_machine_is_told(directory: Path, rows: tuple[Row, ...], name: str) -> None:
    """A run on it is read with care."""
    assert names(open_run(plant(directory, other_rows=rows)))[name] is Weight.CAUTION


@pytest.fixture
def oom(directory: Path) -> Path:
    """A run with an OOM, on 18 November 2026."""
    return plant(directory, oom_at_s=(30.0,))


def accepting(path: Path, until: date) -> Run:
    """That run by a scenario that accepts OOM."""
    run = open_run(path)
    assert run.plan is not None
    accepted = (Accepted(finding=Code.OOM, reason="TICKET-9", until=until),)
    run.plan = run.plan.model_copy(update={"accepted": accepted, "goals": ("findings.critical = 0",)})
    return run


def test_an_accepted_finding_weighs_nothing(oom: Path) -> None:
    """It is shown with its reason, and the goal on findings is met."""
    verdict = judge(run := accepting(oom, date(2026, 11, 18)), GpuStates(run))
    (finding,) = [finding for finding in verdict.findings if finding.code is Code.OOM]
    assert finding.accepted is not None
    assert (finding.accepted.reason, finding.accepted.until) == ("TICKET-9", "2026-11-18")
    assert verdict.goals[0].standing is Standing.MET
    assert "OOM" not in verdict.story
    assert "Accepted until 2026-11-18: TICKET-9" in summary(run, verdict)
    assert b'<skipped type="accepted" message="TICKET-9 (until 2026-11-18)"' in junit(verdict)
    (told,) = [one for one in verdict.to_dict()["findings"] if one["code"] == "OOM"]
    assert told["accepted"] == {"reason": "TICKET-9", "until": "2026-11-18"}


def test_an_acceptance_ends_with_its_day(oom: Path) -> None:
    """From the next day on the finding counts, and the report says why."""
    verdict = judge(run := accepting(oom, date(2026, 11, 17)), GpuStates(run))
    assert verdict.goals[0].standing is Standing.MISSED
    assert "acceptance expired" in {doubt.name for doubt in verdict.doubts}
    assert evaluate(run, verdict.findings)[0].value == 1
