"""Ways to a server's log: its file, its routes, its socket; and what is done when one fails."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import orjson
import pytest

from comfysoak_core.clock import NS_PER_S, ManualClock
from comfysoak_core.rows import Event, Row, ServerLog
from comfysoak_probes.fetch import FetchError, Trouble
from comfysoak_probes.log.entry_clock import EntryClock
from comfysoak_probes.log.feeds import Entries, FileFeed, NewEntries, RawFeed, Stamped
from comfysoak_probes.log.source import Budget, LogSource
from comfysoak_probes.source import Tick
from tests.probes.answering import answering, http

Entry = dict[str, Any]


def entry(second: float, text: str) -> Entry:
    return {"t": f"2026-11-22T15:00:{second:09.6f}", "m": text}


class TestFile:
    """The log file of a server on this host."""

    def test_it_is_read_from_its_end_on(self, tmp_path: Path) -> None:
        """What was written before we came is not ours; what comes after is, once its line has ended."""
        path = tmp_path / "comfyui.log"
        path.write_text("old\n", encoding="utf-8")
        feed = FileFeed(path, now_ns=lambda: 7)
        assert feed.lines() == []
        with path.open("a", encoding="utf-8") as file:
            file.write("new\nhal")
            file.flush()
            assert feed.lines() == [Stamped(7, "new")]
            file.write("f\n")
        assert feed.lines() == [Stamped(7, "half")]
        feed.close()

    def test_a_rotated_file_is_followed(self, tmp_path: Path) -> None:
        """The end of the file that was moved away and the beginning of the new one are both read."""
        path = tmp_path / "comfyui.log"
        path.write_text("", encoding="utf-8")
        feed = FileFeed(path, now_ns=lambda: 7)
        feed.lines()
        with path.open("a", encoding="utf-8") as file:
            file.write("last words\n")
        path.rename(tmp_path / "comfyui.log.1")
        path.write_text("first words\n", encoding="utf-8")
        assert [line.text for line in feed.lines()] == ["last words", "first words"]
        feed.close()

    def test_a_file_that_was_cut_is_read_from_its_beginning(self, tmp_path: Path) -> None:
        """`> comfyui.log` while the server runs loses nothing that is written after it."""
        path = tmp_path / "comfyui.log"
        path.write_text("a long line that was there before\n", encoding="utf-8")
        feed = FileFeed(path, now_ns=lambda: 7)
        feed.lines()
        os.truncate(path, 0)
        with path.open("a", encoding="utf-8") as file:
            file.write("new\n")
        assert [line.text for line in feed.lines()] == ["new"]
        feed.close()

    def test_a_file_that_grows_too_fast_has_a_gap(self, tmp_path: Path) -> None:
        """Two megabytes between two readings: the last of them is read, and how much was not is told."""
        path = tmp_path / "comfyui.log"
        path.write_text("", encoding="utf-8")
        feed = FileFeed(path, now_ns=lambda: 7)
        feed.lines()
        path.write_text("x" * 99 + "\n" + ("y" * 1023 + "\n") * 2048, encoding="utf-8")
        assert len(feed.lines()) == 1024
        assert feed.gap() == "1,048,676 bytes of the log file were skipped: it grew too fast"
        assert feed.gap() is None
        feed.close()

    def test_a_file_that_appears_later_is_read_whole(self, tmp_path: Path) -> None:
        """The server was started after us, and writes a file of its own: told as missing, then read on."""
        path = tmp_path / "comfyui.log"
        path.write_text("", encoding="utf-8")
        feed = FileFeed(path, now_ns=lambda: 7)
        feed.lines()
        feed.close()
        path.unlink()
        with pytest.raises(FileNotFoundError):
            feed.lines()
        path.write_text("got prompt\n", encoding="utf-8")
        assert [line.text for line in feed.lines()] == ["got prompt"]
        feed.close()


class TestEntries:
    """The last 300 entries, as `/internal/logs/raw` tells them again and again."""

    def test_only_what_came_since_is_new(self) -> None:
        """At first nothing is new; then what follows the last whole line that was known."""
        new = NewEntries()
        first, second, third = entry(1, "a\n"), entry(2, "b\n"), entry(3, "c\n")
        assert new.of([first]) == []
        assert new.of([first, second, third]) == [second, third]
        assert new.of([first, second, third]) == []

    def test_a_progress_bar_is_not_taken_for_a_line(self) -> None:
        """An entry without an end will be taken out again by the server: it must not become the mark."""
        new = NewEntries()
        done = entry(1, "a\n")
        assert new.of([done, entry(2, "\r 50%")]) == []
        assert new.of([done, entry(3, "\r100%"), entry(4, "\n"), entry(5, "b\n")]) == [
            entry(3, "\r100%"), entry(4, "\n"), entry(5, "b\n"),
        ]  # fmt: skip

    def test_after_a_restart_all_is_new(self) -> None:
        """The mark is gone, because the server was started again or has written more than it keeps."""
        new = NewEntries()
        new.of([entry(1, "a\n")])
        assert new.of([entry(9, "b\n"), entry(9, "c\n")]) == [entry(9, "b\n"), entry(9, "c\n")]

    def test_of_a_server_that_was_not_there_all_is_new(self) -> None:
        """It refused connections when we came, so every line it has was written since."""
        new = NewEntries()
        new.begin()
        assert new.of([entry(1, "a\n")]) == [entry(1, "a\n")]

    def test_more_entries_than_the_server_keeps_are_lost(self) -> None:
        """The mark is gone and the list is full: told once. A list that is not full is that of a new process."""
        new = NewEntries()
        new.of([entry(1, "a\n")])
        assert len(new.of([entry(2, f"{index}\n") for index in range(300)])) == 300
        assert "300 entries" in (new.gap() or "")
        assert new.gap() is None
        new.of([entry(3, "b\n")])
        assert new.gap() is None


class TestTimes:
    """When an entry was written, by stamps of another clock in an unknown time zone."""

    def test_an_entry_that_came_late_is_put_where_it_belongs(self) -> None:
        """The distance of the clocks is that of the entry that came fastest."""
        clock = EntryClock()
        base_ns = 1_800_000_000 * NS_PER_S
        assert clock.at_ns("2026-11-22T15:00:01.000000", base_ns) == base_ns
        late = clock.at_ns("2026-11-22T15:00:02.000000", base_ns + 3 * NS_PER_S)
        assert late == base_ns + NS_PER_S

    @pytest.mark.parametrize("stamp", [None, "", "yesterday", 12, "2026-99-99T00:00:00", "x" * 5000])
    def test_a_stamp_that_is_none_gives_the_time_of_arrival(self, stamp: object) -> None:
        """Whatever stands in `t`: the entry has a time."""
        assert EntryClock().at_ns(stamp, 5) == 5

    def test_a_clock_that_was_set_is_followed(self) -> None:
        """Stamps that fall back an hour (end of summer time) do not put new lines an hour back."""
        clock = EntryClock()
        clock.at_ns("2026-11-22T15:00:00", 100 * NS_PER_S)
        clock.at_ns("2026-11-22T14:00:10", 110 * NS_PER_S)  # one alone may have been held up for an hour
        assert clock.at_ns("2026-11-22T14:00:12", 112 * NS_PER_S) == 112 * NS_PER_S

    def test_lines_that_piled_up_over_a_pause_are_put_where_they_belong(self) -> None:
        """Three minutes of lines that come at once, in several readings, are no clock that was set."""
        clock = EntryClock()
        clock.at_ns("2026-11-22T15:00:00", 100 * NS_PER_S)
        for second in range(0, 180, 20):
            arrived_ns = 280 * NS_PER_S + second * 1_000_000
            assert clock.at_ns(f"2026-11-22T15:{second // 60:02}:{second % 60:02}", arrived_ns) == (
                (100 + second) * NS_PER_S
            )
        assert clock.at_ns("2026-11-22T15:03:01", 281 * NS_PER_S) == 281 * NS_PER_S

    def test_a_clock_that_goes_slow_is_followed(self) -> None:
        """A server's clock that loses a second each hour does not put lines further back day after day."""
        clock = EntryClock()
        for minute in range(12 * 60):
            stamp = f"2026-11-22T{minute // 60:02}:{minute % 60:02}:00"
            arrived_ns = minute * 61 * NS_PER_S - minute * NS_PER_S + minute * NS_PER_S // 60
            at_ns = clock.at_ns(stamp, arrived_ns)
        assert arrived_ns - at_ns < NS_PER_S


