"""How a request to a gateway ended: its one outcome and code, from the answer, the pictures and what ComfyUI says.

A gateway's own errors name no cause: 400 for every failure behind it, 200 with an empty list for a node that raised.
So ComfyUI is believed wherever it knows the prompt; what only the gateway said is told as that.
"""

from __future__ import annotations

from typing import Final

from comfysoak_core.clock import NS_PER_S
from comfysoak_core.codes import Code
from comfysoak_core.comfyui.ending import Ending, ending_of_failure
from comfysoak_core.comfyui.json_text import MAX_TEXT, bounded
from comfysoak_core.comfyui.server_clock import stamp_ns
from comfysoak_core.gateway.answers import Refusal
from comfysoak_core.gateway.sighting import Sighting, Whereabouts
from comfysoak_core.rows import Outcome

JUST_NOW_NS: Final = 5 * NS_PER_S  # what ended so shortly before the deadline was late, and not forgotten

_GOES_ON: Final = "gateway and ComfyUI work on"
_STATUS_WORDS: Final = {
    401: "no token, or one the gateway does not know",
    403: "image generation is switched off, or not allowed for this user",
    404: "the gateway has no such route: is `api` the right one?",
    405: "the gateway has no such route: is `api` the right one?",
    413: "the request is too large",
    422: "the gateway does not understand the request",
    429: "too many requests",
}


def ending_of_refusal(refusal: Refusal, sighting: Sighting | None) -> Ending:
    """Any answer but 200 with a list."""
    cause = None if sighting is None or not asks_comfyui(refusal) else _cause(sighting)
    if cause is not None:
        return cause
    words = _STATUS_WORDS.get(refusal.status)
    said = ": ".join(part for part in (words, refusal.detail) if part)
    if refusal.status == 422 or (refusal.status == 400 and refusal.kind == "invalid_request_error"):
        return _told(Outcome.REJECTED, Code.VALIDATION_REJECTED, said, refusal)
    return _told(Outcome.FAILED, Code.SUBMIT_ERROR, f"{said}{_behind(sighting)}", refusal)


def asks_comfyui(refusal: Refusal) -> bool:
    """Whether the reason of an answer may lie behind the gateway."""
    return refusal.status in {200, 400} or refusal.status >= 500


def ending_of_pictures(
    count: int, wanted: int, problem: str | None, code: Code | None, sighting: Sighting | None
) -> Ending:
    """200 with a list of `count` pictures where `wanted` were asked for; `problem`: what is wrong with those."""
    if count < wanted:
        return _too_few(count, wanted, sighting)
    if count > wanted:
        message = f"{count} pictures instead of {wanted}"
        return Ending(Outcome.FAILED, Code.OUTPUT_WRONG, error_message=message)
    if problem is not None:
        return Ending(Outcome.FAILED, code or Code.OUTPUT_WRONG, error_message=bounded(problem, MAX_TEXT))
    if sighting is not None and sighting.is_open:
        message = f"the pictures came, but the prompt {sighting.whereabouts} in the queue of {sighting.server} still"
        return Ending(Outcome.FAILED, Code.OUTPUT_WRONG, error_message=message)
    if sighting is not None and sighting.trace is not None and sighting.trace.was_cached:
        return Ending(Outcome.CACHED, Code.CACHE_HIT)
    return Ending(Outcome.SUCCESS)


def ending_of_silence(waited_s: float, *, is_well: bool | None, sighting: Sighting | None, at_ns: int) -> Ending:
    """No answer by the deadline. `is_well`: whether its health route answered; None: it has none."""
    waited = f"no answer within {waited_s:.3g} s"
    if is_well is False:
        return Ending(Outcome.TIMEOUT, Code.DEADLINE, error_message=f"{waited}, and none from its health route")
    if sighting is None:
        code = Code.GATEWAY_HANG if is_well else Code.DEADLINE
        return Ending(Outcome.TIMEOUT, code, error_message=f"{waited}; {_GOES_ON}")
    return _silence_explained(waited, sighting, at_ns)


def _silence_explained(waited: str, sighting: Sighting, at_ns: int) -> Ending:
    server = sighting.server
    match sighting.whereabouts:
        case Whereabouts.RUNS | Whereabouts.WAITS:
            return Ending(
                Outcome.TIMEOUT,
                Code.DEADLINE,
                error_message=f"{waited}: the prompt {sighting.whereabouts} in {server}; {_GOES_ON}",
            )
        case Whereabouts.GONE:
            message = f"{waited}: the prompt was taken out of the queue of {server}, and the gateway waits on"
            return Ending(Outcome.VANISHED, Code.PROMPT_VANISHED, error_message=message)
        case Whereabouts.ENDED:
            return _ended_unheard(waited, sighting, at_ns)
        case Whereabouts.UNKNOWN:
            return _nowhere(waited, sighting)


