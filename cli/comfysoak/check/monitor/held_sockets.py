"""Two WebSockets that are held open all the time, and opened again when they end.

Two, since one that is silent may be its own fault: only when all are silent while history goes on does the server tell
nobody (WS_HEAD_OF_LINE); when one hears, the other was forgotten (WS_ZOMBIE) and is opened anew: `Silence` decides.
Each opening has a client id of its own, so that none can be taken for one that was there before.
"""

from __future__ import annotations

import threading
import uuid
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from comfysoak.check.conversation.access import Access
from comfysoak.check.conversation.ear import Ear, NotOpenError
from comfysoak.check.conversation.figures import counted, seconds
from comfysoak.check.monitor.beat import pause_s
from comfysoak.check.monitor.happening import Happening, Tell
from comfysoak_core.clock import NS_PER_S
from comfysoak_core.codes import Code
from comfysoak_core.comfyui.messages import BadMessage
from comfysoak_core.comfyui.silence import SETTLE_IN_NS, Silence

HELD: Final = 2
PING_EVERY_NS: Final = 20 * NS_PER_S
PONG_WITHIN_S: Final = 3.0
STEADY_AFTER_NS: Final = 60 * NS_PER_S  # one that lived so long did not fail
BAD_TOLD_EVERY_NS: Final = 60 * NS_PER_S
CODES: Final = frozenset({*range(1000, 1004), *range(1005, 1016)})
OTHER: Final = "other"

Open = Callable[[Access, str], Ear]


@dataclass(eq=False, slots=True)
class Held:
    """One of them. Times are ns of the steady clock."""

    ear: Ear
    client_id: str
    opened_ns: int
    told_ns: int
    answered_ns: int
    asked_ns: int
    is_alive: bool = True
    pong_s: float | None = None


@dataclass(eq=False, slots=True)
class Place:
    """Where one of them is held, one after the other. `due_ns`: when to try again."""

    held: Held | None = None
    failures: int = 0
    due_ns: int = 0
    why_not: str = "not opened yet"
    replacements: int = 0  # in a row, because it was silent

    @property
    def opened_ns(self) -> int:
        """When the one that is held now was opened; 0: none is."""
        return self.held.opened_ns if self.held is not None else 0

    @property
    def told_ns(self) -> int:
        """When its last message came."""
        return self.held.told_ns if self.held is not None else 0

    @property
    def answered_ns(self) -> int:
        """When it answered a ping last."""
        return self.held.answered_ns if self.held is not None else 0


@dataclass(frozen=True, slots=True)
class SocketsSeen:
    """How it is with them at a moment, and all that was counted."""

    open: int = 0
    alive: int = 0
    why_not: str = "not opened yet"
    opens: int = 0
    refused: int = 0  # connections, not only sockets
    open_failures: int = 0
    closes: dict[str, int] = field(default_factory=dict)
    messages: int = 0
    bad_messages: int = 0
    zombies: int = 0
    head_of_line: str = ""
    last_message_ns: int | None = None
    pong_s: float | None = None

    @property
    def is_healthy(self) -> bool:
        """All open, alive, and told what happens."""
        return self.open == self.alive == HELD and not self.head_of_line


