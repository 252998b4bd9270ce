"""What a person sees while a run goes on: a panel in a terminal, a line every ten seconds without one.

`LiveState` takes the rows of the journal as they come and holds a few numbers; it grows with nothing but what is in
flight. `panel` and `line` show it.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from rich.console import Group, RenderableType
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from comfysoak_core.clock import NS_PER_S
from comfysoak_core.rows import Event, Generator, Gpu, Outcome, Prompt, Role, Server, Session
from comfysoak_core.scenario.quantities import format_duration, format_size
from comfysoak_core.scenario.stage import COLD_START, SETTLE
from comfysoak_core.terminal import printable

WINDOW_NS = 60 * NS_PER_S
SPARK = "▁▂▃▄▅▆▇█"
SPARK_POINTS = 40


@dataclass(slots=True)
class GpuNow:
    """The last sample of one GPU, and the VRAM of the samples before for the small chart."""

    used_bytes: int | None = None
    total_bytes: int | None = None
    utilisation_ratio: float | None = None
    history: deque[float] = field(default_factory=lambda: deque(maxlen=SPARK_POINTS))
    last_kept_ns: int = 0


@dataclass(slots=True)
class LiveState:
    """The state of a run as its journal tells it."""

    started_ns: int
    duration_s: float
    phase: str = ""
    stage: str = ""  # in words, as the load told it
    doing: str = ""  # in words, while there is no load
    loaded_s: float = 0.0  # in the stretches of load before this one
    loading_since_ns: int | None = None
    draining: bool = False
    users: dict[str, int] = field(default_factory=dict)
    sockets: dict[str, int] = field(default_factory=dict)
    open_prompts: set[str] = field(default_factory=set)
    outcomes: Counter[str] = field(default_factory=Counter)
    codes: Counter[str] = field(default_factory=Counter)
    drops: int = 0
    finished_ns: deque[int] = field(default_factory=deque)
    queues: dict[str, int | None] = field(default_factory=dict)
    gpus: dict[str, GpuNow] = field(default_factory=dict)
    notes: deque[str] = field(default_factory=lambda: deque(maxlen=3))

    def take(self, table: str, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
        """Take a batch of rows of any table."""
        reader = _READERS.get(table)
        if reader is None:
            return
        place = {name: index for index, name in enumerate(columns)}
        for row in rows:
            reader(self, row, place)

    def prompts_per_minute(self, now_ns: int) -> float:
        """Prompts that did their work within the last minute (or since the start), as a rate."""
        self._forget_before(now_ns - WINDOW_NS)
        window_ns = min(WINDOW_NS, max(now_ns - self.started_ns, NS_PER_S))
        return len(self.finished_ns) * 60 * NS_PER_S / window_ns

    def load_s(self, now_ns: int) -> float:
        """Seconds under load; settles and cold starts do not count."""
        since_ns = self.loading_since_ns
        going_s = max(now_ns - since_ns, 0) / NS_PER_S if since_ns is not None else 0.0
        return min(self.loaded_s + going_s, self.duration_s)

    @property
    def queue(self) -> int | None:
        """Prompts queued or running on all servers that answer; None when none does."""
        known = [length for length in self.queues.values() if length is not None]
        return sum(known) if known else None

    def _prompt(self, row: Sequence[Any], place: dict[str, int]) -> None:
        if row[place["role"]] == Role.CANARY:
            return
        outcome, prompt_id = row[place["outcome"]], row[place["id"]]
        if outcome is None:
            self.open_prompts.add(prompt_id)
            return
        self.open_prompts.discard(prompt_id)
        self.outcomes[outcome] += 1
        if outcome == Outcome.SUCCESS:
            self.finished_ns.append(row[place["finished_ns"]] or row[place["scheduled_ns"]])
            self._forget_before(self.finished_ns[-1] - WINDOW_NS)  # a quiet run never asks for the rate
        if outcome not in (row[place["expected"]], Outcome.CACHED):
            self.codes[row[place["code"]] or outcome] += 1

    def _forget_before(self, since_ns: int) -> None:
        while self.finished_ns and self.finished_ns[0] < since_ns:
            self.finished_ns.popleft()

    def _session(self, row: Sequence[Any], place: dict[str, int]) -> None:
        if row[place["closed_ns"]] is not None and row[place["code"]]:
            self.drops += 1

    def _generator(self, row: Sequence[Any], place: dict[str, int]) -> None:
        worker = row[place["worker"]]
        self.users[worker] = row[place["users"]]
        self.sockets[worker] = row[place["sockets"]]

    def _server(self, row: Sequence[Any], place: dict[str, int]) -> None:
        running, pending = row[place["queue_running"]], row[place["queue_pending"]]
        self.queues[row[place["server"]]] = None if running is None or pending is None else running + pending

    def _gpu(self, row: Sequence[Any], place: dict[str, int]) -> None:
        gpu = self.gpus.setdefault(row[place["uuid"]], GpuNow())
        gpu.used_bytes, gpu.total_bytes = row[place["memory_used_bytes"]], row[place["memory_total_bytes"]]
        gpu.utilisation_ratio = row[place["utilisation_ratio"]]
        at_ns = row[place["at_ns"]]
        if gpu.used_bytes is not None and gpu.total_bytes and at_ns - gpu.last_kept_ns >= NS_PER_S:
            gpu.history.append(gpu.used_bytes / gpu.total_bytes)
            gpu.last_kept_ns = at_ns

    def _event(self, row: Sequence[Any], place: dict[str, int]) -> None:
        kind, detail = row[place["kind"]], str(row[place["detail"]])
        if kind in ("phase", "draining"):
            self._enter(kind, str(row[place["subject"]] or ""), detail, row[place["at_ns"]])
        elif kind == "cold_start":
            self._note_step(row, place, detail)
        elif kind != "fault":  # what a scenario injects is for the report; here people watch what is seen
            code = row[place["code"]]
            self._note(f"{code or kind}: {detail}" if detail else str(code or kind))

    def _enter(self, kind: str, phase: str, detail: str, at_ns: int) -> None:
        """A stage goes on, a settle or a cold start begins, or all is over but for what is open."""
        if not self.phase:  # the load says when it really began
            self.started_ns = at_ns
        if self.loading_since_ns is not None:
            self.loaded_s += max(at_ns - self.loading_since_ns, 0) / NS_PER_S
        self.draining = kind == "draining"
        self.phase, self.stage = phase, printable(detail)[:200]
        paused = self.draining or phase in (SETTLE, COLD_START)
        self.loading_since_ns = None if paused else at_ns
        self.doing = "settling, no load" if phase == SETTLE else "cold start, no load" if paused else ""

    def _note_step(self, row: Sequence[Any], place: dict[str, int], detail: str) -> None:
        """A server got a step further from its process start to its first picture."""
        step = _STEPS.get(str(row[place["subject"]]), str(row[place["subject"]]))
        who = f"{row[place['server']]} " if row[place["server"]] else ""
        self._note(f"{who}{step}" + (f": {detail}" if detail else ""))

    def _note(self, text: str) -> None:
        self.notes.append(printable(text)[:200])


_STEPS = {"start": "starts", "answers": "answers", "ready": "is ready", "picture": "has made its first picture",
          "failed": "did not start", "command": "the command"}  # fmt: skip
_READERS = {
    Prompt.TABLE: LiveState._prompt,  # noqa: SLF001  # dispatch within the module
    Session.TABLE: LiveState._session,  # noqa: SLF001
    Generator.TABLE: LiveState._generator,  # noqa: SLF001
    Server.TABLE: LiveState._server,  # noqa: SLF001
    Gpu.TABLE: LiveState._gpu,  # noqa: SLF001
    Event.TABLE: LiveState._event,  # noqa: SLF001
}


def line(state: LiveState, now_ns: int) -> str:
    """The state in one line of plain text."""
    parts = [
        _progress_in_words(state, now_ns),
        _count(sum(state.users.values()), "user"),
        f"{state.prompts_per_minute(now_ns):.0f} prompts/min",
        f"queue {'?' if state.queue is None else state.queue}",
        _count(sum(state.sockets.values()), "socket"),
    ]
    vram = _vram_in_words(state)
    if vram:
        parts.append(f"VRAM {vram}")
    parts.append(_failures_in_words(state) or "no failures")
    return (f"[{state.phase}] " if state.phase else "") + " · ".join(parts)


def panel(state: LiveState, now_ns: int) -> RenderableType:
    """The state as a block of lines for a terminal."""
    grid = Table.grid(padding=(0, 2))
    grid.add_column(style="dim", justify="right", min_width=12)
    grid.add_column(overflow="fold")
    progress = Table.grid(padding=(0, 1))
    progress.add_row(
        ProgressBar(total=max(state.duration_s, 1), completed=state.load_s(now_ns), width=32),
        _progress_in_words(state, now_ns),
        Text("" if state.draining else state.phase, style="dim"),
    )
    grid.add_row("progress", progress)
    if state.stage:
        grid.add_row("stage", Text(state.stage))
    grid.add_row("users", f"{sum(state.users.values())} · {len(state.open_prompts)} prompts in flight")
    done = state.outcomes[Outcome.SUCCESS]
    grid.add_row("prompts", f"[bold]{state.prompts_per_minute(now_ns):.0f}[/]/min · {done} done{_cached(state)}")
    grid.add_row("queue", "no answer" if state.queue is None else str(state.queue))
    drops = Text(f" · {state.drops} dropped", style="yellow") if state.drops else Text()
    grid.add_row("sockets", Text(f"{sum(state.sockets.values())} open") + drops)
    for gpu in state.gpus.values():
        grid.add_row("VRAM", Text.assemble(_gpu_in_words(gpu), "  ", (_spark(gpu.history), "cyan")))
    failures = _failures_in_words(state)
    grid.add_row("failures", Text(failures or "none", style="red" if failures else "green"))
    for note in state.notes:
        grid.add_row("", Text(note, style="dim"))
    return Group(grid)


def _progress_in_words(state: LiveState, now_ns: int) -> str:
    if state.draining:
        return f"all stages done, {_count(len(state.open_prompts), 'prompt')} left to end"
    seconds = round(state.load_s(now_ns))
    progress = f"{format_duration(seconds) if seconds else '0 s'} of {format_duration(state.duration_s)}"
    return f"{progress}, {state.doing}" if state.doing else progress


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _cached(state: LiveState) -> str:
    cached = state.outcomes[Outcome.CACHED]
    return f" · {cached} from the cache, not counted" if cached else ""


def _failures_in_words(state: LiveState) -> str:
    return ", ".join(f"{count} {code}" for code, count in state.codes.most_common(6))


def _gpu_in_words(gpu: GpuNow) -> str:
    if gpu.used_bytes is None or not gpu.total_bytes:
        return "not readable"
    busy = f" · {gpu.utilisation_ratio:.0%} busy" if gpu.utilisation_ratio is not None else ""
    return f"{format_size(gpu.used_bytes)} of {format_size(gpu.total_bytes)}{busy}"


def _vram_in_words(state: LiveState) -> str:
    shares = [f"{gpu.used_bytes / gpu.total_bytes:.0%}" for gpu in state.gpus.values()
              if gpu.used_bytes is not None and gpu.total_bytes]  # fmt: skip
    return ", ".join(shares[:8])


def _spark(shares: Sequence[float]) -> str:
    return "".join(SPARK[min(int(share * len(SPARK)), len(SPARK) - 1)] for share in shares)
