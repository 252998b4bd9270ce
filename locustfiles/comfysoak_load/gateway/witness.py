"""Asks the ComfyUI servers behind a gateway what became of a request: they know what the gateway does not tell.

One look at a server serves all who asked for it meanwhile. While requests are open the queues are looked at now and
then, so that a prompt that somebody deletes is known to have been there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

import gevent
import gevent.event
import gevent.lock

from comfysoak_core.clock import Clock
from comfysoak_core.comfyui.answers import Damaged
from comfysoak_core.gateway.sighting import Sighting, Whereabouts, sighting_of
from comfysoak_core.gateway.traces import Ledger, Trace, parse_history_page, parse_queue_page
from comfysoak_load.edge.failures import Failure
from comfysoak_load.servers.target import MAX_ENTRY_BYTES, Target

LOOK_DEADLINE_S = 5.0
WATCH_EVERY_S = 2.0
ENTRIES_LEAST, ENTRIES_MOST = 32, 256  # of /history; as many as may have ended since somebody looked
_ORDER = (Whereabouts.ENDED, Whereabouts.RUNS, Whereabouts.WAITS, Whereabouts.GONE, Whereabouts.UNKNOWN)


@dataclass(slots=True)
class _Seen:
    """What one server showed, and when it was asked; `failure`: it showed nothing."""

    asked_ns: int
    traces: tuple[Trace, ...] = ()
    failure: Failure | None = None


@dataclass(slots=True)
class _Watched:
    target: Target
    ledger: Ledger = field(default_factory=Ledger)
    lock: gevent.lock.Semaphore = field(default_factory=gevent.lock.Semaphore)
    last: _Seen | None = None


class Witness:
    """The servers behind a gateway; `in_flight`: how many requests are open now."""

    def __init__(self, targets: Sequence[Target], clock: Clock, in_flight: Callable[[], int]) -> None:
        self._watched = tuple(_Watched(target) for target in targets)
        self._clock = clock
        self._in_flight = in_flight
        self._begun = gevent.event.Event()
        self._greenlet: gevent.Greenlet | None = None

    @property
    def watches(self) -> bool:
        """Whether there is any server to ask."""
        return bool(self._watched)

    def start(self) -> None:
        """Begin to look; needs a running hub."""
        if self.watches:
            self._greenlet = gevent.spawn(self._watch)

    def stop(self) -> None:
        """Look no more."""
        if self._greenlet is not None:
            self._greenlet.kill(block=False)

    def ready(self) -> None:
        """Wait until what was there before is known: it is nobody's."""
        if self.watches:
            self._begun.wait(2 * LOOK_DEADLINE_S)

    def ask(self, text: str, since_ns: int, *, succeeded: bool) -> Sighting:
        """Where the prompt with this text is that came after `since_ns`; it is taken: nobody else is told of it."""
        found: list[Sighting] = []
        down: list[str] = []
        silent: list[str] = []
        now_ns = self._clock.now_ns()
        looks = [gevent.spawn(self._look, watched, now_ns) for watched in self._watched]
        shown: list[_Seen] = [look.get() for look in looks]
        for watched, seen in zip(self._watched, shown, strict=True):
            if seen.failure is not None:
                (down if seen.failure.never_arrived else silent).append(watched.target.url)
                continue
            trace = watched.ledger.take(seen.traces, text, since_ns, succeeded=succeeded)
            gone = trace is None and watched.ledger.gone(seen.traces, text, since_ns)
            found.append(sighting_of(watched.target.url, trace, gone=gone))
        best = min(found, key=lambda sighting: _ORDER.index(sighting.whereabouts), default=Sighting())
        self._give_back(other for other in found if other is not best)
        return Sighting(best.whereabouts, best.server, best.trace, tuple(down), tuple(silent))

    def _give_back(self, others: Iterable[Sighting]) -> None:
        """Of several servers one has it: prompts with the same text elsewhere are somebody else's."""
        for other in others:
            for watched in self._watched:
                if watched.target.url == other.server and other.trace is not None:
                    watched.ledger.give_back(other.trace)

    def _watch(self) -> None:
        for watched in self._watched:
            self._look(watched, self._clock.now_ns(), ENTRIES_MOST)
        self._begun.set()
        while True:
            gevent.sleep(WATCH_EVERY_S)
            if self._in_flight():
                for watched in self._watched:
                    self._look(watched, self._clock.now_ns())

    def _look(self, watched: _Watched, since_ns: int, entries: int | None = None) -> _Seen:
        """What the server showed after `since_ns`, perhaps to somebody else."""
        with watched.lock:
            if watched.last is None or watched.last.asked_ns < since_ns:
                wanted = entries or min(max(2 * self._in_flight(), ENTRIES_LEAST), ENTRIES_MOST)
                watched.last = self._seen(watched.target, wanted)
                watched.ledger.note(watched.last.traces, self._clock.now_ns())
            return watched.last

    def _seen(self, target: Target, entries: int) -> _Seen:
        """The queue first: what ends between the two questions is in the history then."""
        seen = _Seen(self._clock.now_ns())
        for path, parse in (("/queue", parse_queue_page), (f"/history?max_items={entries}", parse_history_page)):
            answer = target.http.get(path, deadline_s=LOOK_DEADLINE_S, max_bytes=MAX_ENTRY_BYTES)
            if isinstance(answer, Failure):
                seen.failure = answer
                return seen
            traces = parse(answer.status, answer.body)
            if not isinstance(traces, Damaged):
                seen.traces = (*seen.traces, *traces)
        return seen
