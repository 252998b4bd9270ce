"""Which rows of which ring a run takes: restarts, other machines at one address, numbers that make no sense."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson
import pytest

from comfysoak_core.clock import NS_PER_S, ManualClock
from comfysoak_core.rows import ClockReading, Event, Gpu, Row
from comfysoak_probes.config import RemoteProbe, SamplerConfig
from comfysoak_probes.fetch import Answer, FetchError, Trouble
from comfysoak_probes.remote.cursors import CURSOR_FILE, Bookmark, Cursor, read_cursors
from comfysoak_probes.remote.listening import ListenAddress, Listening, ListenOn
from comfysoak_probes.remote.service import Request
from comfysoak_probes.remote.source import ProbeSource
from comfysoak_probes.source import Tick

URL = "http://far:9410"


@dataclass(slots=True)
class Far:
    """Probes in this process, one of which is at the address; `cut`: none is. `said`: what it answers instead."""

    clock: ManualClock
    stack: ExitStack
    at: Listening | None = None
    cut: bool = False
    said: dict[str, bytes] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)

    def start(self, host: str = "far", keep_s: float = 600) -> Listening:
        """Another probe, at the address from now on."""
        on = ListenOn(ListenAddress.of("0"), keep_s)
        self.at = Listening(on, self.clock, host=host, version="1", every_s=0.1)
        self.stack.enter_context(self.at)
        return self.at

    def sample(self, cost_ns: int) -> None:
        """One reading of a GPU, known by its cost."""
        assert self.at is not None
        row = Gpu(at_ns=self.clock.now_ns(), read_cost_ns=cost_ns,
                  host=self.at.host, source="nvml", uuid="G")  # fmt: skip
        self.at.take([row])

    def get(self, path: str) -> Answer:
        """As a `Fetcher` does it."""
        self.asked.append(path)
        if self.cut or self.at is None:
            raise FetchError(Trouble.REFUSED, "connection refused")
        path, _, query = path.partition("?")
        if path in self.said:
            return Answer(200, "", self.said[path])
        reply = self.at.answer(Request(path, query, {}))
        return Answer(reply.status, reply.content_type, reply.body)

    def close(self) -> None:
        """Nothing is open."""

    def source(self, cursor: Cursor | None = None, config: SamplerConfig | None = None) -> ProbeSource:
        """The run's side."""
        probe = RemoteProbe(URL)
        return ProbeSource(
            probe, config or SamplerConfig(), clock=self.clock, cursor=cursor, marks=True,
            fetcher=self,  # type: ignore[arg-type]  # all of one that is used
        )  # fmt: skip

    def read(self, source: ProbeSource, times: int = 1) -> list[Row]:
        """What it says in so many readings, half a second apart."""
        rows: list[Row] = []
        for _ in range(times):
            self.clock.advance(0.5)
            rows += source.read(Tick(0, 0))
        return rows


@pytest.fixture
def far() -> Iterator[Far]:
    with ExitStack() as stack:
        yield Far(ManualClock(), stack)


def costs(rows: Iterable[Row]) -> list[int]:
    return [row.read_cost_ns for row in rows if isinstance(row, Gpu)]


def kinds(rows: Iterable[Row]) -> list[str]:
    return [row.kind for row in rows if isinstance(row, Event)]


def test_a_cut_longer_than_the_ring_tells_how_many_rows_are_lost(far: Far) -> None:
    """A minute is kept, the network is away for two: a number, and the rest is there."""
    far.start(keep_s=60)
    source = far.source()
    far.read(source, 2)
    far.cut = True
    rows = []
    for number in range(120):
        far.clock.advance(0.5)
        far.sample(number)
        rows += far.read(source)
    far.cut = False
    for _ in range(40):
        rows += far.read(source, 2)
    found = costs(rows)
    assert found == list(range(found[0], 120))
    (lost,) = [row.detail for row in rows if isinstance(row, Event) and row.kind == "rows_lost"]
    assert lost.startswith(f"{found[0]} rows of far ")
    assert 55 < found[0] < 65


def test_a_ring_that_wraps_and_ends_while_nobody_asks_is_told(far: Far) -> None:
    """Rows lost to both, and a probe that was started again: what the new one has is there from its first row on."""
    far.start(keep_s=5)
    source = far.source()
    far.sample(0)
    rows = far.read(source, 2)
    far.cut = True
    for number in range(1, 20):
        far.clock.advance(1)
        far.sample(number)
        rows += far.read(source)
    far.start()
    far.sample(100)
    rows += far.read(source)
    far.cut = False
    rows += far.read(source, 4)
    assert costs(rows) == [0, 100]
    assert kinds(rows).count("rows_lost") == 1


