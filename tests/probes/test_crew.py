"""Threads and groups: who hangs is alone, who was quick for long is back, who is gone leaves nothing behind."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import pytest

from comfysoak_core.clock import NS_PER_MS, NS_PER_S, Anchor, AnchoredClock
from comfysoak_core.rows import Event, Row
from comfysoak_probes.sampling import worker
from comfysoak_probes.sampling.crew import Crew, Grids
from comfysoak_probes.sampling.pauses import Off, Pauses
from comfysoak_probes.sampling.sampler import Outbox
from comfysoak_probes.source import Kind, Tick
from tests.probes.test_worker import Scripted


class Watched:
    """A crew, and its owner who looks after it until something has happened."""

    def __init__(self) -> None:
        self.clock = AnchoredClock(Anchor.take())
        self.outbox = Outbox()
        self.pauses = Pauses(None, 0)
        self.crew = Crew(self.clock, Grids(self.clock.now_ns()), self.outbox.put, self.pauses)
        self.events: list[Event] = []
        self.excused_ns = 0

    def until(self, condition: Callable[[], object]) -> None:
        deadline_s = time.monotonic() + 10
        while not condition():
            assert time.monotonic() < deadline_s, "it never happened"
            self.events += self.crew.watch(self.clock.now_ns(), self.excused_ns)
            time.sleep(0.002)

    def told(self, kind: str) -> list[Event]:
        self.events += [row for row in self.outbox.drain() if isinstance(row, Event)]
        return [event for event in self.events if event.kind == kind]


@pytest.fixture
def watched(monkeypatch: pytest.MonkeyPatch) -> Iterator[Watched]:
    """A crew whose hung sources are trusted again after 50 ms."""
    monkeypatch.setattr(worker, "APART_FIRST_S", 0.05)
    monkeypatch.setattr(worker, "APART_MOST_S", 0.05)
    found = Watched()
    yield found
    found.crew.stop()
    found.crew.wait()


@dataclass(eq=False)
class Gated(Scripted):
    """A source that hangs in each reading while its gate is shut."""

    gate: threading.Event = field(default_factory=threading.Event)
    closed: int = 0

    def __post_init__(self) -> None:
        self.gate.set()
        self.act = lambda _: (self.gate.wait(10), None)[1]

    def close(self) -> None:
        self.closed += 1


def asked_again(source: Scripted) -> Callable[[], bool]:
    before = len(source.ticks)
    return lambda: len(source.ticks) > before + 1


def test_grids_lie_apart() -> None:
    """The first four halve the gaps; none coincides with another, however many there are."""
    grids = Grids(0)
    places = [grids.next().start_ns / NS_PER_MS for _ in range(64)]
    assert places[:4] == [0, 50, 25, 75]
    assert len(set(places)) == 64
    assert all(0 <= place < 100 for place in places)


def test_after_many_hangs_there_are_no_more_threads_than_before(watched: Watched) -> None:
    """Again and again one source hangs, the others go on in a fresh thread, and it comes back to them."""
    before = threading.active_count()  # other tests may have left some
    bad, good = Gated("bad", patience_s=0.02), Gated("good")
    for source in (bad, good):
        watched.crew.add(source, "group", Kind.GPU)
    for _ in range(8):
        bad.gate.clear()
        watched.until(lambda: watched.crew.threads == 2)
        watched.until(asked_again(good))
        bad.gate.set()
        watched.until(lambda: watched.crew.threads == 1)
        watched.until(asked_again(bad))
        watched.until(asked_again(good))
    assert threading.active_count() < before + 8


def test_all_of_a_group_may_hang_and_come_back(watched: Watched) -> None:
    """A driver that hangs as a whole: as many threads as sources, and one again afterwards."""
    sources = [Gated(f"GPU {number}", patience_s=0.02) for number in range(4)]
    for source in sources:
        watched.crew.add(source, "group", Kind.GPU)
    watched.until(lambda: all(source.ticks for source in sources))
    for source in sources:
        source.gate.clear()
    watched.until(lambda: watched.crew.threads == 4)
    for source in sources:
        source.gate.set()
    watched.until(lambda: watched.crew.threads == 1)
    for source in sources:
        watched.until(asked_again(source))


def test_a_hang_is_told_once_and_so_is_its_end(watched: Watched, monkeypatch: pytest.MonkeyPatch) -> None:
    """However often one looks at it."""
    monkeypatch.setattr("comfysoak_probes.sampling.crew.HUNG_FIRST_TOLD_S", 0.05)
    source = Gated("bad", patience_s=0.02)
    source.gate.clear()
    watched.crew.add(source, "group", Kind.GPU)
    watched.until(lambda: watched.told("source_hung"))
    watched.until(asked_later(0.1))
    source.gate.set()
    watched.until(lambda: watched.told("source_found"))
    assert [event.subject for event in watched.events if event.kind.startswith("source_")] == ["bad", "bad"]


def asked_later(seconds: float) -> Callable[[], bool]:
    until_s = time.monotonic() + seconds
    return lambda: time.monotonic() >= until_s


def test_time_in_which_nobody_had_any_is_no_hang(watched: Watched) -> None:
    """A reading that began before the whole process was stopped has done nothing wrong."""
    source, other = Gated("slow", patience_s=0.02), Gated("other")
    source.gate.clear()
    for one in (source, other):
        watched.crew.add(one, "group", Kind.GPU)
    watched.excused_ns = watched.clock.now_ns() + 10 * NS_PER_S
    watched.until(lambda: source.ticks)
    watched.until(asked_later(0.1))
    assert watched.crew.threads == 1


def test_a_source_that_is_taken_away_is_closed_and_asked_no_more(watched: Watched) -> None:
    """The others of its group go on; when the last one goes, its thread ends, and the group may begin anew."""
    first, second, third = (Gated(name) for name in ("first", "second", "third"))
    for source in (first, second):
        watched.crew.add(source, "group", Kind.GPU)
    watched.until(lambda: first.ticks and second.ticks)
    assert watched.crew.remove(first)
    watched.until(lambda: first.closed)
    count = len(first.ticks)
    watched.until(asked_again(second))
    assert len(first.ticks) == count
    assert watched.crew.remove(second)
    watched.until(lambda: second.closed and not watched.crew.threads)
    watched.crew.add(third, "group", Kind.GPU)
    watched.until(lambda: third.ticks)
    assert not watched.crew.remove(first)


def test_a_source_that_hangs_may_be_taken_away(watched: Watched) -> None:
    """It is closed once its reading has come back, not under its feet, and its thread is over then."""
    source = Gated("bad", patience_s=0.02)
    source.gate.clear()
    watched.crew.add(source, "group", Kind.GPU)
    watched.until(lambda: source.ticks)
    assert watched.crew.remove(source)
    watched.until(asked_later(0.05))
    assert not source.closed
    source.gate.set()
    watched.until(lambda: source.closed and not watched.crew.threads)
    assert len(source.ticks) == 1


def test_a_source_may_take_another_away_and_itself(watched: Watched) -> None:
    """Out of its own reading, as a driver does that no longer has a GPU."""
    gone = Gated("gone")
    last = Gated("last")
    last.act = lambda _: (watched.crew.remove(gone), watched.crew.remove(last), None)[2]
    for source in (gone, last):
        watched.crew.add(source, "group", Kind.GPU)
    watched.until(lambda: gone.closed and last.closed and not watched.crew.threads)
    assert len(last.ticks) == 1


def test_a_new_source_wakes_a_thread_that_sleeps_for_long(watched: Watched) -> None:
    """It is asked at once, though the others of its group are due in an hour."""
    slow, fast = Gated("slow", every_s=3600.0), Gated("fast")
    watched.crew.add(slow, "group", Kind.GPU)
    watched.until(lambda: slow.ticks)
    watched.crew.add(fast, "group", Kind.GPU)
    watched.until(lambda: fast.ticks)
    assert watched.told("source_late") == []


def test_an_interval_that_cannot_be_told_ends_no_thread(watched: Watched) -> None:
    """A mistake in `every_s` is told as one in `read` is, and the source is asked once a second."""

    class Broken(Gated):
        @property
        def every_s(self) -> float:
            if self.ticks:
                raise ZeroDivisionError("no interval")
            return 0.01

        @every_s.setter
        def every_s(self, value: float) -> None:
            """The dataclass sets it."""

    broken, good = Broken("broken"), Gated("good")
    for source in (broken, good):
        watched.crew.add(source, "group", Kind.GPU)
    watched.until(lambda: watched.told("source_failed"))
    watched.until(asked_again(good))


def test_of_two_that_are_due_the_more_frequent_comes_first(watched: Watched) -> None:
    """What is read rarely takes long: it must not make late what is read often."""
    rare, often = Gated("rare", every_s=0.2), Gated("often", every_s=0.1)
    for source in (rare, often):
        watched.crew.add(source, "group", Kind.GPU)
    watched.until(lambda: len(rare.ticks) >= 3)
    at_once = {tick.deadline_ns for tick in rare.ticks[1:]} & {tick.deadline_ns for tick in often.ticks}
    assert at_once
    for deadline_ns in at_once:
        first = next(tick for tick in often.ticks if tick.deadline_ns == deadline_ns)
        second = next(tick for tick in rare.ticks if tick.deadline_ns == deadline_ns)
        assert first.began_ns < second.began_ns


def test_what_takes_longer_comes_after_all_others(watched: Watched) -> None:
    """The rest of the first source is read once the second one has been: nobody is late for it."""
    order: list[str] = []

    class Long(Gated):
        rest_due_ns = 0

        def read_rest(self, tick: Tick) -> list[Row]:
            order.append("rest")
            return []

    first, second = Long("first", every_s=0.05), Gated("second", every_s=0.05)
    first.act = lambda _: order.append("first")
    second.act = lambda _: order.append("second")
    for source in (first, second):
        watched.crew.add(source, "group", Kind.GPU)
    watched.until(lambda: order.count("rest") >= 5)
    since = order[order.index("second") :]  # before it the first one was alone
    since = since[since.index("first") :]
    assert since[:6] == ["first", "second", "rest"] * 2


def test_a_pause_asks_nobody_of_its_kind_and_counts_no_reading_as_skipped(watched: Watched) -> None:
    """The first reading afterwards is on the grid, at the end of the pause or later; others never stop."""
    paused, other = Gated("paused"), Gated("other")
    watched.crew.add(paused, "gpu", Kind.GPU)
    watched.crew.add(other, "host", Kind.HOST)
    watched.until(lambda: paused.ticks and other.ticks)
    until_ns = watched.clock.now_ns() + NS_PER_S // 5
    watched.pauses.off = Off(Kind.GPU, until_ns)
    watched.until(asked_later(0.05))
    count, others = len(paused.ticks), len(other.ticks)
    watched.until(lambda: len(paused.ticks) > count)
    assert paused.ticks[count].deadline_ns >= until_ns
    assert len(other.ticks) > others + 2
    assert watched.told("source_late") == []


def test_only_kinds_that_told_something_count(watched: Watched) -> None:
    """A source that has but events to tell (there is no driver here) is no kind to pause."""
    silent, talker = Gated("silent"), Gated("talker")
    silent.read = lambda tick: silent.ticks.append(tick) or [Event(at_ns=1, source="s", kind="k")]  # type: ignore[method-assign, func-returns-value]  # a source of events
    watched.crew.add(silent, "gpu", Kind.GPU)
    watched.crew.add(talker, "host", Kind.HOST)
    watched.until(lambda: silent.ticks and talker.ticks and watched.crew.kinds)
    assert watched.crew.kinds == {Kind.HOST}
