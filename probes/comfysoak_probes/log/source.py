"""The server's log as a source of rows: the best way to it there is, another one where that fails."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from comfysoak_core.clock import NS_PER_S, Clock
from comfysoak_core.rows import Event, Row, ServerLog
from comfysoak_probes.config import LOG_SOCKET
from comfysoak_probes.fetch import FetchError, Trouble
from comfysoak_probes.log.feeds import Feed, FileFeed, NewEntries, RawFeed, SocketFeed, Stamped
from comfysoak_probes.log.lines import LogKind, parse_line
from comfysoak_probes.source import SAMPLER, Backoff, Outage, Tick

TOLD_EVERY_NS = 60 * NS_PER_S  # a flood that goes on is told of once a minute
ROWS_PER_WINDOW = 500  # kept lines in 10 s; a server that floods its log does not flood the recording
WINDOW_NS = 10 * NS_PER_S
ROUTE_GONE = frozenset({Trouble.NOT_HTTP, Trouble.TOO_LARGE})  # it answers, but not with a log: try another way
BACKOFF_MOST_S = 3.0
# Said once, before we came, and true ever after.
OF_THE_START = frozenset({LogKind.SETTING, LogKind.DYNAMIC_VRAM})
# What model loads are derived from: a flood of other lines takes none of their room.
OF_LOADS = frozenset(
    {
        LogKind.MODEL_READ, LogKind.MODEL_REQUESTED, LogKind.MODEL_LOADED, LogKind.MODEL_STAGED,
        LogKind.MODEL_UNLOADED, LogKind.MODEL_UNLOADED_PARTLY, LogKind.CACHE_EMPTIED, LogKind.READY, LogKind.OOM,
    }
)  # fmt: skip


@dataclass(slots=True)
class Budget:
    """At most so many rows in each window of time."""

    rows: int = ROWS_PER_WINDOW
    _window: int = -1
    _left: int = 0
    dropped: int = 0

    def allows(self, at_ns: int) -> bool:
        """Whether one more row may be kept."""
        window = at_ns // WINDOW_NS
        if window != self._window:
            self._window, self._left = window, self.rows
        self._left -= 1
        self.dropped += self._left < 0
        return self._left >= 0


class LogSource:
    """One server's log, by the first of its feeds that works."""

    patience_s = 30.0

    def __init__(self, server: str, feeds: Sequence[Feed], *, clock: Clock) -> None:
        self.name = f"log of {server}"
        self._server = server
        self._feeds = list(feeds)
        self._clock = clock
        self._place = 0
        self._outage = Outage("log", server)
        self._backoff = Backoff(first_s=0.5, most_s=BACKOFF_MOST_S)
        self._budgets = {True: Budget(), False: Budget()}  # for lines about loads, and for all others
        self._told_source: str | None = None
        self._dropped_told = 0
        self._loads_dropped_told = 0
        self._told_again_ns = 0
        self.every_s = 0.1

    @classmethod
    def of(cls, server: str, log: str, *, clock: Clock, token: str | None) -> LogSource:
        """By the server itself (`socket`), or by the path of its log file."""
        now_ns: Callable[[], int] = clock.now_ns
        if log != LOG_SOCKET:
            return cls(server, [FileFeed(Path(log), now_ns=now_ns)], clock=clock)
        new = NewEntries()  # one for both: what one of them has read is known to the other
        feeds: list[Feed] = [
            SocketFeed(server, now_ns=now_ns, token=token, new=new),
            RawFeed(server, now_ns=now_ns, token=token, new=new),
        ]
        return cls(server, feeds, clock=clock)

    def read(self, tick: Tick) -> list[Row]:  # noqa: ARG002  # a feed that waits has no deadline
        """Rows of the lines worth keeping, and events about the log itself."""
        feed = self._feeds[self._place]
        try:
            lines = feed.lines()
        except (FetchError, OSError) as error:
            return self._failed(feed, error)
        self._backoff.reset()
        self.every_s = feed.every_s
        return [*self._told(feed), *self._told_gap(feed), *self._rows(lines, feed.source), *self._told_dropped()]

    def close(self) -> None:
        """Close all feeds."""
        for feed in self._feeds:
            feed.close()

    def _rows(self, lines: list[Stamped], source: str) -> list[Row]:
        rows: list[Row] = []
        for line in lines:
            said = parse_line(line.text)
            if said is None or (line.before_us and said.kind not in OF_THE_START):
                continue
            if self._budgets[said.kind in OF_LOADS].allows(line.at_ns):
                rows.append(
                    ServerLog(
                        at_ns=line.at_ns, server=self._server, source=source, kind=said.kind, model=said.model,
                        loaded_bytes=said.loaded_bytes, duration_s=said.duration_s, text=said.text,
                    )
                )  # fmt: skip
        return rows

    def _failed(self, feed: Feed, error: FetchError | OSError) -> list[Row]:
        """Try another way when the server has not this one; else wait, longer each time."""
        feed.close()
        self.every_s = self._backoff.next_s()
        if isinstance(error, FetchError) and error.trouble in ROUTE_GONE:
            self._place = (self._place + 1) % len(self._feeds)
            if self._place:
                self.every_s = 0.1
                return []
        return list(self._outage.lost(self._clock.now_ns(), f"no log lines: {error}"[:400], kind="log_missing"))

    def _told(self, feed: Feed) -> list[Event]:
        now_ns = self._clock.now_ns()
        events = self._outage.found(now_ns, "log lines come again")
        if self._told_source != feed.source:
            self._told_source = feed.source
            events.append(self._event(now_ns, "log_source", f"log lines come by {feed.source}"))
        return events

    def _told_gap(self, feed: Feed) -> list[Event]:
        """Lines that nobody will ever see: a load may have begun in them, or ended."""
        why = feed.gap()
        return [self._event(self._clock.now_ns(), "log_gap", f"lines were lost: {why}")] if why else []

    def _told_dropped(self) -> list[Event]:
        now_ns = self._clock.now_ns()
        dropped = sum(budget.dropped for budget in self._budgets.values())
        if dropped == self._dropped_told or now_ns < self._told_again_ns:
            return []
        self._told_again_ns = now_ns + TOLD_EVERY_NS
        count, self._dropped_told = dropped - self._dropped_told, dropped
        of_loads = self._budgets[True].dropped
        kind = "log_gap" if of_loads > self._loads_dropped_told else "log_flood"
        self._loads_dropped_told = of_loads
        return [self._event(now_ns, kind, f"{count} lines not kept: more than {ROWS_PER_WINDOW} in 10 s")]

    def _event(self, at_ns: int, kind: str, detail: str) -> Event:
        return Event(at_ns=at_ns, source=SAMPLER, kind=kind, server=self._server, subject="log", detail=detail)
