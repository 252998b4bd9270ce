"""One case: make its recording, let it be judged, compare with what was planted."""

from __future__ import annotations

import shutil
import time
import traceback
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from benchmarks.planted.cases import Case, Planted, planted
from benchmarks.planted.course import NEVER, Course, play
from benchmarks.planted.load_tables import has_struck
from benchmarks.planted.recording import record_course
from benchmarks.planted.world import World
from comfysoak_analysis.frames import open_run
from comfysoak_analysis.gpu_state import GpuStates
from comfysoak_analysis.judgement import judge
from comfysoak_analysis.verdict import Verdict, Weight
from comfysoak_core.codes import Severity

DRAWN_MOST: Final = 50
# A doubt about how much was measured is no alarm about the target, and short runs are clean runs, too.
NO_ALARM: Final = frozenset({"few prompts"})


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
    truth, course = _happened(case)
    record_course(truth.world, course, path)
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
            f"{doubt.name}: {doubt.what}"[:200]
            for doubt in verdict.doubts
            if doubt.weight is not Weight.NOTE and doubt.name not in NO_ALARM
        ),
        made_s=made - began,
        judged_s=done - made,
    )
    as_planted = not result.missed and not result.false and not (case.group == "clean" and result.doubts)
    if as_planted or not keep:
        shutil.rmtree(path, ignore_errors=True)
    return result


def _happened(case: Case) -> tuple[Planted, Course]:
    """The case's run; one in which not all came about (behind a dead worker nothing fails) is drawn again."""
    for turn in range(DRAWN_MOST):
        truth = planted(case, turn)
        course = play(truth.world)
        if came_about(truth.world, course):
            return truth, course
    raise ValueError(f"{case.label}: in {DRAWN_MOST} draws not all that was planted came about")


def came_about(world: World, course: Course) -> bool:
    """Whether each prompt that was to fail did, and each worker that was to stand still does."""
    struck = {id(life.fate) for life in course.lives if life.fate is not None and has_struck(life)}
    stands = sum(life.begun < NEVER and life.gone == NEVER for life in course.lives)
    poisoned = len(world.script.outages) >= len(world.script.poisoned)
    fates = all(id(fate) in struck for fate in world.script.fates)
    return fates and stands >= len(world.script.stuck) and poisoned


def _told(verdict: Verdict, *, alarms_only: bool) -> frozenset[str]:
    return frozenset(
        finding.code.value
        for finding in verdict.findings
        if not finding.accepted and (not alarms_only or finding.severity is not Severity.INFO)
    )
