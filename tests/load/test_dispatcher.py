"""Open load: each arrival is sent once or is a row that says why not, whatever happens to its stage."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import gevent
import gevent.event
import pytest

from comfysoak_core.clock import NS_PER_S, ManualClock
from comfysoak_core.rows import Outcome, Prompt
from comfysoak_core.scenario.curve import Line
from comfysoak_core.scenario.stage import Arrivals, Replay, Stage
from comfysoak_load.arrivals import pool
from comfysoak_load.arrivals.dispatcher import Dispatcher
from tests.load.looping import until

RATE = 50


class Process:
    """What a dispatcher asks of its load process; its clock stands."""

    def __init__(self) -> None:
        self.clock = ManualClock()
        self.plan = SimpleNamespace(seed=1, address="http://a:1")
        self.rows: list[Prompt] = []
        self.journal = SimpleNamespace(add=self.rows.append)
        self.worker, self.phase = "load-0", "load"
        self.held_back: set[gevent.Greenlet] = set()
        self.draws: list[str] = []
        self.errors: list[Exception] = []
        self.own_error = self.errors.append

    def draw(self, stream: str, count: int) -> random.Random:
        self.draws.append(f"{stream}/{count}")
        return random.Random(f"{stream}/{count}")

    def intended(self, _name: str | None, _numbers: random.Random) -> tuple[str, str]:
        return "w", Outcome.SUCCESS


class Client:
    """Sends nothing: notes when what it was to send was due, and stays with it until told."""

    sent: list[int] = []
    at_each: Callable[[], object] = staticmethod(lambda: None)
    at_aim: Callable[[], object] = staticmethod(lambda: None)
    clients = 0

    def __init__(self, *_: object) -> None:
        type(self).clients += 1

    def connect(self) -> None:
        pass

    def leave(self) -> None:
        type(self).clients -= 1

    def aim(self, *_: object) -> object:
        self.at_aim()
        return self

    def send(self, _aim: object, due_ns: int, wait: Callable[[], object]) -> None:
        wait()
        self.sent.append(due_ns)
        self.at_each()


@pytest.fixture
def process(monkeypatch: pytest.MonkeyPatch) -> Iterator[Process]:
    monkeypatch.setattr(pool, "new_client", Client)
    Client.sent, Client.clients = [], 0
    yield Process()
    Client.at_each = Client.at_aim = staticmethod(lambda: None)


def stage(seconds: float = 2.0, in_flight_most: int = 1000, rate: float = RATE) -> Stage:
    arrivals = Arrivals(rate_per_s=Line.level(rate), process="constant", in_flight_most=in_flight_most)
    return Stage(duration_s=seconds, arrivals=arrivals)


def dispatcher_of(process: Process) -> Dispatcher:
    return Dispatcher(process, lambda *_: None, Path())  # type: ignore[arg-type]  # as far as it is asked


def expected(zero_ns: int, first: int, last: int) -> list[int]:
    return [zero_ns + round(number / RATE * NS_PER_S) for number in range(first, last)]


def test_what_is_overdue_leaves_at_once(process: Process) -> None:
    """A stage that began ten seconds ago has all its arrivals sent, each with the moment it was due."""
    dispatcher = dispatcher_of(process)
    zero_ns = process.clock.now_ns() - 10 * NS_PER_S
    dispatcher.enter(stage(), 0, zero_ns)
    until(lambda: len(Client.sent) == 100)
    dispatcher.stop()
    assert Client.sent == expected(zero_ns, 0, 100)
    assert process.rows == []
    assert process.errors == []


def test_a_stage_that_pauses_goes_on_where_it_was(process: Process) -> None:
    """After a settle the rest is due by the new zero of the load clock: none twice, none lost."""
    dispatcher = dispatcher_of(process)
    zero_ns = process.clock.now_ns() - 10 * NS_PER_S
    dispatcher.enter(stage(), 0, zero_ns, until_s=1.0)
    until(lambda: len(Client.sent) == 50)
    dispatcher.leave()
    later_ns = zero_ns + 5 * NS_PER_S
    dispatcher.enter(stage(), 0, later_ns, from_s=1.0)
    until(lambda: len(Client.sent) == 100)
    dispatcher.stop()
    assert Client.sent == expected(zero_ns, 0, 50) + expected(later_ns, 50, 100)
    assert len(set(process.draws)) == 100


def test_what_a_pause_caught_is_sent_after_it(process: Process, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was due before a settle and has not left in time is sent when load goes on, by the new zero."""
    monkeypatch.setattr("comfysoak_load.arrivals.dispatcher.CATCH_UP_S", 0.0)
    dispatcher = dispatcher_of(process)
    Client.at_each = staticmethod(dispatcher.leave)
    zero_ns = process.clock.now_ns() - 10 * NS_PER_S
    dispatcher.enter(stage(), 0, zero_ns, until_s=1.0)
    dispatcher.leave()
    until(lambda: dispatcher.on_their_way == 0)
    early = len(Client.sent)
    Client.at_each = staticmethod(lambda: None)
    dispatcher.enter(stage(), 0, zero_ns + NS_PER_S, from_s=1.0)
    until(lambda: len(Client.sent) == 100)
    dispatcher.stop()
    assert Client.sent[early:] == expected(zero_ns + NS_PER_S, early, 100)


