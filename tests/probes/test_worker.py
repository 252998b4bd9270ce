"""The grid of deadlines, and a thread that leaves nobody waiting behind a slow source."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from comfysoak_core.clock import NS_PER_S, Anchor, AnchoredClock
from comfysoak_core.rows import ClockReading, Event, Row
from comfysoak_probes.sampling.pauses import Pauses
from comfysoak_probes.sampling.sampler import Outbox
from comfysoak_probes.sampling.worker import Grid, Scheduled, Worker
from comfysoak_probes.source import Backoff, Cadence, Kind, Outage, Source, Tick

EVERY = st.sampled_from([0.01, 0.1, 0.25, 1.0, 5.0])


@given(st.integers(0, 10**18), st.integers(0, 10**12), EVERY)
def test_deadlines_are_multiples_of_the_interval(start: int, elapsed: int, every_s: float) -> None:
    """The next deadline is later than now, by at most one interval, and on the grid of the start."""
    every_ns = round(every_s * NS_PER_S)
    now = start + elapsed
    deadline = Grid(start).after(now, every_ns)
    assert now < deadline <= now + every_ns
    assert (deadline - start) % every_ns == 0


@given(st.integers(0, 1000), EVERY)
def test_deadlines_that_were_passed_over_are_counted(late_steps: int, every_s: float) -> None:
    """A reading that ends n intervals late has skipped n deadlines."""
    grid, every_ns = Grid(0), round(every_s * NS_PER_S)
    next_ns = grid.after(every_ns * (1 + late_steps), every_ns)
    assert grid.skipped(every_ns, next_ns, every_ns) == late_steps


def test_a_source_that_waits_by_itself_is_due_at_once() -> None:
    """Interval 0: no grid, nothing to skip."""
    assert Grid(0).after(5, 0) == 5
    assert Grid(0).skipped(1, 5, 0) == 0


def test_a_cadence_keeps_to_its_own_grid() -> None:
    """At ten readings a second every tenth is let through, however late one of them was."""
    cadence = Cadence(1.0)
    due = [tick for tick in range(1, 41) if cadence.due(tick * NS_PER_S // 10)]
    assert due == [1, 11, 21, 31]
    assert cadence.due(100 * NS_PER_S)  # after a long gap once, not once for each second of it
    assert not cadence.due(100 * NS_PER_S + 1)


def test_waits_double_up_to_a_bound_and_begin_again_after_success() -> None:
    """1, 2, 4, ... 60 seconds; a success starts over."""
    backoff = Backoff(first_s=1.0, most_s=60.0)
    assert [backoff.next_s() for _ in range(8)] == [1, 2, 4, 8, 16, 32, 60, 60]
    backoff.reset()
    assert backoff.next_s() == 1


def test_an_outage_is_told_at_its_beginning_and_at_its_end() -> None:
    """Each once, the end with how long it lasted."""
    outage = Outage("queue", "http://s")
    assert outage.found(1) == []
    assert [event.kind for event in outage.lost(NS_PER_S, "refused")] == ["source_missing"]
    assert outage.lost(2 * NS_PER_S, "refused") == []
    (found,) = outage.found(4 * NS_PER_S)
    assert (found.kind, found.detail) == ("source_found", "answers again after 3.0 s")
    assert outage.found(5 * NS_PER_S) == []


@dataclass(eq=False)
class Scripted:
    """A source that does in each reading what the test says, and counts its readings."""

    name: str
    every_s: float = 0.01
    patience_s: float = 0.05
    act: Callable[[int], None] = lambda _: None
    ticks: list[Tick] = field(default_factory=list)
    enough: threading.Event = field(default_factory=threading.Event)
    wanted: int = 5

    def read(self, tick: Tick) -> list[Row]:
        self.ticks.append(tick)
        self.act(len(self.ticks))
        if len(self.ticks) >= self.wanted:
            self.enough.set()
        return [ClockReading(at_ns=tick.began_ns, host=self.name, offset_ns=0)]

    def close(self) -> None:
        """Nothing."""


class Bench:
    """Workers on a real clock, ended with the test."""

    def __init__(self) -> None:
        self.clock = AnchoredClock(Anchor.take())
        self.outbox = Outbox()
        self.stop = threading.Event()
        self.workers: list[Worker] = []

    def start(self, *sources: Source) -> Worker:
        return self.start_entries([self.entry(source) for source in sources])

    def entry(self, source: Source) -> Scheduled:
        every_ns = round(source.every_s * NS_PER_S)
        return Scheduled(source, Kind.GPU, "group", self.clock.now_ns(), source.every_s, every_ns)

    def start_entries(self, entries: list[Scheduled]) -> Worker:
        grid = Grid(self.clock.now_ns())
        worker = Worker(
            entries, grid=grid, clock=self.clock, put=self.outbox.put, stop=self.stop, pauses=Pauses(None, 0)
        )
        self.workers.append(worker)
        worker.start()
        return worker

    def events(self, kind: str) -> list[Event]:
        return [row for row in self.outbox.drain() if isinstance(row, Event) and row.kind == kind]


@pytest.fixture
def bench() -> Iterator[Bench]:
    bench = Bench()
    yield bench
    bench.stop.set()
    for worker in bench.workers:
        worker.wake()
    assert all(worker.join(5.0) for worker in bench.workers)


def test_sources_of_a_worker_are_all_asked(bench: Bench) -> None:
    """Each at its own interval, none before its deadline."""
    fast, slow = Scripted("fast", every_s=0.01), Scripted("slow", every_s=0.05)
    bench.start(fast, slow)
    assert fast.enough.wait(5)
    assert slow.enough.wait(5)
    assert len(fast.ticks) > len(slow.ticks)
    assert all(tick.began_ns >= tick.deadline_ns for source in (fast, slow) for tick in source.ticks)


def test_others_are_released_from_behind_a_reading_that_hangs(bench: Bench) -> None:
    """Once its patience is over, the others can be moved to another worker, and each source is asked by one only."""
    go_on = threading.Event()
    hanging = Scripted("hanging", act=lambda count: (go_on.wait(5), None)[1] if count == 2 else None)
    other = Scripted("other", wanted=20)
    worker = bench.start(hanging, other)
    released: list[Scheduled] = []
    while not released:
        released = worker.release_others(bench.clock.now_ns())
    assert [entry.source for entry in released] == [other]
    assert len(hanging.ticks) == 2
    bench.start_entries(released)
    assert other.enough.wait(5)
    assert len(hanging.ticks) == 2  # still in there
    go_on.set()
    assert hanging.enough.wait(5)
    assert [entry.source for entry in worker.entries] == [hanging]


def test_nothing_is_released_from_a_reading_within_its_patience(bench: Bench) -> None:
    """A reading that has just begun holds up nobody."""
    began, go_on = threading.Event(), threading.Event()

    def act(_: int) -> None:
        began.set()
        go_on.wait(5)

    worker = bench.start(Scripted("slow", patience_s=60.0, act=act), Scripted("other"))
    assert began.wait(5)
    assert worker.release_others(bench.clock.now_ns()) == []
    go_on.set()


def test_a_source_can_be_added_while_others_are_asked(bench: Bench) -> None:
    """Sources come during a run."""
    first, second = Scripted("first"), Scripted("second")
    worker = bench.start(first)
    assert first.enough.wait(5)
    assert worker.add([bench.entry(second)])
    assert second.enough.wait(5)


def test_a_mistake_in_a_source_ends_neither_it_nor_the_others(bench: Bench) -> None:
    """An exception of ours is an event, told once a kind, and the source is asked again."""

    def act(_: int) -> None:
        raise RuntimeError("broken \x1b")

    broken, sound = Scripted("broken", act=act), Scripted("sound", wanted=20)
    bench.start(broken, sound)
    assert sound.enough.wait(5)
    assert len(broken.ticks) > 1
    (event,) = bench.events("source_failed")
    assert (event.subject, event.detail) == ("broken", "RuntimeError: broken \x1b")


def test_skipped_readings_are_told(bench: Bench) -> None:
    """A reading that takes many intervals is an event with how many were left out: the gap is no secret."""
    go_on = threading.Event()
    slow = Scripted("slow", act=lambda count: (go_on.wait(0.2), None)[1] if count == 2 else None)
    bench.start(slow)
    assert slow.enough.wait(5)
    (event,) = bench.events("source_late")
    assert event.subject == "slow"
    skipped = int(event.detail.split()[0])
    assert skipped >= 15
    gap_ns = slow.ticks[2].deadline_ns - slow.ticks[1].deadline_ns
    assert gap_ns >= skipped * NS_PER_S // 100


def test_an_outbox_that_nobody_empties_is_bounded() -> None:
    """Rows beyond the bound are dropped and counted."""
    outbox = Outbox(rows_most=2)
    row = ClockReading(at_ns=1, host="h", offset_ns=0)
    for _ in range(5):
        outbox.put([row])
    assert (len(outbox.drain()), outbox.dropped) == (2, 3)