def test_a_line_beside_a_progress_bar_is_a_line_of_its_own() -> None:
    """A bar waits for its next state where a logger writes a whole line: that is not the bar's end."""
    written = [
        entry(1, "\r 50%|#####     | 3/6"),
        entry(2, "Requested to load SD3\n"),
        entry(3, "\r100%|###| 6/6"),
        entry(4, "\n"),
    ]
    lines = [line.text for line in Entries().lines(written, 7)]
    assert lines == ["Requested to load SD3", "\r100%|###| 6/6"]


def raw(entries: list[Entry]) -> bytes:
    return http(orjson.dumps({"entries": entries, "size": {"cols": 80, "rows": 24}}), content_type="application/json")


def test_the_raw_route_gives_new_lines() -> None:
    """Polling tells each line once."""
    entries = [entry(1, "old\n")]
    with answering(lambda method, path: raw(entries)) as server:
        feed = RawFeed(server.url, now_ns=lambda: 7)
        assert all(line.before_us for line in feed.lines())
        entries.append(entry(2, "got prompt\n"))
        assert [line.text for line in feed.lines()] == ["got prompt"]
        assert feed.lines() == []
        feed.close()
    assert set(server.asked) == {"GET /internal/logs/raw"}


@pytest.mark.parametrize("body", [http("<html>"), http("[]"), http('{"entries": 5}', 404), http("x", 403)])
def test_an_answer_without_entries_is_an_error(body: bytes) -> None:
    """A proxy that hides /internal answers something: it is told apart from a log without lines."""
    with (
        answering(lambda method, path: body) as server,
        closing(RawFeed(server.url, now_ns=lambda: 7)) as feed,
        pytest.raises(FetchError) as caught,
    ):
        feed.lines()
    assert caught.value.trouble is Trouble.NOT_HTTP