def test_what_is_left_when_a_stage_ends_is_told(process: Process) -> None:
    """A process that cannot keep up leaves a row with the reason for each arrival it did not come to."""
    dispatcher = dispatcher_of(process)
    zero_ns = process.clock.now_ns() - 10 * NS_PER_S
    dispatcher.enter(stage(), 0, zero_ns)
    dispatcher.enter(Stage(duration_s=5), 1, process.clock.now_ns())
    dispatcher.stop()
    assert [row.scheduled_ns for row in process.rows] == expected(zero_ns, 0, 100)
    assert {row.outcome for row in process.rows} == {Outcome.NOT_SENT}
    assert process.rows[0].error_message == "the load process was 10.0 s late when its stage ended"
    assert Client.sent == []


@pytest.mark.parametrize("ends", ["with another stage", "with a pause"])
def test_what_is_a_little_late_when_a_stage_ends_is_sent(process: Process, ends: str) -> None:
    """The last arrival of a stage may leave a moment after the stage's end."""
    dispatcher = dispatcher_of(process)
    zero_ns = process.clock.now_ns() - 2 * NS_PER_S
    dispatcher.enter(stage(), 0, zero_ns)
    if ends == "with a pause":
        until(lambda: len(Client.sent) > 10)
        dispatcher.leave()
    else:
        until(lambda: len(Client.sent) > 60)
        dispatcher.enter(Stage(duration_s=5), 1, process.clock.now_ns())
    until(lambda: len(Client.sent) == 100)
    dispatcher.stop()
    assert Client.sent == expected(zero_ns, 0, 100)
    assert process.rows == []


def test_what_was_not_due_yet_is_no_row(process: Process) -> None:
    """A run that is stopped in the middle of a stage intended nothing of the rest of it."""
    dispatcher = dispatcher_of(process)
    zero_ns = process.clock.now_ns() - NS_PER_S
    dispatcher.enter(stage(rate=0.5), 0, zero_ns)
    until(lambda: len(Client.sent) == 1)
    dispatcher.stop()
    assert process.rows == []


def test_what_was_made_ready_is_called_off_when_its_stage_is_left(process: Process) -> None:
    """A prompt that is about to be due leaves no trace when load pauses, and is sent when load goes on."""
    dispatcher = dispatcher_of(process)
    Client.at_aim = staticmethod(dispatcher.leave)
    later_ns = process.clock.now_ns() + 1_000_000
    dispatcher.enter(stage(), 0, later_ns)
    until(lambda: bool(process.draws) and dispatcher.on_their_way == 0)
    assert Client.sent == []
    Client.at_aim = staticmethod(lambda: None)
    dispatcher.enter(stage(), 0, process.clock.now_ns() - 10 * NS_PER_S, from_s=0.01)
    until(lambda: len(Client.sent) == 100)
    dispatcher.stop()
    assert process.rows == []


def test_no_more_on_their_way_than_there_is_room_for(process: Process) -> None:
    """With too many open an arrival is a row with the reason, and clients are no more than may be busy."""
    dispatcher = dispatcher_of(process)
    go_on = gevent.event.Event()
    Client.at_each = staticmethod(go_on.wait)
    dispatcher.enter(stage(in_flight_most=3), 0, process.clock.now_ns() - 10 * NS_PER_S)
    until(lambda: len(Client.sent) + len(process.rows) == 100)
    assert len(Client.sent) == dispatcher.on_their_way == 3
    assert Client.clients == 3
    assert {row.error_message for row in process.rows} == {"3 prompts were on their way already"}
    go_on.set()
    until(lambda: dispatcher.on_their_way == 0)
    dispatcher.stop()


def test_a_stage_that_begins_again_sends_other_prompts(process: Process) -> None:
    """A trial that is repeated is not answered from the cache."""
    dispatcher = dispatcher_of(process)
    for count in (100, 200):
        dispatcher.enter(stage(), 0, process.clock.now_ns() - 10 * NS_PER_S)
        until(lambda count=count: len(Client.sent) == count)  # type: ignore[misc]  # bound now
    dispatcher.stop()
    assert len(set(process.draws)) == 200


def test_the_same_seed_is_the_same_load(process: Process) -> None:
    """Moments and draws of a Poisson stage come again in another run with the same seed, and differ with another."""

    def run(seed: int) -> tuple[list[int], list[str]]:
        process.plan.seed, Client.sent, process.draws = seed, [], []
        poisson = Arrivals(rate_per_s=Line(start=10, end=50), process="poisson")
        dispatcher = dispatcher_of(process)
        dispatcher.enter(Stage(duration_s=2, arrivals=poisson), 3, process.clock.now_ns() - 10 * NS_PER_S)
        until(lambda: dispatcher.on_their_way == 0 and len(Client.sent) == len(process.draws) > 20)
        dispatcher.stop()
        return Client.sent, process.draws

    assert run(1) == run(1)
    assert run(1) != run(2)


