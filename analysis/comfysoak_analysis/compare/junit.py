"""The comparison as JUnit: one test case a gate, one for whether the sides may be compared at all."""

from __future__ import annotations

from xml.etree import ElementTree as ET  # written here, never parsed

from comfysoak_analysis.compare.comparison import Comparison, Conclusion, Row, Standing
from comfysoak_analysis.compare.words import effect_text, limit_text, p_text, value_text
from comfysoak_analysis.junit_parts import case as case_of
from comfysoak_analysis.junit_parts import document, suite, tell


def junit(comparison: Comparison) -> bytes:
    """A gate that is worse is a failure, one that cannot tell an error; so are sides that do not compare."""
    cases = [_comparable(comparison), *(_gate(row) for row in comparison.gates)]
    return document([suite("compare", cases)])


def _comparable(comparison: Comparison) -> ET.Element:
    case = case_of("compare.sides", "the sides can be compared")
    said = [one.in_words(comparison.sides) for one in comparison.differences] + list(comparison.invalid)
    if comparison.conclusion is Conclusion.NOT_COMPARABLE:
        tell(case, "error", comparison.sentence, "not comparable")
    elif said:
        tell(case, "system-out", "\n".join(said))
    return case


def _gate(row: Row) -> ET.Element:
    case = case_of("compare.gates", row.measure.name)
    said = (
        f"{value_text(row.measure, row.middle_baseline)} -> {value_text(row.measure, row.middle_new)}, "
        f"{effect_text(row)}; matters from {limit_text(row)}; p {p_text(row) or 'unknown'}. {row.remark}"
    ).strip()
    if row.standing is Standing.WORSE:
        tell(case, "failure", said, "regression")
    elif row.standing is Standing.UNKNOWN:
        tell(case, "error", said, "cannot tell")
    else:
        tell(case, "system-out", said)
    return case
