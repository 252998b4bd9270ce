"""Is it worse? Runs against runs, one run against a history, or the two sides of one interleaved run.

    from comfysoak_analysis import open_run
    from comfysoak_analysis.compare import compare, summarise

    comparison = compare([summarise(open_run(path)) for path in old], [summarise(open_run(path)) for path in new])
    comparison.conclusion     # Conclusion.REGRESSION, NO_REGRESSION, CANNOT_TELL or NOT_COMPARABLE
    comparison.exit_code      # 1, 0, 3, 3
    comparison.rows           # one a measure: effect, interval, p, and how it stands if it is a gate

`summarise(run)` reads all a comparison needs into a `RunSummary` of a few kilobytes; a baseline file holds those, so
that the recordings themselves may go. `compare(baseline, new, gates, anyway=...)` is pure. `compare_sides(run)` does
the same for a run of `comfysoak run --ab`, over its pairs of blocks.

Runs are the cases, never prompts: see `comfysoak_analysis.statistics.comparison`. A few measures gate, Holm-corrected;
all others only inform. How it decides, and what it cannot say: docs/analysis.md, "Is it worse?".
"""

from comfysoak_analysis.compare.comparison import Comparison, Conclusion, Effect, Method, Row, Standing
from comfysoak_analysis.compare.deciding import compare
from comfysoak_analysis.compare.gates import DEFAULT_GATES, Gate, parse_gate
from comfysoak_analysis.compare.summary import RunSummary, summarise

__all__ = [
    "DEFAULT_GATES",
    "Comparison",
    "Conclusion",
    "Effect",
    "Gate",
    "Method",
    "Row",
    "RunSummary",
    "Standing",
    "compare",
    "parse_gate",
    "summarise",
]