def test_two_runs_read_one_ring(far: Far) -> None:
    """Each has every row once, however the other one asks."""
    far.start()
    one, two = far.source(), far.source()
    found: tuple[list[Row], list[Row]] = ([], [])
    far.read(one), far.read(two)
    for number in range(40):
        far.sample(number)
        found[0].extend(far.read(one))
        if number % 7 == 0:
            found[1].extend(far.read(two, 2))
    found[1].extend(far.read(two, 60))
    assert costs(found[0]) == costs(found[1]) == list(range(40))


def test_what_was_fetched_of_a_probe_before_it_was_started_again_is_not_lost(far: Far) -> None:
    """After a cut rows come second by second: those that are here already survive the end of their ring."""
    far.start()
    source = far.source()
    far.read(source)
    for number in range(20):
        far.clock.advance(1)
        far.sample(number)
    rows = far.read(source, 2)
    assert 0 < len(costs(rows)) < 10
    far.start()
    far.clock.advance(11)  # the clock is asked again
    far.sample(100)
    rows += far.read(source, 5)
    assert costs(rows) == [*range(20), 100]
    assert kinds(rows).count("rows_lost") == 1


def test_two_machines_behind_one_address_are_each_read_once(far: Far) -> None:
    """A name with two addresses, asked by turns: no row is there twice, and it is said what is wrong."""
    rings = [far.start("gpu-1"), far.start("gpu-2")]
    source, rows, number = far.source(), [], 0
    for turn in range(12):
        for ring in rings:
            far.at = ring
            far.sample(number)
            number += 1
        far.at = rings[turn % 2]
        rows += far.read(source, 2)
        far.clock.advance(10)
    for ring in rings:
        far.at = ring
        rows += far.read(source, 3)
    found = costs(rows)
    assert sorted(found) == sorted(set(found))
    assert set(found) >= set(range(2, number))
    assert sum("by turns" in row.detail for row in rows if isinstance(row, Event)) == 1
    assert len(kinds(rows)) < 8


def test_another_machine_gives_no_rows_of_before_the_change(far: Far) -> None:
    """Its ring is minutes old: what it sampled before it was ours is not of this run."""
    other = far.start("gpu-2")
    far.sample(1)
    far.clock.advance(60)
    far.start("gpu-1")
    source = far.source()
    far.sample(2)
    rows = far.read(source, 2)
    far.at = other
    far.clock.advance(11)
    far.sample(3)
    rows += far.read(source, 4)
    assert costs(rows) == [2, 3]


def test_a_sampler_that_was_started_again_knows_since_when_a_new_ring_counts(far: Far) -> None:
    """The probe was started again while there was no sampler: all of its new ring is of this run."""
    far.start()
    first = far.source()
    far.sample(1)
    rows = far.read(first, 2)
    cursor = next(row.cursor for row in reversed(rows) if isinstance(row, Bookmark))
    far.clock.advance(5)
    far.start()
    far.sample(2)
    far.clock.advance(5)
    rows = far.read(far.source(cursor), 4)
    assert costs(rows) == [2]
    (lost,) = [row.detail for row in rows if isinstance(row, Event) and row.kind == "rows_lost"]
    assert " 10." in lost or " 11." in lost or " 12." in lost


