"""The language of goals."""

from __future__ import annotations

import pytest

from comfysoak_core.scenario.goals import DEFAULT_GOALS, MEASURES, By, Unit, parse_goal, unknown_names


def test_a_goal_is_measure_comparison_value() -> None:
    """A goal's value is in the base unit of its measure."""
    goal = parse_goal("prompts.latency.p95 < 30s")
    assert (goal.measure, goal.comparison, goal.value, goal.unit) == ("prompts.latency.p95", "<", 30.0, Unit.SECONDS)
    assert goal.holds(29.9)
    assert not goal.holds(30.0)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("prompts.failed<1%", 0.01),
        ("gpu.memory.max <= 20 GiB", 20 * 2**30),
        ("failures.OOM <= 1", 1),
        ("prompts.per_minute >= 12/min", 12),
        ("sessions.drops_per_hour < 2 / h", 2),
        ("findings.critical == 0", 0),
    ],
)
def test_values_in_their_units(text: str, value: float) -> None:
    """Each measure takes values in its own unit, as people write them."""
    assert parse_goal(text).value == pytest.approx(value)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("prompts.latncy.p95 < 30s", "did you mean 'prompts.latency.p95'"),
        ("prompts.latency.p95 < 30", "such as 90s"),
        ("prompts.failed < 1h", "expected a share"),
        ("findings.critical = none", "expected a number"),
        ("failures.OOM < nan", "expected a number"),
        ("prompts.count >= inf", "expected a number"),
        ("failures.OOM <= -1", "expected a number"),
        ("hello", 'expected a goal such as "prompts.latency.p95 < 30s"'),
        ("< 3", "expected a goal such as"),
        ("xyzzy.plugh < 1", "docs/scenario.md lists all"),
    ],
)
def test_wrong_goals(text: str, words: str) -> None:
    """What is wrong with a goal is said, with the nearest right name or an example."""
    with pytest.raises(ValueError, match=r".") as caught:
        parse_goal(text)
    assert words in str(caught.value)


def test_default_goals_are_goals() -> None:
    """The goals of a scenario that names none can be parsed."""
    assert [parse_goal(text).measure for text in DEFAULT_GOALS] == ["prompts.failed", "findings.critical"]


def test_every_unit_shows_what_it_parses() -> None:
    """A value shown to a reader carries its unit."""
    shown = {unit: unit.show(0.5) for unit in set(MEASURES.values())}
    assert shown[Unit.RATIO] == "50 %"
    assert shown[Unit.SECONDS] == "500 ms"
    assert shown[Unit.PER_MINUTE] == "0.5 /min"


@pytest.mark.parametrize(
    ("text", "filters"),
    [
        ("prompts.latency.p95{workflow=sdxl} < 30s", {"workflow": "sdxl"}),
        ('prompts.failed{workflow="a, b", phase=peak} < 1%', {"workflow": "a, b", "phase": "peak"}),
        ("prompts.latency.p95 { server = http://gpu-1:8188 , model=cold } < 30s",
         {"server": "http://gpu-1:8188", "model": "cold"}),
        ("sessions.drops_per_hour{code=WS_ABNORMAL} < 2/h", {"code": "WS_ABNORMAL"}),
        ("gpu.memory.max{gpu='0'} < 50 MiB", {"gpu": "0"}),
        ("prompts.count{} > 1", {}),
    ],
)  # fmt: skip
def test_filters_narrow_a_measure_down(text: str, filters: dict[str, str]) -> None:
    """A goal may be about a part of a run; names with commas are quoted."""
    assert {by.value: name for by, name in parse_goal(text).filters} == filters


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("prompts.failed{colour=red} < 1%", "it takes: workflow, phase, server, model"),
        ("findings.critical{phase=peak} = 0", "it takes: none"),
        ("prompts.failed{model=hot} < 1%", "cold, warm, cached"),
        ("prompts.failed{phase=a, phase=b} < 1%", "stands twice"),
        ("prompts.failed{phase} < 1%", "expected filters such as {workflow=sdxl, phase=peak}"),
        ("gpu.memory.max < 50 MiB/min", "expected a size"),
    ],
)
def test_wrong_filters(text: str, words: str) -> None:
    """What a measure cannot be narrowed down to is refused, with what it can be."""
    with pytest.raises(ValueError, match=r".") as caught:
        parse_goal(text)
    assert words in str(caught.value)


def test_names_in_filters_are_those_there_are() -> None:
    """A name nobody has is refused with the nearest one; what is not known yet may be right."""
    goal = parse_goal("prompts.failed{workflow=sdlx, server=http://a:1} < 1%")
    wrong = unknown_names(goal, {By.WORKFLOW: ["sdxl", "sketch"]})
    assert wrong is not None
    assert "there is no workflow 'sdlx'; did you mean 'sdxl'?" in wrong
    assert unknown_names(goal, {By.WORKFLOW: ["sdlx"]}) is None