@pytest.mark.parametrize("odd", [5, None, [], {"m": 5}, {"t": [], "m": {}}, {"m": "got prompt\n"}])
def test_odd_entries_do_no_harm(odd: object) -> None:
    """Entries of wrong types are read as far as they go."""
    entries: list[Any] = [entry(1, "a\n")]
    with answering(lambda method, path: raw(entries)) as server:
        feed = RawFeed(server.url, now_ns=lambda: 7)
        feed.lines()
        entries += [odd, entry(2, "got prompt\n")]
        assert feed.lines()[-1].text.endswith("got prompt")
        feed.close()


class Scripted:
    """A feed that gives lines or fails, as the test says."""

    def __init__(self, source: str, *said: list[Stamped] | Exception) -> None:
        self.source = source
        self.every_s = 1.0
        self._said = list(said)
        self.closed = 0
        self.lost: str | None = None

    def gap(self) -> str | None:
        return self.lost

    def lines(self) -> list[Stamped]:
        said = self._said.pop(0)
        if isinstance(said, Exception):
            raise said
        return said

    def close(self) -> None:
        self.closed += 1


def reader(*feeds: Scripted) -> tuple[LogSource, Callable[[], list[Row]]]:
    clock = ManualClock()
    source = LogSource("http://s", list(feeds), clock=clock)

    def read() -> list[Row]:
        now_ns = clock.advance(1.0)
        return source.read(Tick(now_ns, now_ns))

    return source, read


