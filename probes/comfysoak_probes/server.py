"""What a ComfyUI server says of itself: its queue, its memory, and how long it takes to answer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from urllib.parse import quote

from comfysoak_core.clock import Clock
from comfysoak_core.codes import Code
from comfysoak_core.comfyui.answers import Damaged, Queue, SystemStats, parse_queue, parse_system_stats
from comfysoak_core.rows import Event, Row, Server
from comfysoak_probes.fetch import MIB, Fetcher, FetchError, Trouble
from comfysoak_probes.source import SAMPLER, Cadence, Outage, Tick

QUEUE_BYTES = 64 * MIB  # each entry carries its whole prompt
STATS_EVERY_S = 1.0  # never more often: it makes the server ask its driver
QUEUE_BYTES_PER_S = 1 * MIB  # a queue of thousands is asked for more rarely: telling it blocks the server's loop
RARELY_S = 60.0
ASKED_AGAIN = 3  # times each, when numbers fell: through a proxy the next answer may come from another server
COUNTER_SLACK = 8  # prompts sent at once may enter the queue in another order than their numbers


@dataclass(slots=True)
class RestartWatch:
    """Notices a restart by the counter of queue numbers, which then begins at 0 again.

    The counter gives whole numbers; numbers that clients chose are floats, and priority ones negative. The highest
    number also falls when the last prompt is taken out of the queue, so a fall counts only when all prompts are new.
    Behind a proxy two servers may answer in turn, and numbers rise and fall: so before a fall counts, `several` is
    asked whether a prompt seen before is still known there. Once it is, numbers say nothing any more.
    """

    several: Callable[[str], bool] = lambda _prompt_id: False
    highest: int = -1
    _proxied: bool = False
    _seen: frozenset[str] = field(default_factory=frozenset)
    _witness: str | None = None  # the prompt that ran when last one was seen to
    _answered: bool = False
    _refused: bool = False

    def refused(self) -> None:
        """Nobody listens where it answered before: if it answers again, it was started again."""
        self._refused = self._answered

    def saw(self, queue: Queue) -> str | None:
        """How a restart showed, or None."""
        ids = frozenset((*queue.running, *queue.pending))
        new = ids.isdisjoint(self._seen)
        counted = _counted(queue.highest_number)
        told = "it refused connections and then answered again" if self._refused else None
        if told is None and counted is not None and new and not self._proxied and self._fell(counted):
            self._proxied = self._witness is not None and self.several(self._witness)
            told = None if self._proxied else f"queue numbers fell from {self.highest} to {counted}"
        self._seen = ids
        self._witness = next(iter(queue.running), self._witness)
        self._refused, self._answered = False, True
        if told is not None:
            self.highest = -1
        if counted is not None:
            self.highest = max(self.highest, counted)
        return told

    def _fell(self, number: int) -> bool:
        return number < self.highest - COUNTER_SLACK or (self.highest >= 3 and number * 2 < self.highest)


def _counted(number: object) -> int | None:
    """A queue number of the server's own counter; None for one that a client chose, or a priority one."""
    return number if type(number) is int and number >= 0 else None


