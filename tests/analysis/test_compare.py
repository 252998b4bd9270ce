"""Sides against sides: on summaries made by hand, for the error rates, and on recordings on disk."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import numpy as np
import pytest

from comfysoak_analysis import open_run
from comfysoak_analysis.compare import Comparison, Conclusion, Method, Standing, compare, parse_gate, summarise
from comfysoak_analysis.compare.baseline import MOST_BYTES, decode, encode
from comfysoak_analysis.compare.facts import Facts, Named
from comfysoak_analysis.compare.figures import charts, pooled
from comfysoak_analysis.compare.junit import junit
from comfysoak_analysis.compare.markdown import markdown
from comfysoak_analysis.compare.page import render
from comfysoak_analysis.compare.summary import Figure, RunSummary, Sketch, TimeCourse, WorkflowTimes
from comfysoak_analysis.compare.words import lines
from comfysoak_core.errors import RecordingError, UsageError
from tests.analysis.planted import plant

HOSTILE = "<script>alert(1)</script>|[x](http://evil.example) @you \x1b[2J"


def summary(number: int, slower: float = 1.0, failed: float = 0.0, **changes: object) -> RunSummary:
    figures = (
        Figure("prompts.failed", failed, 1000),
        Figure("prompts.latency.p95", 5 * slower, 1000),
        Figure("prompts.typical_service", 1 * slower, 1000),
        Figure("prompts.per_minute", 60 / slower, 1000),
    )
    whole = RunSummary(f"run {number}", f"id-{number}", number * 10**9, 60.0, Facts(), figures)
    return replace(whole, **changes)  # type: ignore[arg-type]  # fields by name


def side(numbers: np.random.Generator, first: int, count: int, slower: float) -> list[RunSummary]:
    return [summary(first + place, slower * float(np.exp(numbers.normal(0, 0.03)))) for place in range(count)]


def judged(numbers: np.random.Generator, old: int, new: int, slower: float) -> Comparison:
    return compare(side(numbers, 0, old, 1.0), side(numbers, 500, new, slower))


def rate(old: int, new: int, slower: float, times: int) -> float:
    numbers = np.random.default_rng(old * 100 + new)
    return sum(judged(numbers, old, new, slower).conclusion is Conclusion.REGRESSION for _ in range(times)) / times


def test_five_against_five_find_ten_percent_and_rarely_cry_wolf() -> None:
    """At 3 % between runs: 10 % slower is found in 95 % of comparisons, and nothing in all but 1 %."""
    assert rate(5, 5, 1.10, 200) >= 0.95
    assert rate(5, 5, 1.00, 300) <= 0.01


def test_one_night_against_twenty_rarely_cries_wolf() -> None:
    """A control chart of 20 nights finds 20 % in one run, and alarms on nothing in one of a hundred."""
    assert rate(20, 1, 1.20, 60) >= 0.95
    assert rate(20, 1, 1.00, 150) <= 0.015


@pytest.mark.parametrize(("old", "new"), [(1, 1), (3, 3), (7, 1), (5, 1)])
def test_too_few_runs_are_told_at_once(old: int, new: int) -> None:
    """However large the difference, the answer is 'cannot tell', with the effect and how many runs it takes."""
    found = compare([summary(n) for n in range(old)], [summary(50 + n, 9.0) for n in range(new)])
    assert found.conclusion is Conclusion.CANNOT_TELL
    assert found.exit_code == 3
    assert found.method is Method.NONE
    assert "4 runs a side" in found.sentence
    assert "history of 8" in found.sentence
    effect = found.gates[1].effect
    assert effect is not None
    assert effect.value == pytest.approx(8.0)
    assert all(row.p is None and row.standing is Standing.UNKNOWN for row in found.gates)


def test_runs_that_are_clearly_worse_are_a_regression() -> None:
    """The sentence names the measure, the effect and its interval; the exit code is 1."""
    found = judged(np.random.default_rng(1), 5, 5, 1.3)
    assert found.conclusion is Conclusion.REGRESSION
    assert found.exit_code == 1
    assert found.method is Method.RUNS
    assert "prompts.latency.p95 +29.8 %" in found.sentence
    assert "(95 %:" in found.sentence


def test_a_sure_change_that_does_not_matter_is_no_regression() -> None:
    """3 % slower in all runs is sure, and below the 5 % that matter; a gate may ask for less."""
    old, new = [summary(n, 1 + n / 1000) for n in range(6)], [summary(50 + n, 1.03 + n / 1000) for n in range(6)]
    assert compare(old, new).conclusion is Conclusion.NO_REGRESSION
    assert compare(old, new, [parse_gate("prompts.latency.p95=2%")]).conclusion is Conclusion.REGRESSION


def test_faster_is_no_regression_and_is_said() -> None:
    """An improvement decides nothing, and is told."""
    found = judged(np.random.default_rng(2), 6, 6, 0.7)
    assert found.conclusion is Conclusion.NO_REGRESSION
    assert "Better: " in found.sentence
    assert found.gates[1].standing is Standing.BETTER


def test_what_could_still_hide_is_said() -> None:
    """No regression found is not the same as none there: the worse end of the interval is told."""
    old = [summary(n, s) for n, s in enumerate((1.0, 1.1, 0.9, 1.2, 0.8))]
    new = [summary(50 + n, s) for n, s in enumerate((1.02, 1.12, 0.92, 1.22, 0.82))]
    found = compare(old, new)
    assert found.conclusion is Conclusion.NO_REGRESSION
    assert "What could still hide: prompts.latency.p95 up to +" in found.sentence


def test_more_failures_are_a_regression_by_points() -> None:
    """Shares are compared by difference: from nothing to 3 % has no ratio."""
    found = compare([summary(n) for n in range(5)], [summary(50 + n, failed=0.03 + n / 1000) for n in range(5)])
    assert found.conclusion is Conclusion.REGRESSION
    assert found.sentence.startswith("Worse: prompts.failed +3.2 points")


def test_one_failed_prompt_in_a_night_is_no_alarm() -> None:
    """A history without failures does not make the first one a regression: chance alone does that."""
    old = [summary(n, figures=(Figure("prompts.failed", 0.0, 60),)) for n in range(10)]
    gates = [parse_gate("prompts.failed")]
    one = compare(old, [summary(50, figures=(Figure("prompts.failed", 1 / 60, 60),))], gates)
    many = compare(old, [summary(50, figures=(Figure("prompts.failed", 12 / 60, 60),))], gates)
    assert one.method is Method.CHART
    assert (one.conclusion, many.conclusion) == (Conclusion.NO_REGRESSION, Conclusion.REGRESSION)


def test_lower_throughput_is_worse_as_a_gate() -> None:
    """Measures of which more is better turn round, by the same time a prompt takes."""
    gates = [parse_gate("prompts.per_minute")]
    old, new = [summary(n, 1 + n / 1000) for n in range(5)], [summary(50 + n, 1.06 + n / 1000) for n in range(5)]
    assert compare(old, new, gates).conclusion is Conclusion.REGRESSION
    assert compare(new, old, gates).conclusion is Conclusion.NO_REGRESSION


def test_a_gate_that_was_not_measured_cannot_tell() -> None:
    """A missing measure is no pass."""
    old, new = [summary(n) for n in range(5)], [summary(50 + n) for n in range(5)]
    found = compare(old, new, [parse_gate("gpu.memory.max=5%")])
    assert found.conclusion is Conclusion.CANNOT_TELL
    assert "not measured" in found.sentence
    few = [summary(50), summary(51), *(summary(60 + n, figures=()) for n in range(4))]
    some = compare(old, few)
    assert some.conclusion is Conclusion.CANNOT_TELL
    assert "only 5 runs against 2 have it" in some.sentence


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("prompts.latency.p59", "did you mean"),
        ("prompts.count", "neither better nor worse"),
        ("prompts.latency.p95=soon", "--gate"),
        ("=5%", "expected a gate such as"),
        ("prompts.latency.p95{nobody=x}", "cannot be filtered"),
    ],
)
def test_a_wrong_gate_is_refused_with_an_example(text: str, words: str) -> None:
    """A gate names a measure there is and a change in its unit."""
    with pytest.raises(UsageError, match=words):
        parse_gate(text)


FACTS = Facts(
    workflows=(Named("sdxl", "aa"),),
    mix=(Named("sdxl x 1", "m1"),),
    load=Named("4 users for 5 min", "l1"),
    target="1 server",
    gpus=("NVIDIA L4, 22.5 GiB",),
    power_limits_watts=(72,),
    versions=("ComfyUI 0.3.64",),
    harness="0.1.0",
)


def test_other_words_for_the_same_load_are_the_same_load() -> None:
    """A history that an older version wrote compares: what is alike is told by hashes."""
    old = [summary(n, facts=replace(FACTS, load=Named("4 users for 300 s", "l1"))) for n in range(5)]
    assert compare(old, [summary(50 + n, facts=FACTS) for n in range(5)]).conclusion is Conclusion.NO_REGRESSION


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"workflows": (Named("sdxl", "bb"),)}, "workflow: sdxl [aa] (baseline), sdxl [bb] (new)"),
        ({"mix": (Named("sdxl x 2", "m2"),)}, "mix: "),
        ({"load": Named("8 users for 5 min", "l2")}, "load: 4 users for 5 min (baseline), 8 users for 5 min (new)"),
        ({"load": Named("4 users for 5 min", "l2")}, "[l1] (baseline)"),
        ({"target": "2 servers, round-robin"}, "target: 1 server"),
        ({"gpus": ("NVIDIA L4, 22.5 GiB",) * 2}, "GPU: 1 x NVIDIA L4, 22.5 GiB (baseline), 2 x NVIDIA L4"),
        ({"power_limits_watts": (60,)}, "power limit: 1 x 72 W (baseline), 1 x 60 W (new)"),
    ],
)
def test_what_is_not_alike_is_refused_and_named(change: dict[str, object], words: str) -> None:
    """Another workflow, mix, load, target, GPU or power limit: exit code 3, and what differs; unless told to."""
    old = [summary(n, facts=FACTS) for n in range(5)]
    new = [summary(50 + n, facts=replace(FACTS, **change)) for n in range(5)]  # type: ignore[arg-type]
    found = compare(old, new)
    assert found.conclusion is Conclusion.NOT_COMPARABLE
    assert found.exit_code == 3
    assert words in found.sentence
    assert found.rows == ()
    assert compare(old, new, anyway=True).conclusion is Conclusion.NO_REGRESSION
    assert compare([*old, *new[:2]], [summary(90 + n, facts=FACTS) for n in range(5)]).exit_code == 3


def test_versions_only_inform() -> None:
    """Other versions are what people compare: told, and not refused; nor is what one side does not tell."""
    old = [summary(n, facts=FACTS) for n in range(5)]
    new = [summary(50 + n, facts=replace(FACTS, versions=("ComfyUI 0.33.0",), gpus=())) for n in range(5)]
    found = compare(old, new)
    assert found.conclusion is Conclusion.NO_REGRESSION
    assert {one.what for one in found.differences} == {"versions", "GPU"}


def test_an_invalid_run_is_refused_and_named() -> None:
    """What measured itself instead of the server takes part in no comparison."""
    old = [summary(n) for n in range(5)]
    found = compare(old, [*side(np.random.default_rng(0), 50, 4, 1.0), summary(60, invalid=("It was interrupted.",))])
    assert found.conclusion is Conclusion.NOT_COMPARABLE
    assert "run 60: It was interrupted." in found.sentence


def test_a_run_stands_on_one_side_once() -> None:
    """A run against itself, or no run at all, is a wrong call."""
    with pytest.raises(UsageError, match="run 1 is there twice"):
        compare([summary(1)], [summary(1)])
    with pytest.raises(UsageError, match="both sides"):
        compare([], [summary(1)])


def full(number: int, slower: float = 1.0) -> RunSummary:
    sketch = Sketch(500, tuple(slower * (1 + place / 128) for place in range(129)))
    flows = tuple(WorkflowTimes(f"{HOSTILE} {place}", sketch, sketch) for place in range(3))
    course = TimeCourse(1.0, (slower, None, *(slower,) * 58), (slower,) * 60, (60.0,) * 60)
    return summary(number, slower, name=f"{HOSTILE} {number}", workflows=flows, course=course)


def test_hostile_names_stay_text_everywhere() -> None:
    """In the page, in markdown, in JUnit; and the page lays both sides over each other."""
    found = compare([full(n) for n in range(5)], [full(50 + n, 1.3 + n / 100) for n in range(5)])
    page, table, cases = render(found), markdown(found), junit(found)
    assert "<script>alert" not in page
    assert "script-src 'sha256-" in page
    assert "<script>" not in table
    assert "](http" not in table
    root = ET.fromstring(cases)
    assert root.get("failures") == "2"
    assert [chart.key for chart in charts(found)][:5] == [
        "case-prompts.failed", "case-prompts.latency.p95", "case-prompts.typical_service", "spread-latency-0",
        "spread-service-0",
    ]  # fmt: skip
    assert [line.standing for line in lines(found)][:3] == ["no change shown", "worse", "worse"]


def test_distributions_of_several_runs_are_merged_not_averaged() -> None:
    """A run with nine times the prompts weighs nine times as much."""
    few, many = Sketch(100, (10.0,) * 129), Sketch(900, (1.0,) * 129)
    merged = pooled([few, many], np.array([0.5, 0.85, 0.95]))
    assert merged.tolist() == [1.0, 1.0, 10.0]


def test_a_baseline_file_brings_back_what_was_saved() -> None:
    """Runs go in and come out the same, also into a comparison."""
    runs = tuple(full(n) for n in range(5))
    assert decode(encode(runs), Path("b.json")) == runs


def test_a_baseline_file_is_never_larger_than_one_megabyte() -> None:
    """Pictures get coarser first; a hundred runs of twenty workflows still fit, with all their measures."""
    sketch = Sketch(500, tuple(1.2345 * (1 + place / 128) for place in range(129)))
    flows = tuple(WorkflowTimes(f"workflow {place}", sketch, sketch) for place in range(20))
    runs = [replace(full(n), workflows=flows) for n in range(100)]
    content = encode(runs)
    assert len(content) <= MOST_BYTES
    assert [run.figures for run in decode(content, Path("b.json"))] == [run.figures for run in runs]
    with pytest.raises(RecordingError, match="larger than 1 MB"):
        encode([summary(n, figures=tuple(Figure("x" * 100, 1.0, 1) for _ in range(500))) for n in range(100)])


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "not JSON"),
        (b"[1]", "no baseline file"),
        (
            b'{"kind": "comfysoak baseline", "format": 2, "runs": []}',
            "format 2, this version of ComfySoak reads up to 1",
        ),
        (b'{"kind": "comfysoak baseline", "format": 1, "runs": [{}]}', "is damaged: runs.0"),
        (b'{"kind": "comfysoak baseline", "format": 1, "runs": []}', "holds no run"),
        (b"[" * 100_000, "not JSON"),
        (b" " * (MOST_BYTES + 1), "larger than a baseline file"),
    ],
)
def test_a_file_that_is_no_baseline_is_one_clear_sentence(content: bytes, words: str) -> None:
    """Damaged, newer, something else, or far too large."""
    with pytest.raises(RecordingError, match=words):
        decode(content, Path("b.json"))


def planted(folder: Path, number: int, slower: float = 0.0, **changes: Any) -> Path:
    """A recording of its own id."""
    run = plant(folder / f"run-{number}", seed=number, watching_cost=slower, duration_s=24.0, **changes)
    told = json.loads((run / "run.json").read_text())
    (run / "run.json").write_text(json.dumps({**told, "id": f"id-{number}", "name": f"run-{number}"}))
    return run


@pytest.fixture(scope="module")
def recordings(tmp_path_factory: pytest.TempPathFactory) -> Sequence[RunSummary]:
    """Four runs alike, and four that are 60 % slower."""
    folder = tmp_path_factory.mktemp("runs")
    paths = [planted(folder, n) for n in range(4)] + [planted(folder, 10 + n, 0.6) for n in range(4)]
    return [summarise(open_run(path), ["prompts.latency.p90{workflow=sketch-sd15}"]) for path in paths]


def test_recordings_that_are_slower_are_found(recordings: Sequence[RunSummary]) -> None:
    """From runs on disk to a regression, with the measures of single workflows beside it."""
    found = compare(recordings[:4], recordings[4:])
    assert found.conclusion is Conclusion.REGRESSION
    assert "prompts.typical_service" in found.sentence
    names = [row.measure.name for row in found.rows]
    assert "prompts.latency.p95{workflow=portrait-sdxl}" in names
    assert "gpu.memory.max" in names
    assert {one.what for one in found.differences} == {"seed"}
    named = compare(recordings[:4], recordings[4:], [parse_gate("prompts.latency.p90{workflow=sketch-sd15}")])
    assert named.conclusion is Conclusion.REGRESSION


def test_a_summary_holds_what_makes_runs_comparable(recordings: Sequence[RunSummary]) -> None:
    """Workflows by the hash of what does not vary, the load in words, GPUs as they were sampled."""
    facts = recordings[0].facts
    assert [one.name for one in facts.workflows] == ["portrait-sdxl", "sketch-sd15"]
    assert facts.workflows == recordings[7].facts.workflows
    assert facts.load is not None
    assert "users" in facts.load.name
    assert len(facts.gpus) == 1
    assert recordings[0].invalid == ()
    assert recordings[0].course is not None
    assert decode(encode(recordings), Path("b.json"))[3] == recordings[3]


@pytest.mark.parametrize(
    "changes", [{"gpu": False}, {"prompts_most": 1}, {"prompts_most": 0}, {"seal": False}, {"clock_step_s": 30.0}]
)
def test_poor_recordings_are_summarised_all_the_same(tmp_path: Path, changes: dict[str, Any]) -> None:
    """Without GPU, with one prompt or none, cut off, with clocks that jumped: an answer, and no traceback."""
    one = summarise(open_run(planted(tmp_path, 1, **changes)))
    found = compare([one], [summary(2, facts=one.facts)], anyway=True)
    assert found.conclusion is Conclusion.CANNOT_TELL
    assert render(found)
    assert markdown(found)
