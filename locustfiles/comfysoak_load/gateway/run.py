"""One request to a gateway on its way: does what its life needs, and brings it what happens."""

from __future__ import annotations

from typing import TYPE_CHECKING

import gevent

from comfysoak_core.clock import NS_PER_S, AnchoredClock
from comfysoak_core.gateway.api import Wish, body_of
from comfysoak_core.gateway.life import GatewayLife, Need, Unanswered
from comfysoak_core.recording.journal import Journal
from comfysoak_core.rows import Prompt
from comfysoak_load.edge.failures import Failure
from comfysoak_load.gateway.edge import is_timeout
from comfysoak_load.gateway.pictures import checked_pictures
from comfysoak_load.prompts.order import Lateness

if TYPE_CHECKING:
    from comfysoak_load.gateway.side import GatewaySide

SHORTEST_S = 0.001
_OK = 200


class GatewayRun:
    """Drives one `GatewayLife` in the greenlet that calls `run`."""

    def __init__(
        self,
        prompt: Prompt,
        life: GatewayLife,
        wish: Wish,
        side: GatewaySide,
        clock: AnchoredClock,
        journal: Journal,
        lateness: Lateness,
    ) -> None:
        self.life = life
        self.fetch_ms: float | None = None
        self._prompt = prompt
        self._wish = wish
        self._side = side
        self._clock = clock
        self._journal = journal
        self._lateness = lateness
        self._written = False

    def run(self) -> Prompt:
        """From sending to the last question; the row as it ends. However this greenlet ends, the row is written."""
        self._journal.add_now(self._prompt)
        self._side.witness.ready()
        try:
            while (need := self.life.need) is not Need.DONE:
                left_ns = self.life.due_ns - self._clock.now_ns()
                if left_ns > 0:
                    gevent.sleep(left_ns / NS_PER_S)
                self._do(need)
        finally:
            self.stop()
        return self.life.row

    def stop(self, why: str | None = None) -> None:
        """End it now, as aborted for this reason unless it is known how it ended."""
        self.life.stop(self._clock.now_ns(), why)
        if not self._written:
            self._written = True
            self._journal.add(self.life.row)

    def _do(self, need: Need) -> None:
        if need is Need.SEND:
            self._send()
        elif need is Need.FETCH:
            self._fetch()
        elif need is Need.ASK_HEALTH:
            self._ask_health()
        else:
            self._ask_comfyui()

    def _send(self) -> None:
        body = body_of(self._side.api, self._wish)
        sent_ns = self._clock.now_ns()
        self.life.sent(sent_ns)
        self._lateness.left_late(sent_ns - self._prompt.scheduled_ns)
        left_s = ((self._prompt.deadline_ns or sent_ns) - sent_ns) / NS_PER_S
        answer = self._side.edge.generate(self._side.api.path, body, max(left_s, SHORTEST_S))
        now = self._clock.now_ns()
        if isinstance(answer, Failure):
            self.life.unanswered(_why(answer), str(answer), now)
        else:
            self.life.answered(answer.status, answer.body, now)

    def _fetch(self) -> None:
        began_ns = self._clock.now_ns()
        side = self._side
        checked = checked_pictures(side.edge, side.url, self.life.pictures, self._wish.size)
        now = self._clock.now_ns()
        self.fetch_ms = (now - began_ns) / 1e6
        self.life.checked(checked, now)

    def _ask_health(self) -> None:
        answer = self._side.edge.health(self._side.api.health or "/")
        now = self._clock.now_ns()
        if not isinstance(answer, Failure):
            self.life.health(True if answer.status == _OK else None, now)  # an answer
        elif answer.never_arrived:
            self.life.gone(str(answer), now)
        else:
            self.life.health(False, now)  # noqa: FBT003  # an answer

    def _ask_comfyui(self) -> None:
        sent_ns = self.life.row.sent_ns or self._prompt.scheduled_ns
        succeeded = self.life.succeeded
        sighting = self._side.witness.ask(self._wish.prompt, sent_ns, succeeded=succeeded)
        self.life.sighted(sighting, self._clock.now_ns())


def _why(failure: Failure) -> Unanswered:
    if is_timeout(failure):
        return Unanswered.TIMEOUT
    return Unanswered.REFUSED if failure.never_arrived else Unanswered.BROKEN
