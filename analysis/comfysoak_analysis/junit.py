"""`junit.xml`: goals, codes and the run's validity as test cases, for whatever shows those."""

from __future__ import annotations

from xml.etree import ElementTree as ET  # written here, never parsed

from comfysoak_analysis.findings.evidence import counted
from comfysoak_analysis.text import for_xml
from comfysoak_analysis.verdict import Doubt, GoalResult, Standing, Verdict, Weight
from comfysoak_core.clock import NS_PER_S
from comfysoak_core.codes import Severity


def junit(verdict: Verdict) -> bytes:
    """A goal missed is a failure, one undecided an error; a finding only informs; an invalid run is one error."""
    root = ET.Element("testsuites", name="ComfySoak")
    suites = [_goals(verdict), _validity(verdict), _findings(verdict)]
    for suite in suites:
        root.append(suite)
    for name in ("tests", "failures", "errors", "skipped"):
        root.set(name, str(sum(int(suite.get(name, "0")) for suite in suites)))
    ET.indent(root)
    text: bytes = ET.tostring(root, encoding="utf-8", xml_declaration=True)
    return text + b"\n"


def _goals(verdict: Verdict) -> ET.Element:
    return _suite("goals", verdict, [_goal(goal, verdict) for goal in verdict.goals])


def _goal(goal: GoalResult, verdict: Verdict) -> ET.Element:
    case = _case(f"{verdict.run}.goals", goal.text)
    said = f"measured {goal.value_text}, limit {goal.limit_text}, {goal.samples} samples. {goal.reason}".strip()
    if goal.standing is Standing.MISSED:
        _child(case, "failure", said, "missed")
    elif goal.standing is Standing.UNDECIDED:
        _child(case, "skipped" if verdict.on_undecided == "pass" else "error", said, "undecided")
    else:
        _child(case, "system-out", said)
    return case


def _validity(verdict: Verdict) -> ET.Element:
    cases = [_doubt(doubt, verdict) for doubt in verdict.doubts if doubt.weight is not Weight.NOTE]
    return _suite("validity", verdict, cases or [_case(f"{verdict.run}.validity", "the run can be believed")])


def _doubt(doubt: Doubt, verdict: Verdict) -> ET.Element:
    case = _case(f"{verdict.run}.validity", doubt.name)
    said = f"{doubt.what} {doubt.remedy}".strip()
    if doubt.weight is Weight.INVALID:
        _child(case, "error", said, "not valid")
    else:
        _child(case, "system-out", said)
    return case


def _findings(verdict: Verdict) -> ET.Element:
    """They decide nothing here: the goals `findings.critical` and `failures.CODE` do."""
    cases = []
    for finding in verdict.findings:
        case = _case(f"{verdict.run}.findings.{finding.severity.value}", finding.code.value)
        if finding.accepted is not None:
            _child(case, "skipped", f"{finding.accepted.reason} (until {finding.accepted.until})", "accepted")
        stream = "system-err" if finding.severity is not Severity.INFO else "system-out"
        _child(
            case,
            stream,
            f"{counted(finding.count, 'time')}. {finding.evidence}\n{finding.remedy}\n"
            f"Examples: {', '.join(finding.examples)}",
        )
        cases.append(case)
    return _suite("findings", verdict, cases)


def _suite(name: str, verdict: Verdict, cases: list[ET.Element]) -> ET.Element:
    seconds = ((verdict.ended_ns or 0) - (verdict.started_ns or 0)) / NS_PER_S
    suite = ET.Element("testsuite", name=name, tests=str(len(cases)), time=f"{max(seconds, 0):.3f}")
    for attribute, tag in (("failures", "failure"), ("errors", "error"), ("skipped", "skipped")):
        suite.set(attribute, str(sum(case.find(tag) is not None for case in cases)))
    suite.extend(cases)
    return suite


def _case(classname: str, name: str) -> ET.Element:
    return ET.Element("testcase", classname=for_xml(classname, 200), name=for_xml(name, 200))


def _child(case: ET.Element, tag: str, said: str, kind: str = "") -> None:
    child = ET.SubElement(case, tag)
    if kind:
        child.set("type", kind)
        child.set("message", for_xml(said, 500))
    child.text = for_xml(said)