class HeldSockets:
    """Call `tick` every half second or so, from one thread; all else is safe from any."""

    def __init__(self, access: Callable[[], Access], steady_ns: Callable[[], int], tell: Tell, opened: Open) -> None:
        self._access = access
        self._steady_ns = steady_ns
        self._tell = tell
        self._opened = opened
        self._places = [Place() for _ in range(HELD)]
        self._silence: Silence[Place] = Silence()
        self._news_ns = 0
        self._counts: Counter[str] = Counter()
        self._closes: Counter[str] = Counter()
        self._last_message_ns: int | None = None
        self._head_of_line = ""
        self._bad_told_ns = -BAD_TOLD_EVERY_NS
        self._lock = threading.Lock()
        self._is_over = False

    def seen(self) -> SocketsSeen:
        """How it is now."""
        with self._lock:
            held = [place.held for place in self._places if place.held is not None]
            pongs = [one.pong_s for one in held if one.pong_s is not None]
            return SocketsSeen(
                open=len(held),
                alive=sum(one.is_alive for one in held),
                why_not=next((place.why_not for place in self._places if place.held is None), ""),
                opens=self._counts["opens"],
                refused=self._counts["refused"],
                open_failures=self._counts["open_failures"],
                closes=dict(self._closes),
                messages=self._counts["messages"],
                bad_messages=self._counts["bad_messages"],
                zombies=self._counts["zombies"],
                head_of_line=self._head_of_line,
                last_message_ns=self._last_message_ns,
                pong_s=max(pongs, default=None),
            )

    def must_tell(self, at_ns: int) -> None:
        """At `at_ns` or later something has happened that the server tells every socket."""
        with self._lock:
            self._news_ns = max(self._news_ns, at_ns)

    def soon(self) -> None:
        """The server is back: what is closed is opened without waiting any longer."""
        for place in self._places:
            place.due_ns = 0

    def move(self) -> None:
        """The server has another address now: let go of what is open; `tick` opens them there."""
        self._let_go("the address has changed")

    def close(self) -> None:
        """Say goodbye on all of them, and open none any more."""
        self._is_over = True
        self._let_go("the monitor ends")

    def tick(self) -> None:
        """Hear, look after what has ended or is silent, and open what is due."""
        for place in self._places:
            if place.held is not None:
                self._hear(place, place.held)
            elif self._steady_ns() >= place.due_ns and not self._is_over:
                self._open(place)
        self._ping()
        self._judge()

    def _open(self, place: Place) -> None:
        client_id = str(uuid.uuid4())
        try:
            ear = self._opened(self._access(), client_id)
        except NotOpenError as error:
            self._not_open(place, error)
            return
        now_ns = self._steady_ns()
        with self._lock:
            self._counts["opens"] += 1
            place.held = Held(ear, client_id, ear.opened_ns, ear.opened_ns, now_ns, now_ns)
            place.why_not = ""
        tried = f" after {counted(place.failures, 'failure')}" if place.failures else ""
        fields = {"client_id": client_id, "failures": place.failures}
        self._tell(Happening("socket_open", f"WebSocket open{tried}", fields, is_routine=True))
        if self._is_over:
            self._let_go("the monitor ends")

    def _not_open(self, place: Place, error: NotOpenError) -> None:
        with self._lock:
            place.failures += 1
            place.due_ns = self._steady_ns() + round(pause_s(place.failures) * NS_PER_S)
            is_news, place.why_not = place.why_not != str(error), str(error)
            self._counts["open_failures"] += 1
            self._counts["refused"] += isinstance(error.__cause__, ConnectionRefusedError)
        if is_news:
            fields = {"why": str(error), "status": error.status}
            self._tell(Happening("socket_failed", f"no WebSocket: {error}", fields))

    def _hear(self, place: Place, held: Held) -> None:
        taken = held.ear.take()
        if taken:
            bad = [told.message for told in taken if isinstance(told.message, BadMessage)]
            with self._lock:
                held.told_ns = self._last_message_ns = taken[-1].at_ns
                if held.told_ns > held.opened_ns + SETTLE_IN_NS:
                    place.replacements = 0
                self._counts["messages"] += len(taken)
                self._counts["bad_messages"] += len(bad)
            if bad:
                self._tell_bad(bad[0].reason, len(bad))
        if held.ear.end is not None:
            self._has_ended(place, held)

    def _tell_bad(self, reason: str, count: int) -> None:
        if self._steady_ns() - self._bad_told_ns >= BAD_TOLD_EVERY_NS:
            self._bad_told_ns = self._steady_ns()
            words = f"{counted(count, 'message')} that no ComfyUI sends: {reason}"
            self._tell(Happening("anomaly", words, {"code": Code.BAD_MESSAGE.value, "reason": reason}))

    def _has_ended(self, place: Place, held: Held) -> None:
        """Told once, with how long it was open and for how long it had been silent."""
        end = held.ear.end
        assert end is not None  # noqa: S101  # the caller looked
        now_ns = self._steady_ns()
        code = str(end.code) if end.code in CODES else OTHER
        lived_ns, silent_ns = end.at_ns - held.opened_ns, end.at_ns - held.told_ns
        with self._lock:
            if place.held is not held:
                return  # told already: the end of the monitor comes while it is looked after
            self._closes[code] += 1
            place.held, place.why_not = None, f"closed with code {end.code} {end.reason}".rstrip()
            if not end.ours:
                place.failures = 1 if lived_ns >= STEADY_AFTER_NS else place.failures + 1
            place.due_ns = now_ns + round(pause_s(place.failures) * NS_PER_S)
        held.ear.close()
        open_s, silent_s = lived_ns / NS_PER_S, silent_ns / NS_PER_S
        by = "by us" if end.ours else "by the other side"
        reason = f" ({end.reason})" if end.reason else ""
        words = (
            f"WebSocket closed {by}: code {end.code}{reason}, open for {seconds(open_s)}, "
            f"silent for {seconds(silent_s)} before"
        )
        fields = {"close_code": end.code, "reason": end.reason, "ours": end.ours, "client_id": held.client_id}
        fields |= {"open_s": round(open_s, 3), "silent_s": round(silent_s, 3)}
        self._tell(Happening("socket_closed", words, fields, is_routine=end.ours))

    def _ping(self) -> None:
        """Now and then: a server that stands still, or is gone without a word, does not answer."""
        for place in self._places:
            held = place.held
            if held is not None and self._steady_ns() - held.asked_ns >= PING_EVERY_NS:
                self._ask(held)

    def _ask(self, held: Held) -> None:
        held.asked_ns = self._steady_ns()
        pong_s = held.ear.ping(PONG_WITHIN_S)
        if held.ear.end is not None:
            return
        was_alive = held.is_alive
        with self._lock:
            held.is_alive, held.pong_s = pong_s is not None, pong_s
            if pong_s is not None:
                held.answered_ns = self._steady_ns()
        if was_alive and not held.is_alive:
            words = f"a WebSocket does not answer a ping within {seconds(PONG_WITHIN_S)}"
            self._tell(Happening("anomaly", words, {"client_id": held.client_id}))
        elif held.is_alive and not was_alive:
            self._tell(Happening("recovered", "the WebSocket answers pings again", {"client_id": held.client_id}))

    def _judge(self) -> None:
        """Which of them the server has forgotten, and whether it tells nobody."""
        held = [place for place in self._places if place.held is not None]
        if not held:
            self._silence = Silence()
            self._set_head_of_line("")
            return
        with self._lock:
            news_ns, self._news_ns = self._news_ns, 0
        if news_ns:
            self._silence.must_tell(news_ns)
        seen = self._silence.look(held, self._steady_ns())
        for one in seen.ping:
            if one.held is not None:
                self._ask(one.held)
        for one in seen.zombies:
            self._replace(one, is_zombie=True)
        if seen.probe is not None:
            self._replace(seen.probe, is_zombie=False)
        if seen.nobody_since_ns is not None:
            silent_s = (self._steady_ns() - seen.nobody_since_ns) / NS_PER_S
            silent = counted(seen.silent, "WebSocket")
            self._set_head_of_line(f"{silent} silent for {seconds(silent_s)}, while history goes on")
        elif seen.over:
            self._set_head_of_line("")

    def _set_head_of_line(self, words: str) -> None:
        before, self._head_of_line = self._head_of_line, words
        code = {"code": Code.WS_HEAD_OF_LINE.value}
        if words and not before:
            self._tell(Happening("alarm", f"{Code.WS_HEAD_OF_LINE}: {words}", code))
        elif before and not words:
            self._tell(Happening("recovered", f"{Code.WS_HEAD_OF_LINE} is over", code))

    def _replace(self, place: Place, *, is_zombie: bool) -> None:
        """Close it; the next tick opens another in its place, with an id of its own."""
        held = place.held
        if held is None:
            return
        silent_s = (self._steady_ns() - held.told_ns) / NS_PER_S
        if is_zombie:
            words = f"{Code.WS_ZOMBIE}: a WebSocket is open, and was told nothing for {seconds(silent_s)}"
            fields = {"code": Code.WS_ZOMBIE.value, "silent_s": round(silent_s, 3), "client_id": held.client_id}
            self._tell(Happening("anomaly", words, fields))
        with self._lock:
            self._counts["zombies"] += is_zombie
            place.replacements += 1
        self._close(place, held)
        place.due_ns = self._steady_ns()

    def _let_go(self, why: str) -> None:
        for place in self._places:
            if place.held is not None:
                self._close(place, place.held)
                place.why_not, place.due_ns = why, 0

    def _close(self, place: Place, held: Held) -> None:
        held.ear.close()
        if held.ear.end is None:  # it was let go without an answer
            with self._lock:
                place.held = None
            return
        self._has_ended(place, held)
