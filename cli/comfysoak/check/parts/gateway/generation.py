"""One request for pictures: sent, waited for with a limit of our own, and explained by what ComfyUI says of it."""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Final

from comfysoak.check.parts.gateway.behind import Behind
from comfysoak.check.parts.gateway.door import PICTURE_BYTES, Door, Silence, Who, asked, status_of
from comfysoak_core.clock import NS_PER_S
from comfysoak_core.comfyui.ending import Ending
from comfysoak_core.comfyui.transport import Answer
from comfysoak_core.gateway.answers import Generated, Refusal, parse_generation
from comfysoak_core.gateway.api import Wish, body_of
from comfysoak_core.gateway.ending import (
    ending_of_break,
    ending_of_pictures,
    ending_of_refusal,
    ending_of_refused_connection,
    ending_of_silence,
)
from comfysoak_core.gateway.sighting import Sighting, Whereabouts
from comfysoak_core.gateway.traces import Trace

AFTER_END_S: Final = 15.0  # a gateway that has not answered so long after ComfyUI's end never will
_LONG_AFTER_NS: Final = 2**63 - 1  # whatever the server's clock says
_LOOK_EVERY_S: Final = 1.0


@dataclass(frozen=True, slots=True)
class Generation:
    """What came of one request. `answer` is None while the gateway still holds it: it was given up here."""

    wish: Wish
    mark: str
    answer: Answer | Silence | None
    came: Generated | Refusal | None  # what the answer says
    sighting: Sighting | None  # None: no ComfyUI could be asked
    took_s: float
    was_over: bool = False  # it was given up because ComfyUI had ended it long before

    @property
    def hangs(self) -> bool:
        """Whether the gateway holds the request still."""
        return self.answer is None

    @property
    def trace(self) -> Trace | None:
        """The prompt as ComfyUI has it."""
        return self.sighting.trace if self.sighting is not None else None

    @property
    def count(self) -> int:
        """How many pictures came."""
        return len(self.came.pictures) if isinstance(self.came, Generated) else 0

    @property
    def status(self) -> int:
        """Of the answer; 0: there was none."""
        return 0 if self.answer is None else status_of(self.answer)


@dataclass(slots=True)
class _Sent:
    """A request on its way in a thread of its own, so that ComfyUI can be asked meanwhile."""

    send: Callable[[], Answer]
    answer: Answer | Silence | None = None
    thread: threading.Thread = field(init=False)

    def __post_init__(self) -> None:
        self.thread = threading.Thread(target=self._run, name="gateway-request", daemon=True)
        self.thread.start()

    def _run(self) -> None:
        self.answer = asked(self.send)


def mark_of_ours() -> str:
    """What nobody else has in a prompt; fit for a file name, as some workflows make one of it."""
    return f"comfysoak-check-{secrets.token_hex(4)}"


def generated(
    door: Door, who: Who, wish: Wish, behind: Behind | None, deadline_s: float, steady_ns: Callable[[], int]
) -> Generation:
    """The wish with a mark in its prompt, asked for and waited for. Never raises for what anybody answers."""
    mark = mark_of_ours()
    marked = replace(wish, prompt=f"{wish.prompt} {mark}")
    api = door.access.api
    transport = door.transport(who, deadline_s)
    body = body_of(api, marked)
    began_ns = steady_ns()
    sent = _Sent(lambda: transport.request("POST", api.path, body, max_bytes=PICTURE_BYTES))
    was_over = False
    try:
        was_over = _wait(sent, mark, behind, began_ns + int(deadline_s * NS_PER_S), steady_ns)
    except BaseException:
        if behind is not None:
            behind.sight(mark)  # so that it is known as ours to whoever tidies up
        raise
    finally:
        answer = None if sent.thread.is_alive() else sent.answer
        if sent.thread.is_alive():
            transport.abort()
        else:
            transport.close()
    took_s = (steady_ns() - began_ns) / NS_PER_S
    came = parse_generation(api.pictures, answer.status, answer.body) if isinstance(answer, Answer) else None
    return Generation(marked, mark, answer, came, None if behind is None else behind.sight(mark), took_s, was_over)


def _wait(sent: _Sent, mark: str, behind: Behind | None, deadline_ns: int, steady_ns: Callable[[], int]) -> bool:
    """Until it is answered, is too late, or ComfyUI has ended it so long ago that no answer comes: True then."""
    over_since_ns: int | None = None
    while (left_s := (deadline_ns - steady_ns()) / NS_PER_S) > 0:
        sent.thread.join(min(_LOOK_EVERY_S, left_s))
        if not sent.thread.is_alive():
            return False
        if behind is None:
            continue
        is_over = behind.sight(mark).whereabouts in {Whereabouts.ENDED, Whereabouts.GONE}
        over_since_ns = (over_since_ns or steady_ns()) if is_over else None
        if over_since_ns is not None and steady_ns() - over_since_ns > AFTER_END_S * NS_PER_S:
            return True
    return False


def ending_of(generation: Generation, wanted: int, *, is_well: bool | None) -> Ending:
    """How it ended, in the words of runs: the cause from ComfyUI where it knows one. `is_well`: its health route."""
    came, sighting = generation.came, generation.sighting
    if isinstance(came, Generated):
        return ending_of_pictures(generation.count, generation.count or wanted, None, None, sighting)
    if isinstance(came, Refusal):
        return ending_of_refusal(came, sighting)
    if isinstance(generation.answer, Silence):
        why = generation.answer.why
        return ending_of_refused_connection(why) if "refuses connections" in why else ending_of_break(why, sighting)
    at_ns = _LONG_AFTER_NS if generation.was_over else time.time_ns()
    return ending_of_silence(generation.took_s, is_well=is_well, sighting=sighting, at_ns=at_ns)
