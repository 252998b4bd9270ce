"""A probe on another machine as a source: its rows in the run's time and by the run's names, none lost, none doubled.

The probe keeps its rows for some minutes, each with a number; here the number of the last one is remembered. What was
sampled while the network was cut is fetched afterwards. After a long cut rows come in pieces of a second, five times as
fast as they were sampled: what a kill may cost stays small.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator

import orjson

from comfysoak_core.clock import NS_PER_S, Clock
from comfysoak_core.distant_clock import Exchange
from comfysoak_core.recording.redaction import redact
from comfysoak_core.rows import ClockReading, Event, Gpu, Process, Row, Server, ServerLog
from comfysoak_core.value import replaced
from comfysoak_probes.config import LOG_OFF, RemoteProbe, SamplerConfig
from comfysoak_probes.fetch import MIB, Answer, Fetcher, FetchError
from comfysoak_probes.gpu_sights import unseen
from comfysoak_probes.remote.answers import (
    IDENTITY_CHARACTERS,
    NUMBER_MOST,
    Head,
    NotAProbeError,
    RemoteAnswer,
    RemoteBatch,
    parse_answer,
)
from comfysoak_probes.remote.cursors import Bookmark, Cursor
from comfysoak_probes.remote.names import ServerNames
from comfysoak_probes.remote.positions import Position, Positions
from comfysoak_probes.source import SAMPLER, Backoff, Outage, Tick

EVERY_S = 0.5
BEHIND_EVERY_S = 0.2
PIECE_NS = NS_PER_S  # handed over at once
TIMEOUT_S = 5.0
BODY_BYTES = 4 * MIB
RETRY_MOST_S = 5.0
MEASURE_EVERY_NS = 10 * NS_PER_S
EXCHANGES = 5
FIRST_EXCHANGES = 10
AHEAD_NS_MOST = NS_PER_S  # a row is no younger than the answer it came with
NO_GPU_AFTER_NS = 10 * NS_PER_S
AGE_NS_MOST = 24 * 3600 * NS_PER_S
STEP_TOLD_EVERY_NS = 10 * NS_PER_S
_OF_THE_RUN_ITSELF = frozenset({
    "server_down", "server_silent", "canary_silent", "bad_answer", "server_restarted", "source_found", "log_missing",
    "log_source",
})  # fmt: skip  # events about a server that whoever asks it over the network tells as well


class _AnotherRingError(Exception):
    """The probe has been started again, or it is another one: its numbers and its clock are others."""

    def __init__(self, ring: str) -> None:
        self.ring = ring
        super().__init__(ring)


class ProbeSource:
    """One remote probe. `cursor`: where an earlier sampler of this run stopped. `marks`: it hands over bookmarks."""

    patience_s = 30.0

    def __init__(
        self,
        probe: RemoteProbe,
        config: SamplerConfig,
        *,
        clock: Clock,
        cursor: Cursor | None = None,
        marks: bool = False,
        fetcher: Fetcher | None = None,
        see: Callable[[str, str], None] = unseen,
    ) -> None:
        self.name = f"probe {probe.url}"
        self.every_s = EVERY_S
        self._url = probe.url
        self._clock = clock
        self._marks = marks
        self._servers = frozenset(config.servers)
        self._watches_logs = config.log != LOG_OFF
        self._fetcher = fetcher or Fetcher(probe.url, token=probe.token, timeout_s=TIMEOUT_S, bytes_most=BODY_BYTES)
        self._names = ServerNames(probe.url, config.servers)
        self._outage = Outage(self.name)
        self._backoff = Backoff(first_s=EVERY_S, most_s=RETRY_MOST_S)
        self._started_ns = clock.now_ns()
        self._positions = Positions(Position.of(cursor) if cursor is not None else Position())
        self._head: Head | None = None
        self._fetched: deque[RemoteBatch] = deque()
        self._measure_due_ns = 0
        self._last_ns = self._begins_ns()  # of our clock, of the last row
        self._see = see
        self._said: list[Row] = []  # and not handed over yet: what an exchange that fails must not take with it
        self._step_told_ns = 0
        self._told: set[str] = set()
        self._no_gpu_ns: int | None = None  # when it is time to say that there is none
        self._sees_gpus = False

    def read(self, tick: Tick) -> list[Row]:  # noqa: ARG002  # rows have moments of their own
        """The rows that have come since the last call, at most about a second of them."""
        try:
            self._follow()
        except _AnotherRingError as other:
            self._turn_to(other.ring)
        except (FetchError, NotAProbeError) as error:
            self.every_s = self._backoff.next_s()
            self._measure_due_ns = 0
            self._fetcher.close()
            self._said += self._outage.lost(self._clock.now_ns(), redact(str(error))[:500])
        else:
            self._backoff.reset()
            self._said[:0] = self._outage.found(self._clock.now_ns())
        said, self._said = self._said, []
        return said

    def close(self) -> None:
        """Close the connection."""
        self._fetcher.close()

    @property
    def _here(self) -> Position:
        return self._positions.here

    def _begins_ns(self) -> int:
        """From when on a new ring is of this run: the last word of the one that an earlier sampler knew, or now."""
        heard = [self._here.clock.ours_ns(point.probe_ns) for point in self._here.clock.essence]
        return min(self._started_ns, heard[-1]) if heard else self._started_ns

    def _follow(self) -> None:
        self._measure()
        if not self._fetched:
            self._fetch()
        self._measure()  # again, where the answer showed that its clock has stepped
        self._said += self._piece()
        self._said += self._without_gpu()
        head = self._head
        behind = bool(self._fetched) or (head is not None and (self._here.after or 0) < head.next - 1)
        self.every_s = BEHIND_EVERY_S if behind else EVERY_S
        self._mark()

    def _mark(self) -> None:
        """Behind the rows that are handed over: how far we are with them."""
        if self._marks and self._here.after is not None:
            self._said.append(Bookmark(at_ns=self._clock.now_ns(), url=self._url, cursor=self._here.cursor()))

    def _measure(self) -> None:
        """Every ten seconds, and after each outage: where the probe's clock is."""
        now_ns = self._clock.now_ns()
        if now_ns < self._measure_due_ns:
            return
        for _ in range(FIRST_EXCHANGES if self._measure_due_ns == 0 else EXCHANGES):
            self._exchange()
        self._measure_due_ns = now_ns + MEASURE_EVERY_NS
        if self._head is not None:
            self._said.append(self._reading(0))

    def _exchange(self) -> None:
        """One small question to its clock."""
        sent_ns = self._clock.now_ns()
        answer = self._get("/clock")
        received_ns = self._clock.now_ns()
        try:
            told = orjson.loads(answer.body)
            ring, told_ns = told["ring"], told["clock_ns"]
        except (orjson.JSONDecodeError, KeyError, TypeError):
            ring = told_ns = None
        if type(ring) is not str or type(told_ns) is not int or not 0 <= told_ns < NUMBER_MOST:
            raise NotAProbeError(f"expected the clock of a comfysoak probe, got {answer.body[:60]!r}")
        self._check_ring(ring[:IDENTITY_CHARACTERS])
        self._heard_clock(Exchange(sent_ns, told_ns, received_ns))

    def _heard_clock(self, exchange: Exchange) -> None:
        clock = self._here.clock
        was_set = clock.is_set
        step_ns = clock.add(exchange)
        if step_ns or not was_set:
            self._here.ahead_ns = clock.ahead_ns(exchange.told_ns)
        if step_ns:
            self._measure_due_ns = 0  # by one exchange, which may have been slow, nothing is moved
            self._said += self._stepped(step_ns)

    def _check_ring(self, ring: str) -> None:
        if not self._here.ring:
            self._here.ring = ring
        elif ring != self._here.ring:
            raise _AnotherRingError(ring)

    def _fetch(self) -> None:
        """Ask for what comes after the last row we have, or has come since this run began."""
        position = self._here
        if position.after is None:
            since_ns = max(self._last_ns + position.ahead_ns, 0)
            path = f"/rows?since_ns={since_ns}"
        else:
            path = f"/rows?after={position.after}"
        sent_ns = self._clock.now_ns()
        answer = self._get(path)
        received_ns = self._clock.now_ns()
        found = parse_answer(answer.body, position.after or 0)
        self._check_ring(found.head.ring)
        self._heard_clock(Exchange(sent_ns, found.head.clock_ns, received_ns))
        self._said += self._take(found)

    def _get(self, path: str) -> Answer:
        answer = self._fetcher.get(path)
        if answer.status == 401:
            raise NotAProbeError("the token is missing or wrong (status 401): see token_variable")
        if answer.status != 200:
            raise NotAProbeError(f"expected a comfysoak probe, got status {answer.status}")
        return answer

    def _take(self, found: RemoteAnswer) -> Iterator[Row]:
        head, position = found.head, self._here
        self._head, self._names.host = head, head.host
        if not position.is_told:
            position.is_told = True
            yield self._event("remote_probe", f"a probe on {head.host}, version {head.version}")
            yield self._reading(0)
        if position.after is None:
            position.after = (found.batches[0].first if found.batches else head.next) - 1
        elif head.first > position.after + 1:
            lost = head.first - 1 - position.after
            detail = f"{lost} rows of {head.host} were older than it keeps them when it could be reached again"
            yield self._event("rows_lost", detail)
            position.after = head.first - 1
        elif position.after >= head.next:
            yield self._event(
                "rows_lost", f"{head.host} never gave number {position.after}: what is missing is unknown"
            )
            position.after = head.next - 1
        if not found.batches and position.after < head.next - 1:
            raise NotAProbeError("expected rows of a comfysoak probe, got none that can be read")
        self._fetched.extend(found.batches)

    def _piece(self) -> Iterator[Row]:
        """Batches of about a second, in the run's time."""
        began_ns: int | None = None
        while self._fetched:
            batch = self._fetched[0]
            if batch.rows:
                at_ns = _at_ns(batch.rows[0])
                began_ns = at_ns if began_ns is None else began_ns
                if at_ns - began_ns > PIECE_NS:
                    return
            self._fetched.popleft()
            self._here.after = batch.last
            yield from self._complain(batch)
            for row in batch.rows:
                yield from self._placed(row)

    def _without_gpu(self) -> Iterator[Event]:
        """That there is no GPU over there, which the probe told only when it was started."""
        now_ns = self._clock.now_ns()
        if self._no_gpu_ns is None:
            self._no_gpu_ns = now_ns + NO_GPU_AFTER_NS
        if not self._sees_gpus and now_ns > self._no_gpu_ns and self._head is not None:
            self._sees_gpus = True
            detail = f"the probe on {self._head.host} sees no GPU: look at what it says in its terminal"
            yield Event(at_ns=now_ns, source=SAMPLER, kind="source_missing", subject=self.name, detail=detail)

    def _placed(self, row: Row) -> Iterator[Row]:
        """The row in the run's time and names; nothing when the run sees the same itself."""
        assert self._head is not None  # noqa: S101  # rows come with one
        head, at_ns = self._head, _at_ns(row)
        if not head.clock_ns - AGE_NS_MOST < at_ns < head.clock_ns + AHEAD_NS_MOST:
            yield from self._once("a moment", f"rows of {head.host} with impossible moments were left out")
            return
        ours_ns = self._here.clock.ours_ns(at_ns)
        changes: dict[str, object] = {"at_ns": ours_ns}
        server = getattr(row, "server", None)
        if server is not None:
            changes["server"] = name = self._names.of(server)
            if name in self._servers and self._is_seen_here(row):
                return
        if isinstance(row, Gpu):
            self._sees_gpus = True
            self._see(row.uuid, self.name)
        if isinstance(row, Process) and row.started_ns is not None:
            changes["started_ns"] = row.started_ns - self._here.ahead_ns
        if isinstance(row, Event):
            changes["detail"] = f"{head.host}: {row.detail}"
        self._last_ns = max(self._last_ns, ours_ns)
        yield replaced(row, changes)

    def _is_seen_here(self, row: Row) -> bool:
        """Whether the run's own source of this server tells the same."""
        match row:
            case Server():
                return True
            case ServerLog():
                return self._watches_logs
            case Event():
                return row.kind in _OF_THE_RUN_ITSELF
            case _:
                return False

    def _complain(self, batch: RemoteBatch) -> Iterator[Event]:
        if batch.unknown_table is not None:
            what = f"its table {batch.unknown_table!r} is not known to this version, and is left out"
            yield from self._once(f"table {batch.unknown_table}", what)
        elif batch.bad:
            yield from self._once(
                "rows", f"{batch.bad} rows were not what a probe sends, and are left out, as any later"
            )

    def _once(self, subject: str, detail: str) -> Iterator[Event]:
        if subject not in self._told and len(self._told) < 20:
            self._told.add(subject)
            yield self._event("bad_answer", detail)

    def _turn_to(self, ring: str) -> None:
        """Go on with another ring; what the old one had and was not fetched may be gone with it."""
        while self._fetched:
            self._said += self._piece()
        self._mark()
        away_s = (self._clock.now_ns() - self._last_ns) / NS_PER_S
        if self._positions.turn_to(ring):
            detail = (
                f"the probe was started again: what it sampled in the last {away_s:.1f} s and was not fetched is lost"
            )
            self._said.append(self._event("rows_lost", detail))
        else:
            self._said += self._once(
                "by turns", "several probes answer at this address by turns: give each an address of its own"
            )
        self._head = None
        self._measure_due_ns = 0
        self.every_s = BEHIND_EVERY_S

    def _stepped(self, step_ns: int) -> Iterator[Row]:
        now_ns = self._clock.now_ns()
        if now_ns - self._step_told_ns >= STEP_TOLD_EVERY_NS:
            self._step_told_ns = now_ns
            size = f"{abs(step_ns) / NS_PER_S:.2f} s further {'ahead' if step_ns > 0 else 'behind'}"
            yield self._event("clock_step", f"its clock is {size} than it was: one of the two machines slept")
        if self._head is not None:
            yield self._reading(step_ns)

    def _reading(self, step_ns: int) -> ClockReading:
        assert self._head is not None  # noqa: S101  # its host is known by then
        clock, now_ns = self._here.clock, self._clock.now_ns()
        ahead_ns = clock.ahead_ns(now_ns + self._here.ahead_ns)
        return ClockReading(
            at_ns=now_ns, host=self._head.host, offset_ns=ahead_ns, step_ns=step_ns, clock="probe",
            error_ns=clock.error_ns, drift_ppm=clock.drift_ppm,
        )  # fmt: skip

    def _event(self, kind: str, detail: str) -> Event:
        return Event(at_ns=self._clock.now_ns(), source=SAMPLER, kind=kind, subject=self.name, detail=detail)


def _at_ns(row: Row) -> int:
    at_ns: int = row.at_ns  # type: ignore[attr-defined]  # all tables of a probe have it
    return at_ns