def test_a_server_without_the_first_way_is_read_by_the_second() -> None:
    """No subscription, but a raw route: lines come by `http`, and which way it is is told."""
    gone = FetchError(Trouble.NOT_HTTP, "PATCH answered 404")
    _, read = reader(Scripted("socket", gone), Scripted("http", [Stamped(3, "got prompt"), Stamped(4, "chatter")]))
    assert read() == []
    rows = read()
    assert [(row.kind, row.detail) for row in rows if isinstance(row, Event)] == [
        ("log_source", "log lines come by http")
    ]
    assert [(row.at_ns, row.kind, row.source) for row in rows if isinstance(row, ServerLog)] == [
        (3, "prompt_got", "http")
    ]


def test_a_server_that_is_gone_is_told_once_and_waited_for() -> None:
    """Cut connections: one event, longer and longer waits, one event when lines come again."""
    cut = FetchError(Trouble.UNREACHABLE, "the socket was closed, code 1006")
    source, read = reader(Scripted("socket", cut, cut, cut, []))
    waits, kinds = [], []
    for _ in range(4):
        kinds += [row.kind for row in read() if isinstance(row, Event)]
        waits.append(source.every_s)
    assert kinds == ["log_missing", "source_found", "log_source"]
    assert waits == [0.5, 1.0, 2.0, 1.0]


def test_a_flood_of_lines_is_cut_and_counted() -> None:
    """More lines than the budget in ten seconds: the rest is not kept, and how many is told."""
    flood = [Stamped(5, "got prompt")] * 800
    _, read = reader(Scripted("socket", flood))
    rows = read()
    assert sum(isinstance(row, ServerLog) for row in rows) == 500
    assert [row.detail for row in rows if isinstance(row, Event) and row.kind == "log_flood"] == [
        "300 lines not kept: more than 500 in 10 s"
    ]


def test_a_flood_that_goes_on_is_told_of_once_a_minute() -> None:
    """Two minutes of it are three events, which together count every line that was not kept."""
    flood = [Stamped(5, "got prompt")] * 10
    _, read = reader(Scripted("socket", [Stamped(5, "got prompt")] * 501, *[flood] * 121))
    told = [row.detail for _ in range(122) for row in read() if isinstance(row, Event) and row.kind == "log_flood"]
    counts = [int(detail.split()[0]) for detail in told]
    assert counts == [1, 600, 600]


def test_a_flood_takes_no_room_of_lines_about_loads() -> None:
    """A server that prints an error a millisecond is still heard when it loads a model."""
    flood = [Stamped(5, "[ERROR] no")] * 800
    _, read = reader(Scripted("socket", [*flood, Stamped(6, "Requested to load SD3")]))
    rows = read()
    assert [row.model for row in rows if isinstance(row, ServerLog) and row.kind == "model_requested"] == ["SD3"]
    assert "log_gap" not in {row.kind for row in rows if isinstance(row, Event)}


def test_lost_lines_are_told() -> None:
    """Whether the feed lost them or there were too many of them: a load may have begun or ended in between."""
    feed = Scripted("socket", [], [], [Stamped(5, "Requested to load SD3")] * 501)
    _, read = reader(feed)
    feed.lost = "it grew too fast"
    assert [row.detail for row in read() if isinstance(row, Event) and row.kind == "log_gap"] == [
        "lines were lost: it grew too fast"
    ]
    feed.lost = None
    assert not [row for row in read() if isinstance(row, Event) and row.kind == "log_gap"]
    assert [row.detail for row in read() if isinstance(row, Event) and row.kind == "log_gap"] == [
        "1 lines not kept: more than 500 in 10 s"
    ]


def test_what_a_server_said_at_its_start_is_kept() -> None:
    """Of the lines that were there when we came only those that are said once: how it loads models."""
    old = ["Set vram state to: NORMAL_VRAM", "DynamicVRAM support detected and enabled", "Requested to load SD3"]
    _, read = reader(Scripted("socket", [Stamped(5, text, before_us=True) for text in old]))
    assert [row.kind for row in read() if isinstance(row, ServerLog)] == ["setting", "dynamic_vram"]


def test_the_budget_is_renewed_with_each_window() -> None:
    """Ten seconds later lines are kept again."""
    budget = Budget(rows=1)
    assert [budget.allows(at) for at in (0, 1, 10 * NS_PER_S)] == [True, False, True]
