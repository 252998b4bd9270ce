"""The row of key figures, and how single figures are written."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

from comfysoak_analysis import measures, watched
from comfysoak_analysis.frames import Run
from comfysoak_analysis.measures import GpuFigures
from comfysoak_analysis.text import bounded
from comfysoak_core.rows import Outcome
from comfysoak_core.scenario.quantities import format_duration, format_ratio, format_size


@dataclass(frozen=True, slots=True)
class Tile:
    """One key figure; `tone` is `bad`, `warn`, `off` or empty."""

    name: str
    value: str
    unit: str
    note: str
    tone: str = ""


def tiles(run: Run) -> Iterator[Tile]:
    """The six figures people ask for first; of a recording of watching those there are."""
    if run.is_watching:
        yield from _of_watching(run)
        return
    group, sockets, gpus = measures.whole(run), measures.sockets(run), measures.gpus(run)
    yield Tile("Prompts measured", f"{group.judged:,}", "", _left_out(run))
    yield Tile(
        "Failed",
        *_in_two(share_text(group.failed_share)),
        f"{group.failed:,} of {group.judged:,}",
        "bad" if group.failed else "",
    )
    yield Tile("Throughput", number_text(group.per_minute), "/min", f"{group.succeeded:,} succeeded and did work")
    yield Tile(
        "Latency p95",
        *_in_two(seconds_text(group.latency.p95)),
        f"p50 {seconds_text(group.latency.p50)} · max {seconds_text(group.latency.max)}",
    )
    yield _memory_tile(gpus)
    dropped = f"of {sockets.opened:,} opened" + (
        f" · longest silence {sockets.longest_silence_s:.0f} s" if sockets.longest_silence_s > 1 else ""
    )
    yield Tile("Sockets dropped", f"{sockets.dropped:,}", "", dropped, "warn" if sockets.dropped else "")


def _of_watching(run: Run) -> Iterator[Tile]:
    """What was watched at its most; nothing of what was not."""
    gpus, hosts = measures.gpus(run), watched.hosts(run)
    if gpus:
        yield _memory_tile(gpus)
    busy = [gpu for gpu in gpus if not math.isnan(gpu.utilisation_mean)]
    if busy:
        busiest = max(busy, key=lambda gpu: gpu.utilisation_mean)
        note = "mean" if len(gpus) == 1 else f"mean of the busiest of {len(gpus)}"
        yield Tile("GPU busy", f"{busiest.utilisation_mean * 100:.0f}", "%", note)
    known = [host for host in hosts if not math.isnan(host.cpu_mean)]
    if known:
        busiest_host = max(known, key=lambda host: host.cpu_mean)
        of = "" if len(known) == 1 else f" of {bounded(busiest_host.host, 40)}"
        at_most = f"mean{of} · at most {busiest_host.cpu_most:.0%}"
        yield Tile("Host CPU", f"{busiest_host.cpu_mean * 100:.0f}", "%", at_most)
    waiting = (run.server["queue_running"] + run.server["queue_pending"]).dropna()
    if len(waiting):
        yield Tile("Queue at most", f"{int(waiting.max()):,}", "", f"{waiting.mean():.2g} on average")
    answers = run.server[["canary_answer_s", "queue_answer_s"]].max(axis=1).dropna()
    if len(answers):
        yield Tile("Server answers", *_in_two(seconds_text(float(answers.quantile(0.99)))), "p99 of what it was asked")


def _left_out(run: Run) -> str:
    """What is in no figure, and why: `40 not measured · 3 cached · 2 unended`."""
    prompts = run.prompts
    counts = {
        "not measured": prompts["intended"] & ~prompts["measured"],
        "cached": prompts["measured"] & ~prompts["work"] & ~prompts["ok"],
        "unended": prompts["outcome"].isna() | (prompts["outcome"] == Outcome.ABORTED.value),
        "never sent": prompts["outcome"] == Outcome.NOT_SENT.value,
    }
    said = [f"{int(chosen.sum()):,} {name}" for name, chosen in counts.items() if chosen.any()]
    return f"beside {' · '.join(said)}" if said else "all there were"


def _memory_tile(gpus: tuple[GpuFigures, ...]) -> Tile:
    known = [gpu for gpu in gpus if not math.isnan(gpu.memory_max_bytes)]
    if not known:
        return Tile("VRAM peak", "—", "", "no GPU was watched", "off")
    fullest = max(known, key=lambda gpu: gpu.memory_max_share if gpu.memory_max_share == gpu.memory_max_share else 0)
    if math.isnan(fullest.memory_max_share):
        return Tile("VRAM peak", format_size(fullest.memory_max_bytes), "", "capacity unknown")
    tone = "warn" if fullest.memory_max_share > 0.95 else ""
    note = f"{fullest.memory_max_bytes / 1024**3:.1f} of {format_size(fullest.memory_total_bytes)}"
    return Tile("VRAM peak", f"{fullest.memory_max_share * 100:.0f}", "%", note, tone)


def seconds_text(value: float) -> str:
    """Seconds for a reader, `—` for none."""
    if math.isnan(value):
        return "—"
    return "< 1 ms" if 0 < value < 0.001 else format_duration(value)


def _in_two(text: str) -> tuple[str, str]:
    """Number and unit where there is one of each, for large type."""
    number, _, unit = text.rpartition(" ")
    return (number, unit) if number and " " not in number.removeprefix("< ") else (text, "")


def share_text(value: float) -> str:
    """A share in percent, `—` for none."""
    return "—" if math.isnan(value) else format_ratio(value)


def size_text(value: float) -> str:
    """Bytes for a reader, `—` for none."""
    return "—" if math.isnan(value) else format_size(value)


def number_text(value: float) -> str:
    """A figure of three digits, more where it has more before the point, `—` for none."""
    return "—" if math.isnan(value) else f"{value:,.3g}" if abs(value) < 1000 else f"{value:,.0f}"
