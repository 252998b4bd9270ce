"""Test cases, suites and the document of JUnit: what a verdict and a comparison are told in."""

from __future__ import annotations

from collections.abc import Sequence
from xml.etree import ElementTree as ET  # written here, never parsed

from comfysoak_analysis.text import for_xml

_COUNTS = (("failures", "failure"), ("errors", "error"), ("skipped", "skipped"))


def document(suites: Sequence[ET.Element]) -> bytes:
    """The whole file, with the sums of its suites."""
    root = ET.Element("testsuites", name="ComfySoak")
    root.extend(suites)
    for name in ("tests", *(attribute for attribute, _ in _COUNTS)):
        root.set(name, str(sum(int(suite.get(name, "0")) for suite in suites)))
    ET.indent(root)
    text: bytes = ET.tostring(root, encoding="utf-8", xml_declaration=True)
    return text + b"\n"


def suite(name: str, cases: Sequence[ET.Element]) -> ET.Element:
    """The cases with how many of them failed, broke or were skipped."""
    made = ET.Element("testsuite", name=name, tests=str(len(cases)))
    for attribute, tag in _COUNTS:
        made.set(attribute, str(sum(case.find(tag) is not None for case in cases)))
    made.extend(cases)
    return made


def case(classname: str, name: str) -> ET.Element:
    """One case; it passed unless something is told of it."""
    return ET.Element("testcase", classname=for_xml(classname, 200), name=for_xml(name, 200))


def tell(of: ET.Element, tag: str, said: str, kind: str = "") -> None:
    """What came of a case: `failure`, `error` and `skipped` of a kind, or what it put out (`system-out`)."""
    child = ET.SubElement(of, tag)
    if kind:
        child.set("type", kind)
        child.set("message", for_xml(said, 500))
    child.text = for_xml(said)