class ServerSource:
    """One server: GET /queue at each reading, GET /system_stats at most once a second."""

    patience_s = 15.0

    def __init__(
        self, server: str, *, every_s: float, clock: Clock, token: str | None = None, fetcher: Fetcher | None = None
    ) -> None:
        self.name = f"server {server}"
        self.every_s = every_s
        self._every_s = every_s
        self._server = server
        self._clock = clock
        self._fetcher = fetcher or Fetcher(server, token=token, timeout_s=5.0, bytes_most=QUEUE_BYTES)
        self._stats_due = Cadence(max(STATS_EVERY_S, every_s))
        self._silent = Outage("queue", server)
        self._down = Outage("queue", server)
        self._odd = Outage("queue", server)
        self._restarts = RestartWatch(self._knows)

    def read(self, tick: Tick) -> list[Row]:
        """One row; without values, but with the reason, when the server does not answer."""
        began_ns = self._clock.now_ns()
        try:
            answer = self._fetcher.get("/queue")
        except FetchError as error:
            return self._lost(tick, began_ns, error)
        answer_ns = self._clock.now_ns() - began_ns
        queue = parse_queue(answer.status, answer.body)
        self.every_s = max(self._every_s, min(len(answer.body) / QUEUE_BYTES_PER_S, RARELY_S))
        missing: list[str] = []
        stats_ns, stats = self._read_stats(tick, missing)
        if isinstance(queue, Damaged):
            missing.insert(0, f"queue: {queue.reason}: {queue.excerpt}"[:300])
        row = _row(self._server, began_ns, tick, answer_ns, queue, stats_ns, stats, missing)
        return [row, *self._found(queue, began_ns), *self._restarted(queue, began_ns)]

    def close(self) -> None:
        """Close the connection."""
        self._fetcher.close()

    def _knows(self, prompt_id: str) -> bool:
        """Whether some answer still has this prompt: in history, or in the queue."""
        for path in (f"/history/{quote(prompt_id, safe='')}", "/queue") * ASKED_AGAIN:
            try:
                answer = self._fetcher.get(path)
            except FetchError:
                return False
            if answer.status == 200 and prompt_id.encode() in answer.body:
                return True
        return False

    def _restarted(self, queue: Queue | Damaged, at_ns: int) -> list[Event]:
        told = self._restarts.saw(queue) if isinstance(queue, Queue) else None
        if told is None:
            return []
        return [Event(at_ns=at_ns, source=SAMPLER, kind="server_restarted", server=self._server,
                      code=Code.SERVER_RESTARTED, detail=told)]  # fmt: skip

    def _lost(self, tick: Tick, at_ns: int, error: FetchError) -> list[Row]:
        self.every_s = self._every_s
        row = Server(at_ns=at_ns, server=self._server, late_ns=tick.late_ns, missing=f"all: {error}")
        if error.trouble is not Trouble.REFUSED:
            return [row, *self._silent.lost(at_ns, f"GET /queue: {error}", kind="server_silent")]
        self._restarts.refused()
        return [row, *self._down.lost(at_ns, str(error), kind="server_down", code=Code.SERVER_DOWN)]

    def _found(self, queue: Queue | Damaged, at_ns: int) -> list[Event]:
        """Events of an outage that is over, or of another kind of one: it answers, but with something else."""
        events = self._down.found(at_ns, "the server answers again") or self._silent.found(at_ns, "it answers again")
        self._silent.since_ns = None
        if isinstance(queue, Queue):
            return events + self._odd.found(at_ns, "GET /queue answers as it should again")
        detail = f"GET /queue: status {queue.status}, {queue.reason}: {queue.excerpt}"[:300]
        return events + self._odd.lost(at_ns, detail, kind="bad_answer", code=Code.BAD_MESSAGE)

    def _read_stats(self, tick: Tick, missing: list[str]) -> tuple[int | None, SystemStats | None]:
        if not self._stats_due.due(tick.deadline_ns):
            missing.append("system_stats: read once a second")
            return None, None
        began_ns = self._clock.now_ns()
        try:
            answer = self._fetcher.get("/system_stats")
        except FetchError as error:
            missing.append(f"system_stats: {error}")
            return None, None
        ended_ns = self._clock.now_ns()
        stats = parse_system_stats(answer.status, answer.body)
        if isinstance(stats, Damaged):
            missing.append(f"system_stats: {stats.reason}: {stats.excerpt}"[:300])
            return ended_ns - began_ns, None
        return ended_ns - began_ns, stats


def _row(  # one argument for each thing that was read
    server: str, at_ns: int, tick: Tick, answer_ns: int, queue: Queue | Damaged, stats_ns: int | None,
    stats: SystemStats | None, missing: list[str],
) -> Server:  # fmt: skip
    known = queue if isinstance(queue, Queue) else None
    device = stats.devices[0] if stats and stats.devices else None
    return Server(
        at_ns=at_ns,
        late_ns=max(0, at_ns - tick.deadline_ns),
        server=server,
        queue_answer_ns=answer_ns,
        queue_running=len(known.running) if known else None,
        queue_pending=len(known.pending) if known else None,
        running_prompt_id=known.running[0][:200] if known and known.running else None,
        highest_number=known.highest_number if known else None,
        stats_answer_ns=stats_ns,
        vram_total_bytes=device.vram_total_bytes if device else None,
        vram_free_bytes=device.vram_free_bytes if device else None,
        torch_vram_total_bytes=device.torch_vram_total_bytes if device else None,
        torch_vram_free_bytes=device.torch_vram_free_bytes if device else None,
        ram_total_bytes=stats.ram_total_bytes if stats else None,
        ram_free_bytes=stats.ram_free_bytes if stats else None,
        missing="; ".join(missing) or None,
    )
