"""From a run to its verdict: findings, goals and doubts brought together, and said in one sentence."""

from __future__ import annotations

from comfysoak_analysis.compare.blocks import as_goals
from comfysoak_analysis.findings.detectors import find_all
from comfysoak_analysis.findings.finding import Finding
from comfysoak_analysis.frames import Run
from comfysoak_analysis.goals import evaluate
from comfysoak_analysis.gpu_state import GpuStates
from comfysoak_analysis.measures import Group, whole
from comfysoak_analysis.validity import doubts
from comfysoak_analysis.verdict import EXIT_CODES, Conclusion, Doubt, GoalResult, Standing, Verdict, Weight, conclude
from comfysoak_analysis.watched import headline, said, story
from comfysoak_core.codes import Severity
from comfysoak_core.scenario.quantities import format_duration


def judge(run: Run, states: GpuStates, *, live: bool = False) -> Verdict:
    """The verdict on `run`; of a run in progress (`live`) that on what there is so far."""
    findings = find_all(run, states)
    goals = () if run.is_watching else evaluate(run, findings, states=states)
    gpu_matters = any(goal.measure.startswith("gpu.") for goal in goals) or any(finding.states for finding in findings)
    against = doubts(run, findings, live=live, gpu_matters=gpu_matters)
    goals = (*as_goals(run, against), *goals)
    on_undecided = run.plan.on_undecided if run.plan is not None else "fail"
    conclusion = Conclusion.WATCHED if run.is_watching else conclude(goals, against, on_undecided)
    return Verdict(
        run=run.recording.run.name,
        conclusion=conclusion,
        exit_code=EXIT_CODES[conclusion],
        sentence=f"{headline(run)}: {said(run, findings)}"
        if run.is_watching
        else _sentence(conclusion, goals, against),
        story=story(findings) if run.is_watching else _story(run, whole(run), findings),
        started_ns=run.start_ns,
        ended_ns=run.end_ns,
        ended_how=_ended_how(run, live=live),
        goals=goals,
        findings=findings,
        doubts=against,
        on_undecided=on_undecided,
    )


def _ended_how(run: Run, *, live: bool) -> str:
    ended = run.recording.run.ended
    if ended is not None:
        return ended.reason.value
    return "running" if live or run.recording.is_running() else "cut off"


def _sentence(conclusion: Conclusion, goals: tuple[GoalResult, ...], against: tuple[Doubt, ...]) -> str:
    if conclusion is Conclusion.NOT_VALID:
        return next(doubt.what for doubt in against if doubt.weight is Weight.INVALID)
    missed = [goal for goal in goals if goal.standing is Standing.MISSED]
    if missed:
        said = ", ".join(f"{goal.text} (measured {goal.value_text})" for goal in missed[:3])
        return f"{_goals(len(missed), len(goals))} missed: {said}."
    undecided = [goal for goal in goals if goal.standing is Standing.UNDECIDED]
    if undecided:
        return f"{_goals(len(undecided), len(goals))} undecided: {undecided[0].text}, {undecided[0].reason}."
    return {1: "The goal was met.", 2: "Both goals were met."}.get(len(goals), f"All {len(goals)} goals were met.")


def _goals(count: int, of: int) -> str:
    return (
        ("The goal was" if of == 1 else f"{count} of {of} goals was") if count == 1 else f"{count} of {of} goals were"
    )


def _story(run: Run, all_prompts: Group, findings: tuple[Finding, ...]) -> str:
    """What happened, in one sentence of figures."""
    said = f"In {format_duration(round(run.duration_s))}, {all_prompts.intended:,} prompts ran to an end"
    if all_prompts.judged:
        said += f"; of {all_prompts.judged:,} measured, {all_prompts.failed:,} failed"
    weighing = [finding for finding in findings if finding.accepted is None]
    grave = [finding.code.value for finding in weighing if finding.severity is not Severity.INFO]
    return said + (f". Found: {', '.join(grave)}." if grave else ". Nothing was found wrong.")