def test_a_part_that_is_dealt_anew(process: Process) -> None:
    """From the offset on at which the load is shared anew the process sends its new part, before that the old one."""
    dispatcher = dispatcher_of(process)
    zero_ns = process.clock.now_ns() - 10 * NS_PER_S
    dispatcher.enter(stage(), 0, zero_ns, until_s=1.0)
    dispatcher.share(1, 2)
    dispatcher.enter(stage(), 0, zero_ns, from_s=1.0)
    until(lambda: len(Client.sent) == 75)
    dispatcher.stop()
    assert Client.sent == expected(zero_ns, 0, 50) + expected(zero_ns, 50, 100)[1::2]


def test_a_trace_that_is_not_there_is_an_error_of_ours(process: Process, tmp_path: Path) -> None:
    """A worker without the run's inputs tells it, and goes on."""
    dispatcher = Dispatcher(process, lambda *_: None, tmp_path)  # type: ignore[arg-type]  # as above
    replay = Replay(trace="0" * 64, name="t", prompts=1, lasts_s=1.0)
    dispatcher.enter(Stage(duration_s=1, replay=replay), 0, process.clock.now_ns())
    dispatcher.stop()
    assert "cannot be read" in str(process.errors[0])


def test_clients_nobody_needs_are_let_go(process: Process, monkeypatch: pytest.MonkeyPatch) -> None:
    """After a burst only a few sockets stay open."""
    monkeypatch.setattr(pool, "TEND_EVERY_S", 0.001)
    dispatcher = dispatcher_of(process)
    go_on = gevent.event.Event()
    Client.at_each = staticmethod(go_on.wait)
    dispatcher.enter(stage(), 0, process.clock.now_ns() - 10 * NS_PER_S)
    until(lambda: len(Client.sent) == 100)
    go_on.set()
    until(lambda: dispatcher.on_their_way == 0)
    process.clock.advance(pool.IDLE_MOST_S + 1)
    until(lambda: Client.clients == pool.AHEAD_LEAST)
    dispatcher.stop()


@pytest.mark.parametrize("ends", ["with another stage", "for good"])
def test_what_is_told_late_is_of_its_own_phase(process: Process, monkeypatch: pytest.MonkeyPatch, ends: str) -> None:
    """A level that could not be sent in full is judged with all its arrivals, and the next one without them."""
    monkeypatch.setattr("comfysoak_load.arrivals.dispatcher.CATCH_UP_S", 0.0)
    dispatcher = dispatcher_of(process)
    process.phase = "trial: 1"
    dispatcher.enter(stage(rate=2000), 0, process.clock.now_ns() - 10 * NS_PER_S)
    if ends == "for good":
        Client.at_each = staticmethod(lambda: dispatcher.leave(for_good=True))  # after its first
        until(lambda: bool(Client.sent))
        until(lambda: dispatcher.on_their_way == 0)
        assert len(Client.sent) + len(process.rows) == 4000
    process.phase = "warmup"
    dispatcher.enter(Stage(duration_s=5), 1, process.clock.now_ns())
    dispatcher.stop()
    assert process.rows
    assert {row.phase for row in process.rows} == {"trial: 1"}


def test_who_waits_to_try_again_holds_nothing_up(process: Process) -> None:
    """While servers settle a user who gave up has nothing open; at the end of the test it goes."""
    dispatcher = dispatcher_of(process)
    never = gevent.event.Event()

    def held_back() -> None:
        process.held_back.add(gevent.getcurrent())
        try:
            never.wait()
        finally:
            process.held_back.discard(gevent.getcurrent())

    Client.at_each = staticmethod(held_back)
    dispatcher.enter(stage(seconds=0.1), 0, process.clock.now_ns() - 10 * NS_PER_S)
    until(lambda: len(process.held_back) == 5)
    assert dispatcher.on_their_way == 0
    dispatcher.stop()
    assert process.held_back == set()
    assert process.errors == []


def test_nothing_is_sent_and_told_as_well(process: Process) -> None:
    """A dispatcher that is halted while it is awake takes no arrival that another one dealt with."""
    for count in range(20):
        Client.sent, process.rows[:] = [], []
        dispatcher = dispatcher_of(process)
        zero_ns = process.clock.now_ns() - 10 * NS_PER_S
        dispatcher.enter(stage(), 0, zero_ns)
        until(lambda count=count: len(Client.sent) > count)  # type: ignore[misc]  # bound now
        dispatcher.enter(Stage(duration_s=5), 1, process.clock.now_ns())
        dispatcher.stop()
        for _ in range(5):
            gevent.sleep(0)
        assert sorted(Client.sent + [row.scheduled_ns for row in process.rows]) == expected(zero_ns, 0, 100)
