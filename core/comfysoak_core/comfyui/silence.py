"""Which sockets the server has forgotten, and when it tells nobody anything: decided from what was told to whom.

A ComfyUI tells every socket of each change of its queue. So once something has happened that all must be told of
(another socket was told, or a prompt was accepted), a socket that was told nothing since, and has answered a ping
that left after it, is silent: TCP keeps order, so nothing of it can still be under way to us, however busy we are.

While others hear, a silent socket is a zombie (WS_ZOMBIE). When all are silent, one is opened anew as a probe: if it
hears, the others were zombies; if it stays silent too, the server tells nobody (WS_HEAD_OF_LINE).

No I/O and no clock: one `Silence` a server, asked every half second or so. All times are UTC ns of the run's clock.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final, Generic, Protocol, TypeVar

from comfysoak_core.clock import NS_PER_S

SPREAD_NS: Final = 2 * NS_PER_S  # one round of the send loop: the first socket is told so much before the last
GRACE_NS: Final = 7 * NS_PER_S // 2  # how long after it everybody must have been told
SETTLE_IN_NS: Final = NS_PER_S  # a new socket is greeted out of turn, which says nothing about the send loop
MOST_REPLACEMENTS: Final = 3  # in a row; a socket that is silent after that has a reason that we do not know
_ANSWER_WITHIN_NS: Final = 3 * NS_PER_S


class Ear(Protocol):
    """An open socket as this module sees it."""

    @property
    def opened_ns(self) -> int:
        """When it opened."""

    @property
    def told_ns(self) -> int:
        """When its last message came; at first when it opened."""

    @property
    def answered_ns(self) -> int:
        """When the last answer to a ping came."""

    @property
    def replacements(self) -> int:
        """How often in a row it was opened anew because it was silent."""


E = TypeVar("E", bound=Ear)


@dataclass(frozen=True, slots=True)
class Seen(Generic[E]):
    """What a look has found: for the caller to do."""

    ping: list[E] = field(default_factory=list)  # ask whether it lives
    zombies: list[E] = field(default_factory=list)  # replace it: the server has forgotten it
    probe: E | None = None  # replace it, to see whether a new socket is told anything
    deaf: list[E] = field(default_factory=list)  # all are silent: what they miss must be asked for
    nobody_since_ns: int | None = None  # WS_HEAD_OF_LINE begins: nobody was told anything since
    silent: int = 0  # how many sockets were silent then
    over: bool = False  # WS_HEAD_OF_LINE is over: somebody hears again


class Silence(Generic[E]):
    """The sockets of one server."""

    def __init__(self) -> None:
        self._newest_ns = 0
        self._news: deque[int] = deque()  # moments, newest last; the first is the last that all must have been told of
        self._asked: dict[E, int] = {}
        self._probe: E | None = None
        self._nobody = False
        self._hears_since_ns: int | None = None  # after a silence the backlog is told first: one socket before another

    def must_tell(self, at_ns: int) -> None:
        """At `at_ns` or later something has happened that the server tells every socket."""
        self._newest_ns = max(self._newest_ns, at_ns)

    def look(self, ears: Iterable[E], now_ns: int) -> Seen[E]:
        """What is to be done about the open sockets."""
        news_ns = self._settled(now_ns)
        if news_ns is None:
            return Seen()
        missed: list[E] = []
        hears = False
        for ear in ears:
            settled_ns = ear.opened_ns + SETTLE_IN_NS
            if ear.told_ns >= news_ns:
                hears = hears or ear.told_ns > settled_ns
            elif settled_ns <= news_ns and ear.replacements < MOST_REPLACEMENTS:
                missed.append(ear)
        over, self._nobody = self._nobody and hears, self._nobody and not hears
        if not hears:
            self._hears_since_ns = None
        elif self._hears_since_ns is None:
            self._hears_since_ns = now_ns
        if self._hears_since_ns is not None and now_ns - self._hears_since_ns < GRACE_NS:
            self._asked.clear()
            return Seen(over=over)
        self._asked = {ear: self._asked[ear] for ear in missed if ear in self._asked}
        ping = [ear for ear in missed if ear not in self._asked]
        silent = [ear for ear, asked_ns in self._asked.items() if ear.answered_ns > asked_ns]
        if hears:
            self._probe = None
            seen = Seen(ping=ping, zombies=silent, over=over)
        else:
            seen = self._all_silent(ping, silent, news_ns, now_ns)
        for ear in ping:
            self._asked[ear] = now_ns
        return seen

    def _settled(self, now_ns: int) -> int | None:
        """The last moment of which everybody must have been told by now."""
        if self._newest_ns and (not self._news or self._news[-1] != self._newest_ns):
            self._news.append(self._newest_ns)
        while len(self._news) > 1 and self._news[1] <= now_ns - GRACE_NS:
            self._news.popleft()
        return self._news[0] if self._news and self._news[0] <= now_ns - GRACE_NS else None

    def _all_silent(self, ping: list[E], silent: list[E], news_ns: int, now_ns: int) -> Seen[E]:
        """Nobody hears; `silent` are those who have proved that they live."""
        waited = all(ear in silent or now_ns - at_ns > _ANSWER_WITHIN_NS for ear, at_ns in self._asked.items())
        if ping or not silent or not waited or self._nobody:
            return Seen(ping=ping, deaf=silent)
        if self._probe is None:
            self._probe = silent[0]
            del self._asked[self._probe]
            return Seen(probe=self._probe, deaf=silent)
        if self._probe not in silent:
            return Seen(deaf=silent)
        self._nobody = True
        since_ns = max(ear.told_ns for ear in silent if ear is not self._probe) if len(silent) > 1 else news_ns
        return Seen(nobody_since_ns=since_ns, silent=len(silent), deaf=silent)
