"""`summary.md`: the verdict for a pull request, on one screen."""

from __future__ import annotations

from comfysoak_analysis import measures
from comfysoak_analysis.frames import Run
from comfysoak_analysis.text import for_markdown as md
from comfysoak_analysis.verdict import Conclusion, Standing, Verdict, Weight
from comfysoak_analysis.view import number_text, seconds_text

_MARKS = {Conclusion.PASSED: "✅", Conclusion.FAILED: "❌", Conclusion.UNDECIDED: "❔", Conclusion.NOT_VALID: "⚠️"}
_GOAL_MARKS = {Standing.MET: "✅ met", Standing.MISSED: "❌ missed", Standing.UNDECIDED: "❔ undecided"}
MOST_FAILURES = 10


def summary(run: Run, verdict: Verdict) -> str:
    """The markdown; text from servers is escaped."""
    parts = [
        f"## {_MARKS[verdict.conclusion]} ComfySoak: {md(verdict.run, 120)} {verdict.conclusion.value}",
        f"{md(verdict.sentence, 600)} {md(verdict.story, 600)}",
        _goals(verdict),
        _figures(run),
        _findings(verdict),
        _failures(run),
        _doubts(verdict),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _goals(verdict: Verdict) -> str:
    rows = [
        f"| {_GOAL_MARKS[goal.standing]} | {md(goal.text)} | {md(goal.value_text)} | {md(goal.limit_text)} | {md(goal.reason)} |"
        for goal in verdict.goals
    ]
    return "\n".join(["| | Goal | Measured | Limit | Remark |", "|---|---|---:|---:|---|", *rows])


def _figures(run: Run) -> str:
    header = "| Workflow | Prompts | Failed | Per minute | Latency p50 | p95 | Service p50 | p95 |\n|---|---:|---:|---:|---:|---:|---:|---:|"
    groups = [measures.whole(run), *measures.groups_by(run, "workflow")[:20]]
    rows = [
        f"| {md(group.name, 80)} | {group.intended:,} | {group.failed:,} | {number_text(group.per_minute)} | {seconds_text(group.latency.p50)} "
        f"| {seconds_text(group.latency.p95)} | {seconds_text(group.service.p50)} | {seconds_text(group.service.p95)} |"
        for group in groups
    ]
    return "\n".join([header, *rows])


def _findings(verdict: Verdict) -> str:
    if not verdict.findings:
        return ""
    rows = [
        f"- **{finding.code.value}** ({finding.severity.value}, {finding.count:,} ×): {md(finding.evidence, 500)} {md(finding.remedy, 300)}"
        for finding in verdict.findings
    ]
    return "\n".join(["### Findings", "", *rows])


def _failures(run: Run) -> str:
    found = measures.failures(run, examples=2)[:MOST_FAILURES]
    if not found:
        return ""
    rows = [
        f"| {md(row.code, 40)} | {md(row.outcome, 40)} | {row.count:,} | {md(', '.join(row.examples), 90)} | {md('; '.join(row.messages), 200)} |"
        for row in found
    ]
    return "\n".join(
        ["### Failures", "", "| Code | Outcome | Count | Examples | Message |", "|---|---|---:|---|---|", *rows]
    )


def _doubts(verdict: Verdict) -> str:
    rows = [
        f"- {doubt.weight.value}: {md(doubt.what, 500)} {md(doubt.remedy, 300)}".rstrip()
        for doubt in verdict.doubts
        if doubt.weight is not Weight.NOTE
    ]
    return "\n".join(["### Can this run be believed?", "", *rows]) if rows else ""
