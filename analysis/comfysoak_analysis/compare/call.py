"""One call of `comfysoak compare`: what it reads and what it writes. Nothing is written before all is read."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import TypeAdapter

from comfysoak_analysis.compare import baseline as baseline_file
from comfysoak_analysis.compare.blocks import compare_sides
from comfysoak_analysis.compare.comparison import Comparison, Conclusion
from comfysoak_analysis.compare.deciding import compare
from comfysoak_analysis.compare.gates import DEFAULT_GATES, Gate, parse_gate
from comfysoak_analysis.compare.junit import junit
from comfysoak_analysis.compare.markdown import markdown
from comfysoak_analysis.compare.page import render
from comfysoak_analysis.compare.summary import RunSummary, summarise
from comfysoak_analysis.frames import open_run
from comfysoak_analysis.report import replace_file
from comfysoak_core.errors import RecordingError, UsageError

KEPT_MOST = 60  # runs in a baseline file that a history goes on in


@dataclass(frozen=True, slots=True)
class Call:
    """What was asked for. `new` and `baseline` are run directories or baseline files.

    No baseline: one interleaved run, or only a baseline file to be saved.
    """

    new: tuple[Path, ...]
    baseline: tuple[Path, ...] = ()
    gates: tuple[str, ...] = ()
    anyway: bool = False
    markdown: Path | None = None
    junit: Path | None = None
    html: Path | None = None
    save_baseline: Path | None = None


CALL: TypeAdapter[Call] = TypeAdapter(Call)


def run_call(call: Call, progress: Callable[[str], None] = lambda _: None) -> Comparison | None:
    """Compare and write the files asked for; None where runs were only saved as a baseline.

    `progress` is told in words which recording is read.
    """
    gates = tuple(parse_gate(text) for text in call.gates) or DEFAULT_GATES
    if call.baseline:
        besides = [gate.measure.name for gate in gates]
        old, new = (_summaries(side, besides, progress) for side in (call.baseline, call.new))
        comparison = compare(old, new, gates, anyway=call.anyway)
        _write(call, comparison)
        _save(call, [*old, *(new if _may_join(comparison) else ())])
        return comparison
    if call.save_baseline is not None and not (call.markdown or call.junit or call.html):
        besides = [gate.measure.name for gate in gates]
        _save(call, _valid(_summaries(call.new, besides, progress), anyway=call.anyway))
        return None
    comparison = _interleaved(call, gates)
    _write(call, comparison)
    return comparison


def _interleaved(call: Call, gates: Sequence[Gate]) -> Comparison:
    if len(call.new) != 1 or call.new[0].is_file():
        raise UsageError("expected runs to compare with", "comfysoak compare RUN... --baseline RUN... (or FILE.json)")
    return compare_sides(open_run(call.new[0]), gates)


def _summaries(paths: Sequence[Path], besides: Sequence[str], progress: Callable[[str], None]) -> list[RunSummary]:
    found: list[RunSummary] = []
    for number, path in enumerate(paths, 1):
        progress(f"reading {path} ({number} of {len(paths)})")
        if path.is_file():
            found += baseline_file.read_baseline(path)
        else:
            found.append(summarise(open_run(path), besides))
    return found


def _may_join(comparison: Comparison) -> bool:
    """Whether the new runs may go on the history: what is worse, or does not compare, would spoil it."""
    return comparison.conclusion in {Conclusion.NO_REGRESSION, Conclusion.CANNOT_TELL} and not comparison.invalid


def _valid(runs: Sequence[RunSummary], *, anyway: bool) -> Sequence[RunSummary]:
    invalid = [f"{run.name}: {run.invalid[0]}" for run in runs if run.invalid]
    if invalid and not anyway:
        raise RecordingError(f"not valid, so no baseline: {'; '.join(invalid[:3])}", "Leave it out, or say --anyway.")
    return runs


def _save(call: Call, runs: Sequence[RunSummary]) -> None:
    if call.save_baseline is not None:
        latest = sorted(runs, key=lambda run: run.started_ns)[-KEPT_MOST:]
        replace_file(call.save_baseline, baseline_file.encode(latest))


def _write(call: Call, comparison: Comparison) -> None:
    wanted: tuple[tuple[Path | None, Callable[[Comparison], bytes]], ...] = (
        (call.markdown, lambda one: markdown(one).encode("utf-8", "replace")),
        (call.junit, junit),
        (call.html, lambda one: render(one).encode("utf-8", "replace")),
    )
    for path, make in wanted:
        if path is not None:
            replace_file(path, make(comparison))
