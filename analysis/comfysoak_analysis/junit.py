"""`junit.xml`: goals, codes and the run's validity as test cases, for whatever shows those."""

from __future__ import annotations

from xml.etree import ElementTree as ET  # written here, never parsed

from comfysoak_analysis.findings.evidence import counted
from comfysoak_analysis.junit_parts import case as case_of
from comfysoak_analysis.junit_parts import document, suite, tell
from comfysoak_analysis.verdict import Doubt, GoalResult, Standing, Verdict, Weight
from comfysoak_core.clock import NS_PER_S
from comfysoak_core.codes import Severity


def junit(verdict: Verdict) -> bytes:
    """A goal missed is a failure, one undecided an error; a finding only informs; an invalid run is one error."""
    return document([_goals(verdict), _validity(verdict), _findings(verdict)])


def _goals(verdict: Verdict) -> ET.Element:
    return _suite("goals", verdict, [_goal(goal, verdict) for goal in verdict.goals])


def _goal(goal: GoalResult, verdict: Verdict) -> ET.Element:
    case = case_of(f"{verdict.run}.goals", goal.text)
    said = f"measured {goal.value_text}, limit {goal.limit_text}, {goal.samples} samples. {goal.reason}".strip()
    if goal.standing is Standing.MISSED:
        tell(case, "failure", said, "missed")
    elif goal.standing is Standing.UNDECIDED:
        tell(case, "skipped" if verdict.on_undecided == "pass" else "error", said, "undecided")
    else:
        tell(case, "system-out", said)
    return case


def _validity(verdict: Verdict) -> ET.Element:
    cases = [_doubt(doubt, verdict) for doubt in verdict.doubts if doubt.weight is not Weight.NOTE]
    return _suite("validity", verdict, cases or [case_of(f"{verdict.run}.validity", "the run can be believed")])


def _doubt(doubt: Doubt, verdict: Verdict) -> ET.Element:
    case = case_of(f"{verdict.run}.validity", doubt.name)
    said = f"{doubt.what} {doubt.remedy}".strip()
    if doubt.weight is Weight.INVALID:
        tell(case, "error", said, "not valid")
    else:
        tell(case, "system-out", said)
    return case


def _findings(verdict: Verdict) -> ET.Element:
    """They decide nothing here: the goals `findings.critical` and `failures.CODE` do."""
    cases = []
    for finding in verdict.findings:
        case = case_of(f"{verdict.run}.findings.{finding.severity.value}", finding.code.value)
        if finding.accepted is not None:
            tell(case, "skipped", f"{finding.accepted.reason} (until {finding.accepted.until})", "accepted")
        stream = "system-err" if finding.severity is not Severity.INFO else "system-out"
        tell(
            case,
            stream,
            f"{counted(finding.count, 'time')}. {finding.evidence}\n{finding.remedy}\n"
            f"Examples: {', '.join(finding.examples)}",
        )
        cases.append(case)
    return _suite("findings", verdict, cases)


def _suite(name: str, verdict: Verdict, cases: list[ET.Element]) -> ET.Element:
    made = suite(name, cases)
    made.set("time", f"{max((verdict.ended_ns or 0) - (verdict.started_ns or 0), 0) / NS_PER_S:.3f}")
    return made
