"""The comparison for a pull request: a verdict, a table, and what differs, on one screen."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from comfysoak_analysis.compare.comparison import Comparison, Conclusion, Standing
from comfysoak_analysis.compare.words import Line, cases_text, lines
from comfysoak_analysis.text import for_markdown as md
from comfysoak_analysis.text import markdown_table

MARKS = {
    Conclusion.REGRESSION: "❌",
    Conclusion.NO_REGRESSION: "✅",
    Conclusion.CANNOT_TELL: "❔",
    Conclusion.NOT_COMPARABLE: "⚠️",
}
_STANDINGS: Mapping[str, str] = {
    Standing.WORSE: "❌",
    Standing.BETTER: "🟢",
    Standing.SAME: "✅",
    Standing.UNKNOWN: "❔",
}


def markdown(comparison: Comparison) -> str:
    """The markdown; names from recordings are escaped."""
    parts = [
        f"## {MARKS[comparison.conclusion]} ComfySoak compare: {comparison.conclusion.value}",
        f"{md(comparison.sentence, 1200)}",
        f"{md(cases_text(comparison), 300)}.",
        _table(comparison),
        "\n".join(_notes(comparison)),
        "\n".join(_runs(comparison)),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _table(comparison: Comparison) -> str:
    if not comparison.rows:
        return ""
    old, new = (md(side, 60) for side in comparison.sides)
    header = ("", "Measure", old, new, "Change", "Matters from", "p")
    return markdown_table(header, (_cells(line) for line in lines(comparison)))


def _cells(line: Line) -> tuple[str, ...]:
    mark = _STANDINGS.get(line.standing, "")
    values = (line.baseline, line.new, line.change, line.matters, line.p)
    return (f"{mark} {line.standing}".strip(), md(line.measure, 120), *(md(value) for value in values))


def _notes(comparison: Comparison) -> Iterator[str]:
    yield from (f"- {md(remark, 600)}" for remark in comparison.remarks)
    for one in comparison.differences:
        yield f"- {'**differs**' if one.refuses else 'differs'}: {md(one.in_words(comparison.sides), 900)}"
    yield from (f"- **not valid**: {md(reason, 400)}" for reason in comparison.invalid)


def _runs(comparison: Comparison) -> Iterator[str]:
    for side, runs in zip(comparison.sides, (comparison.baseline, comparison.new), strict=True):
        if runs:
            yield f"- {md(side, 60)}: {', '.join(md(run.name, 120) for run in runs[:30])}"
