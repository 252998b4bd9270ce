"""What `comfysoak probe` shows: the latest of each GPU, server, process and of the host."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from comfysoak_core.clock import NS_PER_S
from comfysoak_core.rows import Event, Gpu, GpuSlow, Host, Process, Row, Server, ServerLog
from comfysoak_core.terminal import printable

GIB = 1024**3
STALE_NS = 5 * NS_PER_S
NOTES = 6


@dataclass(slots=True)
class Board:
    """The latest rows; as large as there are things to watch, however long it runs."""

    gpus: dict[str, Gpu] = field(default_factory=dict)
    slow: dict[str, GpuSlow] = field(default_factory=dict)
    servers: dict[str, Server] = field(default_factory=dict)
    processes: dict[tuple[int, str], Process] = field(default_factory=dict)
    host: Host | None = None
    notes: deque[str] = field(default_factory=lambda: deque(maxlen=NOTES))

    def take(self, rows: Iterable[Row]) -> None:
        """Keep the latest of each."""
        for row in rows:
            match row:
                case Gpu():
                    self.gpus[row.uuid] = row
                case GpuSlow():
                    self.slow[row.uuid] = row
                case Host():
                    self.host = row
                case Server():
                    self.servers[row.server] = row
                case Process():
                    self.processes[row.pid, row.role] = row
                case Event():
                    about = " ".join(part for part in (row.subject, row.server) if part)
                    self.notes.append(printable(f"{row.kind} {about}: {row.detail}"))
                case ServerLog():
                    self.notes.append(printable(f"{row.server}: {row.text}"))
                case _:
                    pass

    def panel(self, now_ns: int) -> RenderableType:
        """Everything, for a terminal."""
        parts: list[RenderableType] = [self._gpu_table(now_ns)]
        if self.servers:
            parts.append(self._server_table())
        parts += [Text(text) for text in self._machine(now_ns)]
        parts += [Text(note, style="dim", no_wrap=True, overflow="ellipsis") for note in self.notes]
        return Group(*parts)

    def line(self, now_ns: int) -> str:
        """Everything that matters on one line, for a log."""
        gpus = [
            f"GPU {_shown(gpu.index)} {_share(gpu.utilisation_ratio)} {_gib(gpu.memory_used_bytes)}"
            for gpu in self.gpus.values()
            if now_ns - gpu.at_ns < STALE_NS
        ]
        queues = [f"{row.server} {queue_words(row)}" for row in self.servers.values()]
        return printable(" | ".join([*gpus, *queues, *self._machine(now_ns)])) or "nothing is watched"

    def _gpu_table(self, now_ns: int) -> Table:
        table = Table("GPU", "host", "name", "VRAM", "of", "used", "power", "temp.", "SM clock", "why", "problem")
        for uuid, gpu in sorted(self.gpus.items(), key=lambda item: (item[1].host, item[1].index or 0)):
            slow = self.slow.get(uuid)
            late = f"no sample for {(now_ns - gpu.at_ns) / NS_PER_S:.0f} s" if now_ns - gpu.at_ns > STALE_NS else ""
            table.add_row(
                _shown(gpu.index),
                Text(printable(gpu.host)),
                Text(printable(slow.name or "-")) if slow else "-",
                _gib(gpu.memory_used_bytes),
                _gib(gpu.memory_total_bytes),
                _share(gpu.utilisation_ratio),
                _shown(slow.power_watts if slow else None, "W"),
                _shown(slow.temperature_celsius if slow else None, "°C"),
                _shown(slow.sm_clock_hertz / 1e6 if slow and slow.sm_clock_hertz else None, "MHz"),
                (slow.event_reasons or "") if slow else "",
                Text(late or printable(gpu.missing or "")[:80]),
            )
        if not self.gpus:
            table.add_row("-", "", "no GPU is watched", *[""] * 8)
        return table

    def _server_table(self) -> Table:
        table = Table("server", "queue", "answered in", "VRAM free", "torch holds")
        for row in self.servers.values():
            answer = None if row.queue_answer_ns is None else row.queue_answer_ns / 1e6
            table.add_row(
                Text(row.server), Text(printable(queue_words(row))), _shown(answer, "ms"), _gib(row.vram_free_bytes),
                _gib(row.torch_vram_total_bytes),
            )  # fmt: skip
        return table

    def _machine(self, now_ns: int) -> list[str]:
        words = []
        if self.host is not None:
            free = _gib(self.host.memory_available_bytes)
            words.append(f"host {self.host.host}: CPU {_share(self.host.cpu_ratio)}, memory free {free}")
        for process in self.processes.values():
            if now_ns - process.at_ns < STALE_NS:
                cpu = _share(process.cpu_ratio)
                words.append(f"{process.role} {process.pid}: CPU {cpu} of a core, RSS {_gib(process.rss_bytes)}")
        return words


def queue_words(row: Server) -> str:
    """The queue of a server in a few words."""
    if row.queue_running is None:
        return (row.missing or "unknown")[:60]
    return f"{row.queue_running} running, {row.queue_pending} waiting"


def _gib(size: int | None) -> str:
    return "-" if size is None else f"{size / GIB:.2f} GiB"


def _share(ratio: float | None) -> str:
    return "-" if ratio is None else f"{ratio:.0%}"


def _shown(value: float | None, unit: str = "") -> str:
    return "-" if value is None else f"{value:.0f} {unit}".strip()
