"""The language of goals."""

from __future__ import annotations

import pytest

from comfysoak_core.scenario.goals import DEFAULT_GOALS, MEASURES, Unit, parse_goal


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