def _ended_unheard(waited: str, sighting: Sighting, at_ns: int) -> Ending:
    entry = sighting.trace.entry if sighting.trace is not None else None
    ended_ns = None if entry is None else stamp_ns(entry.ended_ms)
    if ended_ns is not None and at_ns - ended_ns < JUST_NOW_NS:
        message = f"{waited}: ComfyUI had ended it just before"
        return Ending(Outcome.TIMEOUT, Code.DEADLINE, error_message=message)
    how = "with an error" if entry is not None and entry.succeeded is False else "long before"
    message = f"{waited}: {sighting.server} had ended it {how}, and the gateway waits on"
    return Ending(Outcome.TIMEOUT, Code.GATEWAY_HANG, error_message=message)


def _nowhere(waited: str, sighting: Sighting) -> Ending:
    if sighting.down:
        message = f"{waited}: {', '.join(sighting.down)} refuses connections"
        return Ending(Outcome.TIMEOUT, Code.SERVER_DOWN, error_message=message)
    if sighting.silent:
        message = f"{waited}: {', '.join(sighting.silent)} does not answer either"
        return Ending(Outcome.TIMEOUT, Code.LOOP_BLOCKED, error_message=message)
    message = f"{waited}: ComfyUI does not know the prompt, the gateway holds it back or lost it"
    return Ending(Outcome.TIMEOUT, Code.GATEWAY_HANG, error_message=message)


def ending_of_break(detail: str, sighting: Sighting | None) -> Ending:
    """The connection broke, or what came was no answer; the request may have arrived."""
    return Ending(Outcome.FAILED, Code.SUBMIT_ERROR, error_message=f"{detail}{_behind(sighting)}")


def ending_of_refused_connection(detail: str) -> Ending:
    """There is nobody: the request never left."""
    return Ending(Outcome.FAILED, Code.SERVER_DOWN, error_message=f"the gateway: {detail}")


def _too_few(count: int, wanted: int, sighting: Sighting | None) -> Ending:
    cause = None if sighting is None else _failure(sighting)
    if cause is not None:
        return cause
    message = f"{count} pictures instead of {wanted}"
    if sighting is not None and sighting.trace is not None and sighting.trace.entry is not None:
        files = len(sighting.trace.entry.files)
        message += f"; ComfyUI had ended it with {files} files: a gateway takes those of SaveImage and PreviewImage"
    return Ending(Outcome.FAILED, Code.GATEWAY_EMPTY, error_message=f"{message}{_behind(sighting)}")


def _cause(sighting: Sighting) -> Ending | None:
    """What ComfyUI knows that makes the gateway's own words unneeded."""
    if (failure := _failure(sighting)) is not None:
        return failure
    if sighting.whereabouts is Whereabouts.ENDED:
        message = f"{sighting.server} made the pictures, and the gateway did not hand them over"
        return Ending(Outcome.FAILED, Code.OUTPUT_MISSING, error_message=message)
    if sighting.whereabouts is Whereabouts.UNKNOWN and sighting.down:
        message = f"{', '.join(sighting.down)} refuses connections"
        return Ending(Outcome.FAILED, Code.SERVER_DOWN, error_message=message)
    return None


def _failure(sighting: Sighting) -> Ending | None:
    """The error of a node, or the interrupt, that ended it in ComfyUI."""
    entry = sighting.trace.entry if sighting.trace is not None else None
    return None if entry is None or entry.failure is None else ending_of_failure(entry.failure, interrupt_asked=False)


def _behind(sighting: Sighting | None) -> str:
    """What ComfyUI has to add to an error of the gateway."""
    if sighting is None or sighting.whereabouts is Whereabouts.ENDED:
        return ""
    if sighting.is_open:
        return (
            f"; the prompt {sighting.whereabouts} in {sighting.server} all the same: "
            "the gateway lost its socket, or did not wait"
        )
    if sighting.whereabouts is Whereabouts.GONE:
        return f"; the prompt was taken out of the queue of {sighting.server}"
    if sighting.silent:
        return f"; {', '.join(sighting.silent)} does not answer"
    return "; ComfyUI does not know it: it refused the workflow, or was never asked"


def _told(outcome: Outcome, code: Code, message: str, refusal: Refusal) -> Ending:
    return Ending(outcome, code, refusal.kind or f"HTTP {refusal.status}", bounded(message, MAX_TEXT) or None)
