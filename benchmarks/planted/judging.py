"""One case: make its recording, let it be judged, compare with what was planted."""

from __future__ import annotations

import shutil
import time
import traceback
from dataclasses import dataclass
from pathlib import Path

from benchmarks.planted.cases import Case, planted
from benchmarks.planted.recording import record
from comfysoak_analysis.frames import open_run
from comfysoak_analysis.gpu_state import GpuStates
from comfysoak_analysis.judgement import judge
from comfysoak_analysis.verdict import Verdict, Weight
from comfysoak_core.codes import Severity


@dataclass(frozen=True, slots=True)
class Judged:
    """What came of one case: codes that were wanted and found, or missed; what else was told; alarms of a clean run."""

    case: Case
    kind: str
    found: tuple[str, ...] = ()
    missed: tuple[str, ...] = ()
    false: tuple[str, ...] = ()  # not wanted, and no stated consequence
    doubts: tuple[str, ...] = ()  # against the run, of weight caution or invalid
    error: str = ""
    made_s: float = 0.0
    judged_s: float = 0.0

    @property
    def is_alarmed(self) -> bool:
        """Whether a run in which nothing was planted raised an alarm."""
        return bool(self.false) or bool(self.doubts)


def try_case(case: Case, folder: Path, *, keep: bool = True) -> Judged:
    """Make, judge, compare. The recording stays in `folder` where it was not as planted, and `keep`."""
    path = folder / case.label
    shutil.rmtree(path, ignore_errors=True)
    began = time.perf_counter()
    truth = planted(case)
    record(truth.world, path)
    made = time.perf_counter()
    try:
        run = open_run(path)
        verdict = judge(run, GpuStates(run))
    except Exception:  # noqa: BLE001  # whatever it was, it is this case's result
        return Judged(case, truth.kind, error=traceback.format_exc(limit=-4), made_s=made - began)
    done = time.perf_counter()
    told = _told(verdict, alarms_only=case.group == "clean")
    allowed = truth.wanted | frozenset(truth.allowed)
    result = Judged(
        case,
        truth.kind,
        found=tuple(sorted(code for code in truth.wanted if code in told)),
        missed=tuple(sorted(code for code in truth.wanted if code not in told)),
        false=tuple(sorted(code for code in told if code not in allowed)),
        doubts=tuple(
            f"{doubt.name}: {doubt.what}"[:200] for doubt in verdict.doubts if doubt.weight is not Weight.NOTE
        ),
        made_s=made - began,
        judged_s=done - made,
    )
    as_planted = not result.missed and not result.false and not (case.group == "clean" and result.doubts)
    if as_planted or not keep:
        shutil.rmtree(path, ignore_errors=True)
    return result


def _told(verdict: Verdict, *, alarms_only: bool) -> frozenset[str]:
    return frozenset(
        finding.code.value
        for finding in verdict.findings
        if not finding.accepted and (not alarms_only or finding.severity is not Severity.INFO)
    )
