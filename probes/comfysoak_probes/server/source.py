"""What a ComfyUI server says of itself: its queue, its memory, its history, and how long it takes to answer."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import quote

from comfysoak_core.clock import NS_PER_S, Clock
from comfysoak_core.codes import Code
from comfysoak_core.comfyui.answers import (
    Damaged,
    Queue,
    SystemStats,
    parse_queue,
    parse_queue_remaining,
    parse_system_stats,
)
from comfysoak_core.rows import Event, Row, Server
from comfysoak_probes.fetch import MIB, Answer, Fetcher, FetchError, Trouble
from comfysoak_probes.server.history_length import ENTRY_BYTES, LENGTH_EVERY_S, HistoryLength
from comfysoak_probes.server.queue_ages import QueueAges
from comfysoak_probes.server.restarts import RestartWatch
from comfysoak_probes.source import SAMPLER, Cadence, Outage, Tick, doubled_s

QUEUE_BYTES = 64 * MIB  # each entry carries its whole prompt
STATS_EVERY_S = 1.0  # never more often: it makes the server ask its driver
QUEUE_BYTES_PER_S = 1 * MIB  # a queue of thousands is asked for more rarely: telling it blocks the server's loop
RARELY_S = 60.0
ASKED_AGAIN = 3  # times in a row, when numbers fell: through a proxy the next answer may come from another server
TIMEOUT_S = 5.0
SEVERAL = "several servers answer here in turn"


@dataclass(slots=True)
class Said:
    """What one reading got out of the server, and why the rest is missing."""

    missing: list[str]
    canary_ns: int | None = None
    queue_ns: int | None = None
    queue: Queue | None = None
    stats_ns: int | None = None
    stats: SystemStats | None = None
    history_length: int | None = None

    def lacks(self, what: str, why: FetchError | Damaged) -> None:
        """Note why something is missing."""
        words = f"{why.reason}: {why.excerpt}" if isinstance(why, Damaged) else str(why)
        self.missing.append(f"{what}: {words}"[:300])


class ServerSource:
    """One server: GET /prompt and GET /queue at each reading, /system_stats at most once a second, history rarely.

    GET /prompt is asked first: it is next to no work, so what it takes is the wait for the server's loop. All but
    history goes over one connection.
    """

    patience_s = 15.0

    def __init__(
        self, server: str, *, every_s: float, clock: Clock, token: str | None = None, timeout_s: float = TIMEOUT_S
    ) -> None:
        self.name = f"server {server}"
        self.every_s = every_s
        self._every_s = every_s
        self._server = server
        self._clock = clock
        self._fetcher = Fetcher(server, token=token, timeout_s=timeout_s, bytes_most=QUEUE_BYTES)
        self._history = HistoryLength(Fetcher(server, token=token, timeout_s=timeout_s, bytes_most=ENTRY_BYTES))
        self._stats_due = Cadence(max(STATS_EVERY_S, every_s))
        self._history_due = Cadence(LENGTH_EVERY_S)
        self._silent = Outage("queue", server)
        self._down = Outage("queue", server)
        self._odd = Outage("queue", server)
        self._mute = Outage("canary", server)
        self._restarts = RestartWatch(self._in_history, self._in_queue)
        self._ages = QueueAges()

    def read(self, tick: Tick) -> list[Row]:
        """One row; what could not be read is missing from it with the reason, and an outage is told once."""
        began_ns = self._clock.now_ns()
        said = Said([])
        canary_error = self._read_canary(said)
        if canary_error is not None and canary_error.trouble is Trouble.REFUSED:
            return self._lost(tick, began_ns, canary_error)
        queue = self._read_queue(said)
        if isinstance(queue, FetchError) and (canary_error or queue.trouble is Trouble.REFUSED):
            return self._lost(tick, began_ns, queue)
        self._read_stats(tick, said)
        self._read_history(tick, said)
        events = [*self._of_canary(canary_error, began_ns), *self._of_queue(queue, began_ns)]
        restarted = self._restarted(said, began_ns)
        return [self._row(said, began_ns, tick), *events, *restarted]

    def close(self) -> None:
        """Close the connections."""
        self._fetcher.close()
        self._history.close()

    def _read_canary(self, said: Said) -> FetchError | None:
        began_ns = self._clock.now_ns()
        try:
            answer = self._fetcher.get("/prompt")
        except FetchError as error:
            said.lacks("canary_answer_ns", error)
            return error
        took_ns = self._clock.now_ns() - began_ns
        remaining = parse_queue_remaining(answer.status, answer.body)
        if isinstance(remaining, Damaged):
            said.lacks("canary_answer_ns", remaining)  # how fast a proxy says no is not how fast the server is
        else:
            said.canary_ns = took_ns
        return None

    def _read_queue(self, said: Said) -> Queue | Damaged | FetchError:
        began_ns = self._clock.now_ns()
        try:
            answer = self._fetcher.get("/queue")
        except FetchError as error:
            said.lacks("queue", error)
            if error.trouble is Trouble.TOO_LARGE:
                self.every_s = doubled_s(self._every_s, RARELY_S)
            return error
        said.queue_ns = self._clock.now_ns() - began_ns
        self.every_s = doubled_s(self._every_s, min(len(answer.body) / QUEUE_BYTES_PER_S, RARELY_S))
        queue = parse_queue(answer.status, answer.body)
        if isinstance(queue, Damaged):
            said.lacks("queue", queue)
        else:
            said.queue = queue
        return queue

    def _read_stats(self, tick: Tick, said: Said) -> None:
        if not self._stats_due.due(tick.deadline_ns):
            said.missing.append("system_stats: read once a second")
            return
        began_ns = self._clock.now_ns()
        answer = self._asked("/system_stats", "system_stats", said)
        if answer is None:
            return
        said.stats_ns = self._clock.now_ns() - began_ns
        stats = parse_system_stats(answer.status, answer.body)
        if isinstance(stats, Damaged):
            said.lacks("system_stats", stats)
        else:
            said.stats = stats

    def _read_history(self, tick: Tick, said: Said) -> None:
        if self._restarts.proxied:
            said.missing.append(f"history_length: {SEVERAL}")
            return
        due = self._history_due.due(tick.deadline_ns) or self._history.searching
        if due and self._history.refusal is None:
            try:
                said.history_length = self._history.read()
            except FetchError as error:
                said.lacks("history_length", error)
                return
            self._history_due.due_ns = tick.deadline_ns + round(self._history.every_s * NS_PER_S)
        if said.history_length is None:
            between = "still searched for" if self._history.searching else f"read every {self._history.every_s:.0f} s"
            said.missing.append(f"history_length: {self._history.refusal or between}")

    def _asked(self, path: str, what: str, said: Said) -> Answer | None:
        try:
            return self._fetcher.get(path)
        except FetchError as error:
            said.lacks(what, error)
            return None

    def _in_history(self, prompt_id: str) -> bool:
        """Whether some server's history has this prompt."""
        return self._is_told(prompt_id, f"/history/{quote(prompt_id, safe='')}")

    def _in_queue(self, prompt_id: str) -> bool:
        return self._is_told(prompt_id, "/queue")

    def _is_told(self, prompt_id: str, path: str) -> bool:
        """Asked several times in a row: a proxy that takes turns would send every second one to the same server."""
        for _ in range(ASKED_AGAIN):
            try:
                answer = self._fetcher.get(path)
            except FetchError:
                return False
            if answer.status == 200 and prompt_id.encode() in answer.body:
                return True
        return False

    def _restarted(self, said: Said, at_ns: int) -> list[Event]:
        told = self._restarts.saw(said.queue) if said.queue else None
        if said.stats and told is None:
            told = self._restarts.saw_stats(said.stats)
        if told is None:
            return []
        self._ages.forget()
        self._history.forget()
        self._history_due.due_ns = 0
        return [Event(at_ns=at_ns, source=SAMPLER, kind="server_restarted", server=self._server,
                      code=Code.SERVER_RESTARTED, detail=told)]  # fmt: skip

    def _lost(self, tick: Tick, at_ns: int, error: FetchError) -> list[Row]:
        self.every_s = self._every_s
        self._mute.since_ns = None  # the whole server is away, not its canary alone
        row = Server(at_ns=at_ns, server=self._server, late_ns=tick.late_ns, missing=f"all: {error}")
        if error.trouble is not Trouble.REFUSED:
            return [row, *self._silent.lost(at_ns, f"GET /queue: {error}", kind="server_silent")]
        self._restarts.refused()
        return [row, *self._down.lost(at_ns, str(error), kind="server_down", code=Code.SERVER_DOWN)]

    def _of_canary(self, error: FetchError | None, at_ns: int) -> list[Event]:
        if error is None:
            return self._mute.found(at_ns, "GET /prompt answers again")
        return self._mute.lost(at_ns, f"GET /prompt: {error}, while GET /queue answers", kind="canary_silent")

    def _of_queue(self, queue: Queue | Damaged | FetchError, at_ns: int) -> list[Event]:
        """Events of an outage that began or is over, or of another kind of one: an answer that is something else."""
        if isinstance(queue, FetchError):
            detail = f"GET /queue: {queue}, while GET /prompt answers"
            return self._down.found(at_ns) + self._silent.lost(at_ns, detail, kind="server_silent")
        events = self._down.found(at_ns, "the server answers again") or self._silent.found(at_ns, "it answers again")
        self._silent.since_ns = None
        if isinstance(queue, Queue):
            return events + self._odd.found(at_ns, "GET /queue answers as it should again")
        detail = f"GET /queue: status {queue.status}, {queue.reason}: {queue.excerpt}"[:300]
        return events + self._odd.lost(at_ns, detail, kind="bad_answer", code=Code.BAD_MESSAGE)

    def _row(self, said: Said, at_ns: int, tick: Tick) -> Server:
        queue, stats = said.queue, said.stats
        device = stats.devices[0] if stats and stats.devices else None
        running_ns, pending_ns = self._ages.saw(queue, at_ns) if queue else (None, None)
        if self._restarts.proxied:
            running_ns = pending_ns = None
            said.missing.append(f"running_age_ns,oldest_pending_age_ns: {SEVERAL}")
        return Server(
            at_ns=at_ns,
            late_ns=max(0, at_ns - tick.deadline_ns),
            server=self._server,
            queue_answer_ns=said.queue_ns,
            canary_answer_ns=said.canary_ns,
            queue_running=len(queue.running) if queue else None,
            queue_pending=len(queue.pending) if queue else None,
            running_age_ns=running_ns,
            oldest_pending_age_ns=pending_ns,
            running_prompt_id=queue.running[0][:200] if queue and queue.running else None,
            highest_number=queue.highest_number if queue else None,
            history_length=said.history_length,
            stats_answer_ns=said.stats_ns,
            vram_total_bytes=device.vram_total_bytes if device else None,
            vram_free_bytes=device.vram_free_bytes if device else None,
            torch_vram_total_bytes=device.torch_vram_total_bytes if device else None,
            torch_vram_free_bytes=device.torch_vram_free_bytes if device else None,
            ram_total_bytes=stats.ram_total_bytes if stats else None,
            ram_free_bytes=stats.ram_free_bytes if stats else None,
            missing="; ".join(said.missing) or None,
        )
