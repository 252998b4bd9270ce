"""The ring: numbers without gaps, bounded in time and bytes."""

from __future__ import annotations

import orjson
import pytest

from comfysoak_core.clock import ManualClock
from comfysoak_core.recording.redaction import SECRET_VARIABLES
from comfysoak_core.rows import Event, Host, Row
from comfysoak_probes.remote.ring import Ring


def host(at_ns: int) -> Host:
    return Host(at_ns=at_ns, read_cost_ns=1, host="h")


def event(detail: str) -> Row:
    return Event(at_ns=1, source="sampler", kind="x", detail=detail)


def test_each_row_has_the_next_number_and_is_told_once() -> None:
    """Batches are by table; what a reader has it is not given again."""
    ring = Ring(ManualClock(), keep_s=60)
    ring.take([host(1), event("a"), host(2)])
    ring.take([host(3)])
    first = ring.after(0, 10**6)
    assert [(batch.table, batch.first, batch.count) for batch in first.batches] == [
        ("host", 1, 2), ("events", 3, 1), ("host", 4, 1),
    ]  # fmt: skip
    assert (first.first, first.next) == (1, 5)
    assert [batch.first for batch in ring.after(3, 10**6).batches] == [4]
    assert ring.after(4, 10**6).batches == ()
    assert [row[0] for row in orjson.loads(first.batches[0].rows)] == [1, 2]


def test_old_rows_are_forgotten_and_the_numbers_say_so() -> None:
    """A minute is kept: after two of them only what came in the second is there."""
    clock = ManualClock()
    ring = Ring(clock, keep_s=60)
    for second in range(120):
        ring.take([host(second)])
        clock.advance(1)
    found = ring.after(0, 10**6)
    assert found.first == found.batches[0].first == 60
    assert found.next == 121
    assert ring.kept_s == pytest.approx(61)


def test_no_burst_makes_it_larger_than_its_bytes() -> None:
    """Ten thousand rows of text in no time: the oldest make room, and that is remembered."""
    ring = Ring(ManualClock(), keep_s=3600, bytes_most=200_000)
    for _ in range(100):
        ring.take([event("x" * 1_000) for _ in range(100)])
    kept = ring.after(0, 10**9).batches
    assert 0 < sum(len(batch.rows) for batch in kept) <= 200_000
    assert ring.shortened_ns is not None


def test_an_answer_is_bounded_but_never_empty() -> None:
    """As many batches as there is room for, at least one."""
    ring = Ring(ManualClock(), keep_s=60)
    for _ in range(5):
        ring.take([event("x" * 1_000)])
    assert len(ring.after(0, 2_500).batches) == 2
    assert len(ring.after(0, 10).batches) == 1


def test_a_moment_finds_what_came_after_it() -> None:
    """Who has nothing yet begins at a moment, not at a number."""
    clock = ManualClock()
    ring = Ring(clock, keep_s=600)
    for second in range(10):
        ring.take([host(second)])
        clock.advance(1)
    since = ring.since(clock.now_ns() - 3_000_000_000, 10**6)
    assert [orjson.loads(batch.rows)[0][0] for batch in since.batches] == [7, 8, 9]
    assert ring.since(clock.now_ns() + 1, 10**6).batches == ()


def test_a_secret_does_not_reach_the_ring(monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that says the token it was sent: what is served has it not."""
    monkeypatch.setenv("OUR_TOKEN", "geheim-Zq7xVw9Kt3Lm5")
    monkeypatch.setenv(SECRET_VARIABLES, "OUR_TOKEN")
    ring = Ring(ManualClock(), keep_s=60)
    ring.take([event("you sent geheim-Zq7xVw9Kt3Lm5")])
    assert b"Zq7xVw9" not in ring.after(0, 10**6).batches[0].rows


def test_a_start_has_an_identity_of_its_own() -> None:
    """Numbers of one start mean nothing in another."""
    assert Ring(ManualClock(), keep_s=1).identity != Ring(ManualClock(), keep_s=1).identity