def test_rows_that_cannot_be_read_are_not_asked_for_without_end(far: Far) -> None:
    """It says that it has rows, and sends none that can be read: told once, and asked later and later."""
    far.start()
    source = far.source()
    far.read(source, 2)
    far.sample(1)
    assert far.at is not None
    rows: list[Row] = []
    for _ in range(6):
        head = {"format": 1, "ring": far.at.ring.identity, "host": "far", "version": "1", "first": 1, "next": 50,
                "clock_ns": far.clock.now_ns() + NS_PER_S // 2, "columns": {}}  # fmt: skip
        far.said["/rows"] = orjson.dumps(head) + b'\n["gpu",1,{}]\n'
        rows += far.read(source)
    assert kinds(rows) == ["source_missing"]
    assert source.every_s > 2
    far.said.clear()
    rows = far.read(source, 3)
    assert (costs(rows), kinds(rows)) == ([1], ["source_found"])


def test_a_number_the_ring_never_gave_is_not_waited_for(far: Far) -> None:
    """A cursor with the right ring and a number of the far future: told, and what comes from now on is there."""
    ring = far.start().ring.identity
    source = far.source(Cursor(ring, 10**9, 0, ()))
    rows = far.read(source, 2)
    far.sample(1)
    rows += far.read(source, 2)
    assert costs(rows) == [1]
    assert kinds(rows).count("rows_lost") == 1


def test_a_step_of_the_clock_is_told_though_the_next_question_fails(far: Far) -> None:
    """A machine that wakes up often loses its connections at once."""
    far.start()
    source = far.source()
    far.read(source, 3)
    assert far.at is not None
    stepped = orjson.dumps({"ring": far.at.ring.identity, "clock_ns": far.clock.now_ns() + 3600 * NS_PER_S})
    far.clock.advance(11)
    get, far_asked = Far.get, len(far.asked)

    class Failing:
        def get(self, path: str) -> Answer:
            if len(far.asked) > far_asked + 1:
                raise FetchError(Trouble.UNREACHABLE, "gone")
            far.said["/clock"] = stepped
            return get(far, path)

        def close(self) -> None:
            """Nothing is open."""

    source._fetcher = Failing()  # type: ignore[assignment]  # all of one that is used
    rows = source.read(Tick(0, 0))
    assert kinds(rows) == ["clock_step", "source_missing"]


def test_a_step_that_a_slow_answer_shows_is_measured_anew_before_rows_are_moved_by_it(far: Far) -> None:
    """The rows took 2 s to come: what is known of the clock then is not good enough for them."""
    far.start()
    source = far.source()
    far.read(source, 3)
    assert far.at is not None
    far.at.clock = far.at.ring._clock = ahead = ManualClock(far.clock.now_ns() + 3600 * NS_PER_S)
    at_ns = far.clock.now_ns()
    far.at.take([Gpu(at_ns=ahead.now_ns(), read_cost_ns=1, host="far", source="nvml", uuid="G")])

    def slow(path: str) -> Answer:
        answer = Far.get(far, path)
        if path.startswith("/rows"):
            far.clock.advance(2)
            ahead.advance(2)
        return answer

    source._fetcher = Slow(slow)  # type: ignore[assignment]  # all of one that is used
    (row,) = [row for row in source.read(Tick(0, 0)) if isinstance(row, Gpu)]
    assert row.at_ns == at_ns


@dataclass(frozen=True, slots=True)
class Slow:
    """Answers that take their time."""

    get: Any

    def close(self) -> None:
        """Nothing is open."""


def test_a_clock_that_jumps_all_the_time_does_not_fill_the_terminal(far: Far) -> None:
    """Hours to and fro at each answer: an event each ten seconds, and every reading in the recording."""
    far.start()
    source = far.source()
    far.read(source, 2)
    assert far.at is not None
    rows: list[Row] = []
    for number in range(120):
        told_ns = far.clock.now_ns() + (number % 2) * 3600 * NS_PER_S
        head = {"format": 1, "ring": far.at.ring.identity, "host": "far", "version": "1", "first": 1, "next": 1,
                "clock_ns": told_ns, "columns": {}}  # fmt: skip
        far.said = {"/rows": orjson.dumps(head), "/clock": orjson.dumps(head)}
        rows += far.read(source)
    assert 3 <= kinds(rows).count("clock_step") <= 7
    assert sum(isinstance(row, ClockReading) and row.step_ns != 0 for row in rows) > 50


@pytest.mark.parametrize(
    "wrong",
    [
        {"after": -5}, {"after": 2**63}, {"after": "7"}, {"after": 1.5}, {"ring": 7}, {"ring": ""}, {"ring": "x" * 99},
        {"ahead_ns": 2**64 - 1}, {"points": [{"probe_ns": 1, "ahead_ns": 1, "error_ns": -1}]}, {"points": 7},
        {"points": [7]}, {"points": [{"probe_ns": True, "ahead_ns": 0, "error_ns": 0}]}, {"points": {"a": 1}},
    ],
)  # fmt: skip
def test_a_cursor_that_is_none_begins_anew(tmp_path: Path, wrong: dict[str, Any]) -> None:
    """Whatever stands in the file; others in it count."""
    good = {"ring": "r", "after": 1, "ahead_ns": -5, "points": [{"probe_ns": 1, "ahead_ns": -1, "error_ns": 0}]}
    (tmp_path / CURSOR_FILE).write_bytes(orjson.dumps({"a": {**good, **wrong}, "b": good}))
    assert list(read_cursors(tmp_path)) == ["b"]


@pytest.mark.parametrize("torn", [b"", b"{", b"[]", b'{"a": {"ring": "r", "aft', b"\x00" * 100, b"7"])
def test_a_torn_file_of_cursors_begins_anew(tmp_path: Path, torn: bytes) -> None:
    """No traceback, no cursor."""
    (tmp_path / CURSOR_FILE).write_bytes(torn)
    assert read_cursors(tmp_path) == {}
