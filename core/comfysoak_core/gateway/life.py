"""The life of one request to a gateway, without I/O: what it needs next, what came of it, its one end.

    DUE --sent--> WAITING --answer--> FETCHING --checked--> ASKING --sighting--> DONE
                     |  no answer by the deadline: ASKING_HEALTH, then ASKING      ^
                     +--- anything else ------------------------------------------+

Whoever drives it looks at `need`, does that, and tells the life what happened. However it goes, there is one outcome.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any, Final

from comfysoak_core.clock import NS_PER_S
from comfysoak_core.codes import Code
from comfysoak_core.comfyui.ending import Ending
from comfysoak_core.comfyui.server_clock import stamp_ns
from comfysoak_core.gateway.answers import Broken, Generated, Picture, Refusal, parse_generation
from comfysoak_core.gateway.api import Pictures
from comfysoak_core.gateway.ending import (
    asks_comfyui,
    ending_of_break,
    ending_of_pictures,
    ending_of_refusal,
    ending_of_refused_connection,
    ending_of_silence,
)
from comfysoak_core.gateway.sighting import Sighting
from comfysoak_core.rows import Outcome, Prompt

LOOK_AGAIN_NS: Final = NS_PER_S  # after pictures that came while ComfyUI still had their prompt to do


class Need(StrEnum):
    """What a life needs now."""

    SEND = "send"
    FETCH = "fetch"  # or decode, and check
    ASK_HEALTH = "ask_health"
    ASK_COMFYUI = "ask_comfyui"
    DONE = "done"


class Unanswered(StrEnum):
    """Why there is no answer."""

    REFUSED = "refused"  # no connection: nothing has left
    BROKEN = "broken"
    TIMEOUT = "timeout"


@dataclass(frozen=True, slots=True)
class Checked:
    """What came of the pictures: how many were fetched and how large they are together, and what is wrong."""

    received: int
    size_bytes: int
    problem: str | None = None
    code: Code | None = None


@dataclass(frozen=True, slots=True)
class _Silence:
    why: Unanswered
    detail: str


class GatewayLife:
    """One request. `wanted`: how many pictures an answer must have; `fetch`: whether they are fetched and checked.

    `has_health`: there is a route that tells whether the gateway is well; `watched`: ComfyUI can be asked for causes.
    """

    def __init__(
        self, prompt: Prompt, pictures: Pictures, wanted: int, *, fetch: bool, has_health: bool, watched: bool
    ) -> None:
        self.need = Need.SEND
        self.due_ns = prompt.scheduled_ns  # of the next need
        self.pictures: tuple[Picture, ...] = ()
        self._prompt = prompt
        self._shape = pictures
        self._wanted = wanted
        self._fetch = fetch
        self._has_health = has_health
        self._watched = watched
        self._came: Generated | Refusal | _Silence | None = None
        self._checked: Checked | None = None
        self._is_well: bool | None = None
        self._sighting: Sighting | None = None
        self._fields: dict[str, Any] = {}

    @property
    def row(self) -> Prompt:
        """The row as of now."""
        return replace(self._prompt, **self._fields)

    @property
    def succeeded(self) -> bool:
        """Whether the answer has all that was asked for, as far as is known."""
        came = self._came
        return isinstance(came, Generated) and len(came.pictures) >= self._wanted

    def sent(self, at_ns: int) -> None:
        """The request begins to leave."""
        self._fields["sent_ns"] = at_ns

    def answered(self, status: int, body: bytes, at_ns: int) -> None:
        """The whole answer was read."""
        if self.need is not Need.SEND:
            return
        came = self._came = parse_generation(self._shape, status, body)
        self._fields |= {"http_status": status, "messages": 1, "message_bytes": len(body)}
        if isinstance(came, Generated):
            self._fields |= {"accepted_ns": at_ns, "end_received_ns": at_ns, "end_error_ns": 0, "end_source": "answer"}
            self.pictures = came.pictures
            if self._fetch and len(came.pictures) == self._wanted > 0:
                self._then(Need.FETCH, at_ns)
                return
        self._ask_or_end(at_ns, reason_behind=isinstance(came, Generated) or asks_comfyui(came))

    def unanswered(self, why: Unanswered, detail: str, at_ns: int) -> None:
        """There is no answer, and will be none."""
        if self.need is not Need.SEND:
            return
        self._came = _Silence(why, detail)
        if why is Unanswered.TIMEOUT and self._has_health:
            self._then(Need.ASK_HEALTH, at_ns)
        else:
            self._ask_or_end(at_ns, reason_behind=why is not Unanswered.REFUSED)

    def health(self, is_well: bool | None, at_ns: int) -> None:  # noqa: FBT001  # the answer to a question
        """Whether the health route answered as it should; None: there is no such route after all."""
        if self.need is not Need.ASK_HEALTH:
            return
        self._is_well = is_well
        self._ask_or_end(at_ns, reason_behind=True)

    def gone(self, detail: str, at_ns: int) -> None:
        """The gateway refuses connections by now."""
        if self.need is not Need.DONE:
            ending = Ending(Outcome.LOST, Code.SERVER_DOWN, error_message=f"the gateway: {detail}")
            self._finish(ending, at_ns)

    def checked(self, checked: Checked, at_ns: int) -> None:
        """All pictures were fetched (or tried to be) and looked at."""
        if self.need is not Need.FETCH:
            return
        self._checked = checked
        self._fields |= {
            "fetched_ns": at_ns,
            "outputs_received": checked.received,
            "output_bytes": checked.size_bytes,
            "outputs_ok": checked.problem is None,
            "output_problem": checked.problem,
        }
        self._ask_or_end(at_ns, reason_behind=True)

    def sighted(self, sighting: Sighting, at_ns: int) -> None:
        """What ComfyUI says of it. Pictures of a prompt that is still open are asked about twice."""
        if self.need is not Need.ASK_COMFYUI:
            return
        first, self._sighting = self._sighting is None, sighting
        self._fields |= _told_by(sighting)
        if first and sighting.is_open and self.succeeded:
            self._then(Need.ASK_COMFYUI, at_ns + LOOK_AGAIN_NS)
        else:
            self._finish(self._ending(at_ns), at_ns)

    def stop(self, at_ns: int, why: str | None = None) -> None:
        """The run ends, for this reason: as it is known by now, or aborted."""
        if self.need is Need.DONE:
            return
        if self._came is not None and self.need is Need.ASK_COMFYUI:
            self._finish(self._ending(at_ns), at_ns)
            return
        after = "gateway and ComfyUI work on" if "sent_ns" in self._fields else "it was not sent"
        self._finish(Ending(Outcome.ABORTED, error_message=f"{why or 'the run ended'}; {after}"), at_ns)

    def _ask_or_end(self, at_ns: int, *, reason_behind: bool) -> None:
        if self._watched and reason_behind:
            self._then(Need.ASK_COMFYUI, at_ns)
        else:
            self._finish(self._ending(at_ns), at_ns)

    def _ending(self, at_ns: int) -> Ending:
        came = self._came
        if isinstance(came, Generated):
            checked = self._checked or _unfetched(came.pictures)
            count = len(came.pictures)
            return ending_of_pictures(count, self._wanted, checked.problem, checked.code, self._sighting)
        if isinstance(came, Refusal):
            return ending_of_refusal(came, self._sighting)
        assert came is not None  # noqa: S101  # nothing else leads here
        if came.why is Unanswered.REFUSED:
            return ending_of_refused_connection(came.detail)
        if came.why is Unanswered.BROKEN:
            return ending_of_break(came.detail, self._sighting)
        waited_s = ((self._prompt.deadline_ns or at_ns) - self._prompt.scheduled_ns) / NS_PER_S
        return ending_of_silence(waited_s, is_well=self._is_well, sighting=self._sighting, at_ns=at_ns)

    def _then(self, need: Need, due_ns: int) -> None:
        self.need, self.due_ns = need, due_ns

    def _finish(self, ending: Ending, at_ns: int) -> None:
        """The one way to DONE."""
        self._then(Need.DONE, at_ns)
        self._fields |= ending.columns(at_ns)


def _unfetched(pictures: tuple[Picture, ...]) -> Checked:
    """What an answer shows by itself: the first of its items that leads to no picture."""
    for index, picture in enumerate(pictures, 1):
        if isinstance(picture, Broken):
            return Checked(0, 0, f"picture {index} of {len(pictures)}: {picture.reason}", Code.OUTPUT_MISSING)
    return Checked(0, 0)


def _told_by(sighting: Sighting) -> dict[str, Any]:
    """The columns ComfyUI fills: by the clock of its server."""
    trace = sighting.trace
    if trace is None:
        return {}
    fields: dict[str, Any] = {"number": trace.number, "nodes_total": trace.node_count}
    if trace.entry is not None:
        fields["started_server_ns"] = stamp_ns(trace.entry.started_ms)
        fields["ended_server_ns"] = stamp_ns(trace.entry.ended_ms)
        fields["nodes_cached"] = None if trace.entry.cached is None else len(trace.entry.cached)
    return fields
