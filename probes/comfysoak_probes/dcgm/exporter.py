"""An exporter of DCGM series, asked about as often as it has news.

It shows values that are up to its own interval old (dcgm-exporter: 30 s unless it was told otherwise). The interval is
learned from how often its values change, and told: rows carry the time of our scrape, so that whoever reads them must
know that a value that is repeated is no new sample.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice

from comfysoak_core.clock import NS_PER_S, Clock
from comfysoak_core.codes import Code
from comfysoak_core.rows import Event, Row
from comfysoak_probes.dcgm.freshness import IDLE_POLL_S, Freshness
from comfysoak_probes.dcgm.prometheus import NotPrometheusError
from comfysoak_probes.dcgm.rows import When, gpu_health_row, gpu_row, gpu_slow_row
from comfysoak_probes.dcgm.series import GPUS_MOST, XID_SERIES, Reading, by_gpu, gpu_parser
from comfysoak_probes.fetch import MIB, Answer, Fetcher, FetchError
from comfysoak_probes.gpu_sights import unseen
from comfysoak_probes.source import SAMPLER, Cadence, Outage, Tick
from comfysoak_probes.xids import xid_code, xid_words

METRICS = "/metrics"  # where an address without a path leads
BODY_BYTES = 8 * MIB
UNCHANGED_ROW_EVERY_NS = NS_PER_S  # a value that stays is still a reading
SERIES_KEPT = 512  # of a GPU: DCGM has some hundred fields, an exporter that invents names fills no memory
AGAIN_AFTER_NS = 60 * NS_PER_S
INTERVAL_TOLERANCE = 0.2
SLOW_INTERVAL_S = 2.0
FASTER = "DCGM_EXPORTER_INTERVAL=1000 makes dcgm-exporter refresh every second"
_WHY = {401: "it wants a login", 403: "it refuses us", 404: "dcgm-exporter answers at /metrics"}


@dataclass(slots=True)
class _Known:
    """One GPU over the scrapes: whether it is there, what it has told, its last Xid."""

    outage: Outage
    ever: set[str] = field(default_factory=set)
    xid: int | None = None
    pod: str = ""


class DcgmSource:
    """One exporter: all its GPUs, by one scrape."""

    patience_s = 15.0

    def __init__(
        self,
        url: str,
        *,
        every_s: float,
        slow_every_s: float,
        health_every_s: float = 5.0,
        clock: Clock,
        fetcher: Fetcher | None = None,
        see: Callable[[str, str], None] = unseen,
    ) -> None:
        self.name = f"dcgm {url}"
        self._see = see
        self.every_s = every_s
        self._clock = clock
        self._fetcher = fetcher or Fetcher(url, timeout_s=5.0, bytes_most=BODY_BYTES)
        self._path = "" if self._fetcher.address.path else METRICS
        self._parser = gpu_parser(self._fetcher.address.host)
        self._freshness = Freshness(every_s)
        self._outage = Outage(self.name)
        self._slow_due, self._health_due = Cadence(slow_every_s), Cadence(health_every_s)
        self._row_due_ns = 0
        self._told: _Told | None = None
        self._known: dict[str, _Known] = {}
        self._body = b""
        self._gpus: dict[str, Reading] = {}

    def read(self, tick: Tick) -> list[Row]:
        """A row for each GPU when the exporter has news, and at least every second."""
        began_ns = self._clock.now_ns()
        try:
            answer = self._fetcher.get(self._path)
            ended_ns = self._clock.now_ns()
            self._take(answer)
        except (FetchError, NotPrometheusError) as error:
            return self._lost(error)
        rows: list[Row] = [*self._outage.found(ended_ns), *self._news(ended_ns)]
        changed = self._freshness.saw(ended_ns, self._gpus)
        if changed or ended_ns >= self._row_due_ns:
            self._row_due_ns = ended_ns + UNCHANGED_ROW_EVERY_NS
            when = When((began_ns + ended_ns) // 2, ended_ns - began_ns, tick.late_ns)
            rows += self._rows(tick, when)
        rows += self._tell_interval(ended_ns)
        self.every_s = self._freshness.poll_s(ended_ns, (self._clock.now_ns() - ended_ns) / NS_PER_S)
        return rows

    def close(self) -> None:
        """Close the connection."""
        self._fetcher.close()

    def _lost(self, error: Exception) -> list[Row]:
        self.every_s = max(self._freshness.every_s, IDLE_POLL_S)
        self._fetcher.close()
        self._freshness.forget()
        self._body, self._gpus = b"", {}
        return list(self._outage.lost(self._clock.now_ns(), f"{self.name}: {error}"))

    def _take(self, answer: Answer) -> None:
        """The GPUs of an answer. Raises NotPrometheusError."""
        if answer.status != 200:
            why = _WHY.get(answer.status)
            raise NotPrometheusError(f"it answered with status {answer.status}" + (f": {why}" if why else ""))
        if answer.body != self._body or not self._gpus:
            self._gpus = by_gpu(self._parser.parse(answer.body))
            self._body = answer.body

    def _news(self, at_ns: int) -> Iterator[Event]:
        """Each GPU is told when first seen, when the exporter no longer has it, and when it has it again."""
        if len(self._known) > GPUS_MOST:  # they come and go, over days
            self._known = {uuid: known for uuid, known in self._known.items() if uuid in self._gpus}
        for uuid, reading in self._gpus.items():
            known = self._known.get(uuid)
            if known is None:
                known = self._known[uuid] = _Known(Outage(uuid), pod=reading.pod)
                self._see(uuid, self.name)
                yield _event(at_ns, "gpu", uuid, f"{_described(reading)}, by {self.name}")
            yield from known.outage.found(at_ns, "the exporter has it again")
            if reading.pod != known.pod:
                known.pod = reading.pod
                yield _event(at_ns, "gpu_pod", uuid, f"given to {reading.pod or 'no pod'}")
            yield from _xid(reading, known, at_ns)
        for uuid, known in self._known.items():
            if uuid not in self._gpus:
                yield from known.outage.lost(at_ns, f"{self.name} no longer has this GPU")

    def _rows(self, tick: Tick, when: When) -> Iterable[Row]:
        slow, health = self._slow_due.due(tick.deadline_ns), self._health_due.due(tick.deadline_ns)
        for uuid, reading in self._gpus.items():
            known = self._known[uuid]
            yield gpu_row(reading, when, known.ever)
            if slow:
                yield gpu_slow_row(reading, when, known.ever)
            if health:
                yield gpu_health_row(reading, when, known.ever)
            if len(known.ever) < len(reading.values) or not known.ever.issuperset(reading.values):
                known.ever.update(islice(reading.values, max(0, SERIES_KEPT - len(known.ever))))

    def _tell_interval(self, at_ns: int) -> list[Event]:
        """Once known, and again when it has become another one; before that, if it is a long one, that it is."""
        told, interval_s = self._told, self._freshness.interval_s
        if interval_s is None:
            least_s = self._freshness.at_least_s(at_ns)
            if told is not None or least_s is None:
                return []
            return self._tell(_Told(at_ns, least_s, sure=False), f"its values have not changed for {least_s:.1f} s")
        if told is None and interval_s < 2 * self._freshness.every_s:
            return []  # each scrape is new: its interval is shorter than ours
        if told is not None and told.sure and (told.is_about(interval_s) or at_ns < told.at_ns + AGAIN_AFTER_NS):
            return []
        return self._tell(_Told(at_ns, interval_s, sure=True), f"its values change every {interval_s:.1f} s")

    def _tell(self, told: _Told, words: str) -> list[Event]:
        self._told = told
        detail = words + (f"; {FASTER}" if told.seconds >= SLOW_INTERVAL_S else "")
        return [_event(told.at_ns, "source_interval", self.name, detail, seconds=told.seconds)]


@dataclass(frozen=True, slots=True)
class _Told:
    """What was told of the interval; not sure: it is at least as long."""

    at_ns: int
    seconds: float
    sure: bool

    def is_about(self, seconds: float) -> bool:
        return abs(seconds - self.seconds) <= INTERVAL_TOLERANCE * self.seconds


def _described(reading: Reading) -> str:
    """A GPU in words, when it is first seen."""
    gpu = reading.identity
    parts = [f"GPU {gpu.index if gpu.index is not None else gpu.uuid} of {gpu.host}"]
    parts += [gpu.name] if gpu.name else []
    parts += [f"driver {gpu.driver}"] if gpu.driver else []
    parts += [f"pod {reading.pod}"] if reading.pod else []
    return ", ".join(parts)


def _xid(reading: Reading, known: _Known, at_ns: int) -> list[Event]:
    """An event when the last Xid of a GPU is another one than before; what it was at first is from before the run."""
    value = reading.first(*XID_SERIES)
    if value is None:
        return []
    xid, before = round(value), known.xid
    known.xid = xid
    if before is None or xid in {before, 0}:
        return []
    gpu = reading.identity
    return [_event(at_ns, "xid", gpu.uuid, f"{xid_words(xid)}, on {gpu.host}", code=xid_code(xid))]


def _event(
    at_ns: int, kind: str, subject: str, detail: str, *, code: Code | None = None, seconds: float | None = None
) -> Event:
    return Event(at_ns=at_ns, source=SAMPLER, kind=kind, subject=subject, code=code, detail=detail, seconds=seconds)
