"""Pauses of one kind of probe at a time: when they come, in which turn, and what sources see of them."""

from __future__ import annotations

import pytest

from comfysoak_core.clock import NS_PER_S
from comfysoak_probes.config import Pause
from comfysoak_probes.sampling.pauses import Pauses
from comfysoak_probes.source import Kind
from tests.probes.conftest import Sample
from tests.probes.sampling import at_least, has

ALL = frozenset(Kind)
START_NS = 7 * NS_PER_S


def told(pauses: Pauses, seconds: range, kinds: frozenset[Kind] = ALL) -> list[tuple[int, str, str | None]]:
    """The events of a look each second: when, what, and of which kind."""
    events = [event for second in seconds for event in pauses.turn(START_NS + second * NS_PER_S, kinds)]
    return [(event.at_ns // NS_PER_S - 7, event.kind, event.subject) for event in events]


def test_kinds_take_turns_on_a_grid_fixed_to_the_start() -> None:
    """Every ten seconds for two, the first after ten: each kind once before the first comes again."""
    found = told(Pauses(Pause(10, 2), START_NS), range(60))
    assert [at for at, kind, _ in found if kind == "probe_paused"] == [10, 20, 30, 40, 50]
    assert [at for at, kind, _ in found if kind == "probe_resumed"] == [12, 22, 32, 42, 52]
    assert [subject for _, kind, subject in found if kind == "probe_paused"] == ["gpu", "host", "server", "log", "gpu"]


def test_a_probe_on_another_machine_is_never_paused() -> None:
    """It would sample on by itself: nothing could be learned of what watching costs."""
    pauses = Pauses(Pause(10, 2), START_NS)
    assert told(pauses, range(100), frozenset({Kind.PROBE})) == []
    assert {subject for *_, subject in told(pauses, range(100, 200))} == {"gpu", "host", "server", "log"}


def test_only_what_is_there_is_paused() -> None:
    """Of no kind there is nothing to pause; one alone is paused each time; one that comes later gets its turn."""
    pauses = Pauses(Pause(10, 2), START_NS)
    assert told(pauses, range(15), frozenset()) == []
    assert [subject for *_, subject in told(pauses, range(15, 35), frozenset({Kind.HOST}))] == ["host"] * 4
    assert told(pauses, range(35, 45))[0][2] == "gpu"


def test_without_a_pause_in_the_configuration_there_is_none() -> None:
    """Nothing is ever switched off."""
    pauses = Pauses(None, START_NS)
    assert told(pauses, range(100)) == []
    assert pauses.until_ns(Kind.GPU) == 0


@pytest.mark.parametrize(
    ("looks", "events"),
    [
        ((9, 11, 13), [(11, "probe_paused", "gpu"), (13, "probe_resumed", "gpu")]),  # begun late, ended in time
        ((9, 15, 16), []),  # slept through
        ((9, 10, 35), [(10, "probe_paused", "gpu"), (35, "probe_resumed", "gpu")]),
        ((9, 10, 20.5), [(10, "probe_paused", "gpu"), (20, "probe_resumed", "gpu"), (20, "probe_paused", "host")]),
        ((9, 10, 9.5, 10.5), [(10, "probe_paused", "gpu")]),
    ],
)
def test_a_sampler_without_time_makes_no_pause_up(looks: tuple[float, ...], events: list[object]) -> None:
    """What is told is what was done, whenever somebody had time to look."""
    pauses = Pauses(Pause(10, 2), START_NS)
    found = [event for look in looks for event in pauses.turn(START_NS + round(look * NS_PER_S), ALL)]
    assert [((event.at_ns - START_NS) // NS_PER_S, event.kind, event.subject) for event in found] == events


def test_a_paused_kind_is_not_asked_and_misses_nothing(sample: Sample) -> None:
    """The host has no rows in its pause, on and on until its end; nothing is told as late, lost or found."""
    run = sample(gpu=[], host_every_s=0.05, pause={"every_s": 1.0, "lasts_s": 0.5})
    run.wait_for("events", has(kind="probe_resumed", subject="host"))
    paused_ns, resumed_ns = (run.event(kind)["at_ns"] for kind in ("probe_paused", "probe_resumed"))
    rows = run.wait_for("host", lambda rows: at_least(1)([row for row in rows if row["at_ns"] > resumed_ns]))
    assert resumed_ns - paused_ns == pytest.approx(0.5 * NS_PER_S, abs=0.25 * NS_PER_S)
    under_way_ns = 0.2 * NS_PER_S  # a reading that had begun may end
    assert not [row for row in rows if paused_ns + under_way_ns < row["at_ns"] < paused_ns + 0.5 * NS_PER_S]
    assert {row["kind"] for row in run.rows("events")} <= {"probe_paused", "probe_resumed", "server_process"}
