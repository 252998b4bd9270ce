"""An exporter of DCGM series, asked about as often as it has news.

It shows values that are up to its own interval old (dcgm-exporter: 30 s unless it was told otherwise). The interval is
learned from how often anything changes, and told once.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import pairwise
from statistics import median

from comfysoak_core.clock import NS_PER_S, Clock
from comfysoak_core.codes import Code
from comfysoak_core.rows import Event, Row
from comfysoak_probes.dcgm import Identity, Values, by_gpu, gpu_row, gpu_slow_row, whole
from comfysoak_probes.fetch import MIB, Answer, Fetcher, FetchError
from comfysoak_probes.prometheus import NotPrometheusError, Parser
from comfysoak_probes.source import SAMPLER, Outage, Tick

BODY_BYTES = 8 * MIB
XID_FALLEN_OFF_THE_BUS = 79
UNCHANGED_ROW_EVERY_NS = NS_PER_S  # a value that stays is still a reading
TELL_INTERVAL_EVERY_NS = 60 * NS_PER_S
CHANGES_KEPT = 20
CHANGES_TO_TELL = 3
POLLS_PER_INTERVAL = 5
IDLE_POLL_S = 1.0


@dataclass(slots=True)
class Freshness:
    """How often an exporter has news, learned from its changes."""

    every_s: float  # how often it is asked at most
    changed_ns: list[int] = field(default_factory=list)
    _last: int | None = None

    def saw(self, at_ns: int, fingerprint: int) -> bool:
        """One scrape; True when anything differs from the one before."""
        changed = fingerprint != self._last
        self._last = fingerprint
        if changed:
            self.changed_ns = [*self.changed_ns[-CHANGES_KEPT:], at_ns]
        return changed

    @property
    def interval_s(self) -> float | None:
        """Seconds between two changes, once three were seen (the first scrape is none)."""
        gaps = [later - earlier for earlier, later in pairwise(self.changed_ns[1:])]
        return median(gaps) / NS_PER_S if len(gaps) >= CHANGES_TO_TELL else None

    def poll_s(self, now_ns: int) -> float:
        """Seconds to the next scrape: five in each interval; slower, too, the longer nothing changes."""
        quiet_s = (now_ns - self.changed_ns[-1]) / NS_PER_S if self.changed_ns else 0.0
        known_s = self.interval_s
        wanted_s = known_s / POLLS_PER_INTERVAL if known_s is not None else quiet_s / POLLS_PER_INTERVAL
        return max(self.every_s, min(wanted_s, IDLE_POLL_S))


class DcgmSource:
    """One exporter: all its GPUs, by one scrape."""

    patience_s = 15.0

    def __init__(self, url: str, *, every_s: float, slow_every_s: float, clock: Clock, fetcher: Fetcher | None = None):
        self.name = f"dcgm {url}"
        self.every_s = every_s
        self._slow_every_ns = round(slow_every_s * NS_PER_S)
        self._clock = clock
        self._fetcher = fetcher or Fetcher(url, timeout_s=5.0, bytes_most=BODY_BYTES)
        self._exporter = self._fetcher.address.host
        self._parser = Parser()
        self._freshness = Freshness(every_s)
        self._outage = Outage(self.name)
        self._slow_due_ns = self._row_due_ns = 0
        self._interval_told_s = 0.0
        self._interval_told_ns = 0
        self._xids: dict[str, int] = {}
        self._gpus_known: dict[str, Outage] = {}

    def read(self, tick: Tick) -> list[Row]:
        """A row for each GPU when the exporter has news, and at least every second."""
        began_ns = self._clock.now_ns()
        try:
            answer = self._fetcher.get()
            gpus = self._gpus(answer)
        except (FetchError, NotPrometheusError) as error:
            self.every_s = max(self._freshness.every_s, IDLE_POLL_S)
            self._fetcher.close()
            return list(self._outage.lost(self._clock.now_ns(), f"{self.name}: {error}"))
        ended_ns = self._clock.now_ns()
        rows: list[Row] = [*self._outage.found(ended_ns), *self._came_and_went(gpus, ended_ns)]
        changed = self._freshness.saw(ended_ns, hash(answer.body))
        self.every_s = self._freshness.poll_s(ended_ns)
        if changed or ended_ns >= self._row_due_ns:
            self._row_due_ns = ended_ns + UNCHANGED_ROW_EVERY_NS
            rows += self._rows(gpus, tick, began_ns, ended_ns - began_ns)
        return rows + self._tell_interval(ended_ns)

    def close(self) -> None:
        """Close the connection."""
        self._fetcher.close()

    def _gpus(self, answer: Answer) -> dict[Identity, Values]:
        if answer.status != 200:
            raise NotPrometheusError(f"it answered with status {answer.status}")
        gpus = by_gpu(self._parser.parse(answer.body), self._exporter)
        if not gpus:
            raise NotPrometheusError("it has no series DCGM_FI_... that names a GPU")
        return gpus

    def _came_and_went(self, gpus: dict[Identity, Values], at_ns: int) -> Iterable[Event]:
        """Each GPU is told when first seen, when the exporter no longer has it, and when it has it again."""
        there = {identity.uuid: identity for identity in gpus}
        for uuid, identity in there.items():
            if uuid in self._gpus_known:
                yield from self._gpus_known[uuid].found(at_ns, "the exporter has it again")
                continue
            self._gpus_known[uuid] = Outage(uuid)
            detail = f"GPU {identity.index} of {identity.host}, {identity.name}, driver {identity.driver}"
            yield Event(at_ns=at_ns, source=SAMPLER, kind="gpu", subject=uuid, detail=detail)
        for uuid, outage in self._gpus_known.items():
            if uuid not in there:
                yield from outage.lost(at_ns, f"{self.name} no longer has this GPU")

    def _rows(self, gpus: dict[Identity, Values], tick: Tick, at_ns: int, cost_ns: int) -> Iterable[Row]:
        slow = tick.deadline_ns >= self._slow_due_ns
        if slow:
            self._slow_due_ns = tick.deadline_ns + self._slow_every_ns
        for identity, values in gpus.items():
            yield gpu_row(identity, values, at_ns=at_ns, cost_ns=cost_ns, late_ns=tick.late_ns)
            if slow:
                yield gpu_slow_row(identity, values, at_ns=at_ns, cost_ns=cost_ns, late_ns=tick.late_ns)
            yield from self._xid(identity, values, at_ns)

    def _xid(self, identity: Identity, values: Values, at_ns: int) -> list[Event]:
        """An event when the last Xid of a GPU is another one than before."""
        xid = whole(values.get("DCGM_FI_DEV_XID_ERRORS")) or 0
        before = self._xids.get(identity.uuid, xid)
        self._xids[identity.uuid] = xid
        if xid in {before, 0}:
            return []
        code = Code.GPU_LOST if xid == XID_FALLEN_OFF_THE_BUS else None
        detail = f"Xid {xid} on {identity.host}"
        return [Event(at_ns=at_ns, source=SAMPLER, kind="xid", subject=identity.uuid, code=code, detail=detail)]

    def _tell_interval(self, at_ns: int) -> list[Event]:
        interval_s = self._freshness.interval_s
        if interval_s is None or at_ns < self._interval_told_ns + TELL_INTERVAL_EVERY_NS:
            return []
        if interval_s < 2 * self._freshness.every_s:
            return []  # each scrape is new: its interval is shorter than ours
        if abs(interval_s - self._interval_told_s) <= 0.5 * self._interval_told_s:
            return []
        self._interval_told_s, self._interval_told_ns = interval_s, at_ns
        detail = f"its values change every {interval_s:.1f} s"
        if interval_s > 2.0:
            detail += "; DCGM_EXPORTER_INTERVAL=1000 makes dcgm-exporter refresh every second"
        return [Event(at_ns=at_ns, source=SAMPLER, kind="source_interval", subject=self.name, detail=detail)]
