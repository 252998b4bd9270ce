"""Findings as the page shows them: a card each, and marks on the time axis that lead to it."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from comfysoak_analysis.figures.chart import Chart
from comfysoak_analysis.findings.evidence import evenly
from comfysoak_analysis.findings.finding import Acceptance, Certainty, Finding
from comfysoak_analysis.frames import Run
from comfysoak_analysis.golden import Shown, pictures_of
from comfysoak_core.clock import NS_PER_MS, NS_PER_S
from comfysoak_core.codes import CATALOGUE, Severity
from comfysoak_core.scenario.quantities import format_duration

MOST_MARKS = 40  # lines across the charts
_MOST_OF_ONE = 12
_CERTAINTIES = {
    Certainty.CERTAIN: "the wire, the driver or the kernel said so",
    Certainty.LIKELY: "the rule for it holds, and what is known to look like it is ruled out",
    Certainty.POSSIBLE: "it looks like it, and something else could",
}


@dataclass(frozen=True, slots=True)
class Card:
    """One finding as shown; times in milliseconds after the start of the run."""

    anchor: str
    code: str
    severity: str
    count: int
    meaning: str
    evidence: str
    when: str
    gpu: str
    examples: tuple[str, ...]
    remedy: str
    from_ms: int
    to_ms: int
    certainty: str
    certainty_words: str
    unless: str
    chart: str  # key of the chart that shows it; empty: not in this page
    incident: str  # relative address of its folder
    accepted: Acceptance | None
    subjects: tuple[str, ...]
    pictures: tuple[Shown, ...] = ()


@dataclass(frozen=True, slots=True)
class Mark:
    """A line across the charts at a moment of the finding with this anchor."""

    at_ms: int
    anchor: str
    severity: str


def card_of(run: Run, finding: Finding, charts: Collection[Chart]) -> Card:
    """The card of one finding, in a page with these charts."""
    start_ns = run.start_ns or 0
    first_s, last_s = ((moment - start_ns) / NS_PER_S for moment in (finding.first_ns, finding.last_ns))
    when = f"{format_duration(max(first_s, 0))} into the run"
    if last_s - first_s >= 1:
        when += f", until {format_duration(last_s)}"
    shown = {chart.key for chart in charts if not chart.empty}
    return Card(
        anchor=finding.anchor,
        code=finding.code.value,
        severity=finding.severity.value,
        count=finding.count,
        meaning=finding.meaning,
        evidence=finding.evidence,
        when=when,
        gpu=finding.states[0].in_words() if finding.states else "",
        examples=tuple(dict.fromkeys(finding.examples))[:3],
        remedy=finding.remedy,
        from_ms=round(first_s * 1000),
        to_ms=round(last_s * 1000),
        certainty=finding.certainty.value,
        certainty_words=_CERTAINTIES[finding.certainty],
        unless=finding.unless,
        chart=next((key for key in (_key(finding.chart), "incidents") if key in shown), ""),
        incident=finding.incident,
        accepted=finding.accepted,
        subjects=finding.subjects,
        pictures=pictures_of(run, finding),
    )


def _key(chart: str) -> str:
    """Charts of prompts, hosts and states have longer names in the page than in findings."""
    return {"prompts": "per-minute", "hosts": "host-memory", "states": "gpu-states"}.get(chart, chart)


def marks_of(run: Run, findings: tuple[Finding, ...]) -> tuple[Mark, ...]:
    """Moments of what is critical, from its first to its last, and the first of what else came in a burst.

    None of what is accepted.
    """
    start_ns = run.start_ns or 0
    found = []
    for finding in findings:
        if finding.severity is not Severity.INFO and finding.accepted is None:
            most = _MOST_OF_ONE if finding.severity is Severity.CRITICAL else 1
            found += [
                Mark((finding.moments_ns[place] - start_ns) // NS_PER_MS, finding.anchor, finding.severity.value)
                for place in evenly(len(finding.moments_ns), most)
            ]
    return tuple(found[:MOST_MARKS])


@dataclass(frozen=True, slots=True)
class Rule:
    """One code of the catalogue, and how often it was seen; 0 is not proof that it could have been."""

    code: str
    severity: str
    meaning: str
    remedy: str
    count: int


def rules_of(findings: tuple[Finding, ...]) -> tuple[Rule, ...]:
    """Every code of the catalogue, those that were found first."""
    counts = {finding.code: finding.count for finding in findings}
    rules = [
        Rule(code.value, entry.severity.value, entry.meaning, entry.remedy, counts.get(code, 0))
        for code, entry in CATALOGUE.items()
    ]
    return tuple(sorted(rules, key=lambda rule: (rule.count == 0, rule.code)))
