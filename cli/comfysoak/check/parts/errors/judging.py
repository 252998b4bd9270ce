"""What users are shown of a failure, and what that means for them. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from comfysoak.check.checking import failed, ok, warning
from comfysoak.check.conversation.figures import seconds
from comfysoak.check.parts.gateway.door import Silence
from comfysoak.check.parts.gateway.generation import Generation
from comfysoak.check.row import Row
from comfysoak_core.codes import Code
from comfysoak_core.comfyui.json_text import bounded
from comfysoak_core.gateway.answers import Broken, Generated, Refusal

SOON_S: Final = 10.0  # longer, and people have gone or asked again
_NEARLY: Final = 0.9
_BLAMES: Final = frozenset({401, 403, 404, 405, 409, 413, 415, 422, 429})
_HANG: Final = (
    "Give the gateway a deadline for the whole picture (AIOHTTP_CLIENT_TIMEOUT limits its HTTP calls, not its wait at "
    "the WebSocket), or the proxy before it a read timeout; and have it ask GET /history/{id} while it waits."
)
_EMPTY: Final = (
    "Have the gateway heed execution_error and the status in history, and take fewer pictures than were asked for as a "
    "failure; until then count such answers as failures in monitoring."
)
_LOST: Final = (
    "Have the gateway open a new socket, or ask GET /history/{id}, before it gives up: the picture is there. "
    "Or have it take the prompt back: POST /interrupt with its prompt_id, POST /queue with delete."
)


@dataclass(frozen=True, slots=True)
class Shown:
    """What users were shown. `status` 0: no answer; `broke` says why, where it was not that they waited in vain."""

    status: int
    pictures: int
    words: str
    took_s: float
    broke: str = ""
    is_well: bool | None = None  # its health route, while it hung

    @property
    def hangs(self) -> bool:
        """Whether they waited in vain."""
        return self.status == 0 and not self.broke

    def __str__(self) -> str:
        """In words that go on after `users`."""
        after = seconds(self.took_s)
        if self.hangs:
            well = ", while its health route said that all is well" if self.is_well else ""
            return f"got no answer in {after}, and were let go by this check{well}"
        if self.broke:
            return f"got a broken connection after {after} ({self.broke})"
        if self.status == 200:
            return f"got 200 with {self.pictures or 'no'} picture{'' if self.pictures == 1 else 's'} after {after}"
        told = repr(bounded(self.words, 160)) if self.words else "without a word"
        return f"got {self.status} {told} after {after}"


def shown_of(done: Generation, deadline_s: float, *, is_well: bool | None = None) -> Shown:
    """Of one request."""
    if isinstance(done.came, Generated):
        pictures = sum(not isinstance(picture, Broken) for picture in done.came.pictures)
        return Shown(done.status, pictures, "", done.took_s)
    if isinstance(done.came, Refusal):
        return Shown(done.status, 0, done.came.detail, done.took_s)
    in_vain = done.answer is None or done.took_s >= _NEARLY * deadline_s
    broke = "" if in_vain or not isinstance(done.answer, Silence) else done.answer.why
    return Shown(0, 0, "", done.took_s, broke, is_well)


def of_failure(id_: str, what: str, shown: Shown, more: str = "") -> Row:
    """A failure that leaves no picture: it must be told as one, by a status, and soon."""
    seen = f"{what}: users {shown}{more}"
    complaint = _complaint(id_, seen, shown)
    if complaint is not None:
        return complaint
    if shown.pictures:
        remedy = "Look where the picture comes from: ComfyUI made none for this request."
        return failed(id_, seen, remedy, code=Code.OUTPUT_WRONG)
    return ok(id_, seen)


def of_loss(id_: str, what: str, shown: Shown, *, ran_on: bool) -> Row:
    """A failure on the way to a picture that ComfyUI makes all the same: it can be fetched from there."""
    runs_on = "; ComfyUI went on, and made it for nobody" if ran_on and not shown.pictures else ""
    seen = f"{what}: users {shown}{runs_on}"
    complaint = _complaint(id_, seen, shown)
    if complaint is not None:
        return complaint
    if shown.pictures or not ran_on:
        return ok(id_, seen)
    return warning(id_, seen, _LOST, code=Code.LOST_TERMINAL)


def of_giving_up(what: str, *, taken_back: bool, fetched: bool, ran: bool) -> Row:
    """The client has gone: what the gateway and ComfyUI did about it."""
    id_ = "errors.gives_up"
    if taken_back:
        return ok(id_, f"{what}; the gateway took the prompt back")
    if not ran:
        return ok(id_, f"{what}; ComfyUI did not run the prompt")
    kept = ", and the gateway fetched the picture and kept it for nobody" if fetched else ""
    remedy = (
        "Have the gateway take the prompt back when its client goes: POST /queue with delete while it waits, POST "
        "/interrupt with its prompt_id while it runs. Until then let clients wait longer than the queue is."
    )
    return warning(id_, f"{what}; ComfyUI ran the prompt to its end{kept}", remedy, code=Code.GAVE_UP)


def _complaint(id_: str, seen: str, shown: Shown) -> Row | None:
    """What is wrong with the answer itself, whatever the failure was."""
    if shown.hangs:
        return failed(id_, seen, _HANG, code=Code.GATEWAY_HANG)
    if shown.broke:
        return failed(id_, seen, "Have the gateway answer with a status: clients take this for a failing network.")
    if shown.pictures == 0 and shown.status < 400:
        return failed(id_, seen, _EMPTY, code=Code.GATEWAY_EMPTY)
    if shown.status in _BLAMES:
        remedy = "Answer failures of ComfyUI with 502, 503 or 504: this status says that the user did wrong."
        return warning(id_, seen, remedy)
    if not shown.pictures and shown.took_s > SOON_S:
        remedy = "Set a connect timeout of a few seconds in the gateway, and let it retry less."
        return warning(id_, f"{seen}: longer than people wait", remedy)
    return None
