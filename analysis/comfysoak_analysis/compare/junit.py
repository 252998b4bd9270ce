"""The comparison as JUnit: one test case a gate, one for whether the sides may be compared at all."""

from __future__ import annotations

from xml.etree import ElementTree as ET  # written here, never parsed

from comfysoak_analysis.compare.comparison import Comparison, Conclusion, Row, Standing
from comfysoak_analysis.compare.words import effect_text, limit_text, p_text, value_text
from comfysoak_analysis.text import for_xml


def junit(comparison: Comparison) -> bytes:
    """A gate that is worse is a failure, one that cannot tell an error; so are sides that do not compare."""
    cases = [_comparable(comparison), *(_gate(row) for row in comparison.gates)]
    suite = ET.Element("testsuite", name="compare", tests=str(len(cases)))
    root = ET.Element("testsuites", name="ComfySoak", tests=str(len(cases)))
    for attribute, tag in (("failures", "failure"), ("errors", "error"), ("skipped", "skipped")):
        count = str(sum(case.find(tag) is not None for case in cases))
        suite.set(attribute, count)
        root.set(attribute, count)
    suite.extend(cases)
    root.append(suite)
    ET.indent(root)
    text: bytes = ET.tostring(root, encoding="utf-8", xml_declaration=True)
    return text + b"\n"


def _comparable(comparison: Comparison) -> ET.Element:
    case = ET.Element("testcase", classname="compare.sides", name="the sides can be compared")
    said = [one.in_words(comparison.sides) for one in comparison.differences] + list(comparison.invalid)
    if comparison.conclusion is Conclusion.NOT_COMPARABLE:
        _tell(case, "error", comparison.sentence, "not comparable")
    elif said:
        _tell(case, "system-out", "\n".join(said))
    return case


def _gate(row: Row) -> ET.Element:
    case = ET.Element("testcase", classname="compare.gates", name=for_xml(row.measure.name, 200))
    said = (
        f"{value_text(row.measure, row.middle_baseline)} -> {value_text(row.measure, row.middle_new)}, "
        f"{effect_text(row)}; matters from {limit_text(row)}; p {p_text(row) or 'unknown'}. {row.remark}"
    ).strip()
    if row.standing is Standing.WORSE:
        _tell(case, "failure", said, "regression")
    elif row.standing is Standing.UNKNOWN:
        _tell(case, "error", said, "cannot tell")
    else:
        _tell(case, "system-out", said)
    return case


def _tell(case: ET.Element, tag: str, said: str, kind: str = "") -> None:
    child = ET.SubElement(case, tag)
    if kind:
        child.set("type", kind)
        child.set("message", for_xml(said, 500))
    child.text = for_xml(said)
