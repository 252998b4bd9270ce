"""`summary.md`: the verdict for a pull request, on one screen."""

from __future__ import annotations

from collections.abc import Iterator

from comfysoak_analysis import measures, watched
from comfysoak_analysis.cold_starts import cold_starts
from comfysoak_analysis.findings.evidence import counted
from comfysoak_analysis.findings.finding import Certainty, Finding
from comfysoak_analysis.frames import Run
from comfysoak_analysis.model_loads import model_loads
from comfysoak_analysis.model_loads.table import figures_by_model
from comfysoak_analysis.text import for_markdown as md
from comfysoak_analysis.text import markdown_table
from comfysoak_analysis.tiles import number_text, seconds_text, share_text, size_text
from comfysoak_analysis.verdict import Conclusion, Standing, Verdict, Weight

_MARKS = {
    Conclusion.PASSED: "✅",
    Conclusion.FAILED: "❌",
    Conclusion.UNDECIDED: "❔",
    Conclusion.NOT_VALID: "⚠️",
    Conclusion.WATCHED: "👁️",
}
_GOAL_MARKS = {Standing.MET: "✅ met", Standing.MISSED: "❌ missed", Standing.UNDECIDED: "❔ undecided"}
MOST_FAILURES = 10


def summary(run: Run, verdict: Verdict) -> str:
    """The markdown; text from servers is escaped."""
    parts = [
        f"## {_MARKS[verdict.conclusion]} ComfySoak: {md(verdict.run, 120)} {verdict.conclusion.value}",
        f"{md(verdict.sentence, 600)} {md(verdict.story, 600)}",
        _goals(verdict),
        _capacity(run),
        *(_watched(run) if run.is_watching else [_figures(run)]),
        _findings(verdict),
        _failures(run),
        _cold_starts(run),
        _doubts(verdict),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _goals(verdict: Verdict) -> str:
    if verdict.conclusion is Conclusion.WATCHED:
        return ""
    rows = [
        (_GOAL_MARKS[goal.standing], md(goal.text), md(goal.value_text), md(goal.limit_text), md(goal.reason))
        for goal in verdict.goals
    ]
    return markdown_table(("", "Goal", "Measured", "Limit", "Remark"), rows)


def _capacity(run: Run) -> str:
    """What searches for capacity found."""
    return "\n\n".join(f"**Capacity:** {capacity.sentence}" for capacity in run.capacities)


def _figures(run: Run) -> str:
    header = ("Workflow", "Prompts", "Failed", "Per minute", "Latency p50", "p95", "Service p50", "p95")
    return markdown_table(
        header, [_figure(group) for group in (measures.whole(run), *measures.groups_by(run, "workflow")[:20])]
    )


def _figure(group: measures.Group) -> tuple[str, ...]:
    times = (group.latency.p50, group.latency.p95, group.service.p50, group.service.p95)
    counts = (f"{group.judged:,}", f"{group.failed:,}", number_text(group.per_minute))
    return (md(group.name, 80), *counts, *(seconds_text(time) for time in times))


def _watched(run: Run) -> Iterator[str]:
    """A table for each kind of thing that was watched."""
    of_gpus = [
        (md(one.label, 80), md(one.host, 60), size_text(one.memory_max_bytes), size_text(one.memory_total_bytes),
         share_text(one.utilisation_mean))
        for one in measures.gpus(run)
    ]  # fmt: skip
    yield markdown_table(("GPU", "Host", "VRAM peak", "of", "Utilisation mean"), of_gpus) if of_gpus else ""
    of_hosts = [
        (md(one.host, 60), share_text(one.cpu_mean), share_text(one.cpu_most), size_text(one.memory_most_bytes),
         size_text(one.memory_total_bytes))
        for one in watched.hosts(run)
    ]  # fmt: skip
    yield markdown_table(("Host", "CPU mean", "at most", "Memory peak", "of"), of_hosts) if of_hosts else ""
    of_processes = [
        (md(f"{one.name} {one.pid}", 80), md(one.host, 60), number_text(one.cpu_mean), size_text(one.memory_most_bytes))
        for one in watched.processes(run)[:MOST_FAILURES]
    ]
    yield markdown_table(("Process", "Host", "Cores, mean", "Memory peak"), of_processes) if of_processes else ""
    of_models = [
        (md(one.model, 80), f"{one.count:,}", "—" if one.moved_median_s is None else seconds_text(one.moved_median_s))
        for one in figures_by_model(model_loads(run))[:MOST_FAILURES]
    ]
    yield markdown_table(("Model", "Loads", "Moved, median"), of_models) if of_models else ""


def _findings(verdict: Verdict) -> str:
    if not verdict.findings:
        return ""
    return "\n".join(["### Findings", "", *(_finding(finding) for finding in verdict.findings)])


def _finding(finding: Finding) -> str:
    sure = "" if finding.certainty is Certainty.CERTAIN else f", {finding.certainty.value}"
    link = f"[{md(finding.code.value)}](report.html#{finding.anchor})"
    head = f"- **{link}** ({finding.severity.value}{sure}, {counted(finding.count, 'time')})"
    said = f"{head}: {md(finding.evidence, 500)} {md(finding.remedy)}"
    if finding.accepted is None:
        return said
    return f"{said} Accepted until {finding.accepted.until}: {md(finding.accepted.reason, 300)}"


def _failures(run: Run) -> str:
    found = measures.failures(run, examples=2)[:MOST_FAILURES]
    rows = [
        (md(row.code), md(row.outcome), f"{row.count:,}", md(", ".join(row.examples)), md("; ".join(row.messages), 200))
        for row in found
    ]
    return (
        "### Failures\n\n" + markdown_table(("Code", "Outcome", "Count", "Examples", "Message"), rows) if found else ""
    )


def _cold_starts(run: Run) -> str:
    rows = [f"- {md(one.server)}: {md(one.in_words(), 300)}" for one in cold_starts(run)[:MOST_FAILURES]]
    return "\n".join(["### Cold starts", "", *rows]) if rows else ""


def _doubts(verdict: Verdict) -> str:
    said = [doubt for doubt in verdict.doubts if doubt.weight is not Weight.NOTE]
    rows = [f"- {doubt.weight.value}: {md(doubt.what, 500)} {md(doubt.remedy)}".rstrip() for doubt in said]
    return "\n".join(["### Can this run be believed?", "", *rows]) if rows else ""
