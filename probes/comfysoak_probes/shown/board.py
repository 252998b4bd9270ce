"""What `comfysoak probe` shows: the latest of each GPU, host, server, process and container, and what happened."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Generic, TypeVar

from comfysoak_core.clock import NS_PER_S
from comfysoak_core.recording.redaction import redact
from comfysoak_core.rows import Container, Event, Gpu, GpuHealth, GpuSlow, Host, Process, Row, Server, ServerLog
from comfysoak_core.terminal import printable
from comfysoak_core.value import replaced
from comfysoak_probes.shown.text import duration, gib, share

STALE_NS = 5 * NS_PER_S
FORGOTTEN_NS = 60 * NS_PER_S  # a process of which nothing was heard for so long has ended
NOTES = 50
KEPT_MOST = 512  # of each kind, whatever comes and goes over the days

# Lines of a server's log that come with every prompt, or are shown beside the server.
UNREMARKABLE = frozenset({
    "prompt_got", "prompt_executed", "model_read", "model_requested", "model_staged", "model_loaded", "model_unloaded",
    "model_unloaded_partly", "cache_emptied", "setting",
})  # fmt: skip
R = TypeVar("R", Gpu, GpuSlow, GpuHealth, Host, Process, Container, Server)


@dataclass(frozen=True, slots=True)
class Seen(Generic[R]):
    """The last row about something, and the one before it."""

    row: R
    before: R | None

    def age_ns(self, now_ns: int) -> int:
        """Since its last row."""
        return now_ns - self.row.at_ns

    def is_stale(self, now_ns: int) -> bool:
        """Whether it has been silent for far longer than it usually is: an exporter may tell something each 30 s."""
        usual_ns = 0 if self.before is None else self.row.at_ns - self.before.at_ns
        return self.age_ns(now_ns) > max(STALE_NS, 3 * usual_ns)

    def per_second(self, column: str) -> float | None:
        """How fast a counter rose between the two rows; None when it fell or is not known."""
        if self.before is None or self.row.at_ns <= self.before.at_ns:
            return None
        new, old = getattr(self.row, column), getattr(self.before, column)
        if new is None or old is None or new < old:
            return None
        return float(new - old) / ((self.row.at_ns - self.before.at_ns) / NS_PER_S)


class Latest(dict[tuple[object, ...], Seen[R]]):
    """The last two rows of each thing, by what names it; bounded."""

    def take(self, key: tuple[object, ...], row: R) -> None:
        """Keep this row."""
        known = self.pop(key, None)
        self[key] = Seen(row, known.row if known else None)
        if len(self) > KEPT_MOST:
            del self[next(iter(self))]


@dataclass(slots=True)
class Note:
    """Something that happened, and how often in a row."""

    at_ns: int
    kind: str
    text: str
    times: int = 1

    def __str__(self) -> str:
        again = f" ({self.times} times)" if self.times > 1 else ""
        return f"{clock_time(self.at_ns)} {self.text}{again}"


@dataclass(slots=True)
class Board:
    """The latest rows; as large as there are things to watch, however long it runs."""

    gpus: Latest[Gpu] = field(default_factory=Latest)
    slow: Latest[GpuSlow] = field(default_factory=Latest)
    health: Latest[GpuHealth] = field(default_factory=Latest)
    hosts: Latest[Host] = field(default_factory=Latest)
    servers: Latest[Server] = field(default_factory=Latest)
    processes: Latest[Process] = field(default_factory=Latest)
    containers: Latest[Container] = field(default_factory=Latest)
    models: dict[str, str] = field(default_factory=dict)  # the one that each server loaded last
    notes: deque[Note] = field(default_factory=lambda: deque(maxlen=NOTES))
    began_ns: int | None = None

    def take(self, rows: Iterable[Row]) -> None:
        """Keep the latest of each."""
        for row in rows:
            match row:
                case Gpu():
                    self.gpus.take((row.host, row.source, row.uuid), row)
                case GpuSlow():
                    self.slow.take((row.host, row.source, row.uuid), row)
                case GpuHealth():
                    self.health.take((row.host, row.source, row.uuid), row)
                case Host():
                    self.hosts.take((row.host,), row)
                case Server():
                    self.servers.take((row.server,), _with_rare(row, self.servers.get((row.server,)), OF_SERVERS))
                case Process():
                    key = (row.host, row.pid, row.role, row.server)
                    self.processes.take(key, _with_rare(row, self.processes.get(key), OF_PROCESSES))
                case Container():
                    self.containers.take((row.host, row.server, row.container), row)
                case Event():
                    about = " ".join(part for part in (row.subject, row.server) if part)
                    self._note(row.at_ns, row.kind, f"{row.kind.replace('_', ' ')} {about}: {row.detail}")
                case ServerLog():
                    self._take_log(row)
                case _:
                    continue
            if self.began_ns is None:
                self.began_ns = getattr(row, "at_ns", None)

    def line(self, now_ns: int) -> str:
        """Everything that matters on one line, for a log."""
        return printable(" | ".join(self._parts(now_ns))) or "nothing is watched"

    def _parts(self, now_ns: int) -> Iterator[str]:
        several = len({seen.row.host for seen in self.gpus.values()}) > 1
        for seen in in_order(self.gpus):
            if seen.row.instance is None:
                where = f"{seen.row.host} " if several else ""
                index = "-" if seen.row.index is None else seen.row.index
                yield f"GPU {where}{index} {_gpu_words(seen, now_ns)}"
        for server in self.servers.values():
            yield f"{server.row.server} {queue_words(server.row)}"
        for host in self.hosts.values():
            row = host.row
            yield f"host {row.host}: CPU {share(row.cpu_ratio)}, memory free {gib(row.memory_available_bytes)}"
        for process in self.living(now_ns):
            row_of = process.row
            use = f"CPU {share(row_of.cpu_ratio)} of a core, RSS {gib(row_of.rss_bytes)}"
            yield f"{row_of.role} {row_of.pid}: {use}"

    def living(self, now_ns: int) -> list[Seen[Process]]:
        """Processes that were there a moment ago; the others are forgotten."""
        for key in [key for key, seen in self.processes.items() if seen.age_ns(now_ns) > FORGOTTEN_NS]:
            del self.processes[key]
        return [seen for seen in self.processes.values() if not seen.is_stale(now_ns)]

    def _take_log(self, row: ServerLog) -> None:
        if row.kind == "model_loaded" and row.model:
            size = "" if row.loaded_bytes is None else f" {gib(row.loaded_bytes)}"
            if len(self.models) < KEPT_MOST:
                self.models[row.server] = f"{row.model[:40]}{size}"
        if row.kind not in UNREMARKABLE:
            self._note(row.at_ns, row.kind, f"{row.kind.replace('_', ' ')} {row.server}: {row.text}")

    def _note(self, at_ns: int, kind: str, words: str) -> None:
        text = printable(redact(words))  # a server may say the token it was sent
        if self.notes and self.notes[-1].text == text:
            self.notes[-1].times += 1
            self.notes[-1].at_ns = at_ns
        else:
            self.notes.append(Note(at_ns, kind, text))


OF_PROCESSES = ("handles", "connections", "connections_half_closed", "uss_bytes", "swap_bytes")
OF_SERVERS = (
    "history_length",
    "vram_total_bytes",
    "vram_free_bytes",
    "torch_vram_total_bytes",
    "torch_vram_free_bytes",
)
S = TypeVar("S", Process, Server)


def _with_rare(row: S, known: Seen[S] | None, columns: tuple[str, ...]) -> S:
    """What is read only now and then stays as it was read last, while the source answers at all."""
    if known is None or (row.missing or "").startswith("all:"):
        return row
    kept = {name: getattr(known.row, name) for name in columns if getattr(row, name) is None}
    return replaced(row, kept) if any(value is not None for value in kept.values()) else row


def in_order(gpus: Latest[Gpu]) -> list[Seen[Gpu]]:
    """By host and index; MIG instances behind their GPU."""
    return sorted(
        gpus.values(), key=lambda seen: (seen.row.host, seen.row.index or 0, seen.row.instance or "", seen.row.source)
    )


def _gpu_words(seen: Seen[Gpu], now_ns: int) -> str:
    if problem := trouble(seen.row.missing):
        return problem
    if seen.is_stale(now_ns):
        return f"no sample for {duration(seen.age_ns(now_ns) / NS_PER_S)}"
    return f"{share(seen.row.utilisation_ratio)} {gib(seen.row.memory_used_bytes)}"


def queue_words(row: Server) -> str:
    """The queue of a server in a few words."""
    if row.queue_running is None:
        return (row.missing or "unknown").removeprefix("all: ")[:60]
    return f"{row.queue_running} running, {row.queue_pending} waiting"


def trouble(missing: str | None) -> str:
    """What keeps all columns of a row from being read; "" when it is only some of them."""
    return missing.removeprefix("all: ") if missing and missing.startswith("all: ") else ""


def clock_time(at_ns: int) -> str:
    """The time of day (UTC), as in the recording."""
    return f"{datetime.fromtimestamp(at_ns // NS_PER_S, UTC):%H:%M:%S}"
