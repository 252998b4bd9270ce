"""Which moments of findings are marked across the charts."""

from __future__ import annotations

from comfysoak_analysis import Run
from comfysoak_analysis.cards import marks_of
from comfysoak_analysis.findings.evidence import evenly
from comfysoak_analysis.findings.finding import Finding
from comfysoak_core.clock import NS_PER_S
from comfysoak_core.codes import Code


def test_marks_of_what_went_on_reach_to_its_end(story: Run) -> None:
    """A reader must not take the first dozen of a hundred failures for all of them."""
    start_ns = story.start_ns or 0
    moments = tuple(start_ns + second * NS_PER_S for second in range(100))
    marks = marks_of(story, (Finding(Code.OOM, 100, moments[0], moments[-1], "", moments_ns=moments),))
    assert len(marks) == 12
    assert (marks[0].at_ms, marks[-1].at_ms) == (0, 99_000)


def test_few_are_all_there_and_one_is_the_first() -> None:
    """Places are chosen evenly, none twice."""
    assert evenly(3, 12) == [0, 1, 2]
    assert evenly(100, 1) == [0]
    assert evenly(10, 4) == [0, 3, 6, 9]
    assert evenly(0, 4) == []
