"""How a prompt ended: its one outcome and its one code, from what socket and history said. Pure functions.

Which code each end gets is the catalogue of `comfysoak_core.codes`. History is believed before the socket: it is the
server's own record, and a socket can lose messages.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Final

from comfysoak_core.codes import Code
from comfysoak_core.comfyui.answers import Refused
from comfysoak_core.comfyui.history import Failure
from comfysoak_core.comfyui.json_text import MAX_TEXT, bounded
from comfysoak_core.comfyui.shape import GraphShape
from comfysoak_core.rows import Outcome
from comfysoak_core.value import value

_MEMORY_TIP: Final = "This error means you ran out of memory"  # both versions add it to the message
_MEMORY_TYPES: Final = ("OutOfMemoryError",)
_MEMORY_WORDS: Final = "out of memory"

# Of several things to say about a prompt that did succeed, the first is its code.
_BY_WEIGHT: Final = (
    Code.LB_MISROUTED,
    Code.OUTPUT_MISSING,
    Code.OUTPUT_WRONG,
    Code.OUTPUT_CORRUPT,
    Code.SERVER_DOWN,
    Code.OUTPUT_DROPPED,
    Code.BAD_MESSAGE,
    Code.CACHE_HIT,
    Code.LOST_TERMINAL,
    Code.HISTORY_RACE,
)
_NOT_WHAT_WAS_ASKED_FOR: Final = frozenset(_BY_WEIGHT[:6])
WENT_WELL: Final = frozenset({Outcome.SUCCESS, Outcome.CACHED})
_FOUND_LATER: Final = frozenset({Code.NODE_ERROR, Code.OUTPUT_DROPPED})  # what validation could have told


@value()
class Ending:
    """The end of a prompt, as its row tells it."""

    outcome: Outcome
    code: Code | None = None
    error_type: str | None = None
    error_message: str | None = None
    node_id: str | None = None
    node_class: str | None = None

    def columns(self, at_ns: int) -> dict[str, Any]:
        """What a row says of it, and of when that was known."""
        return {
            "finished_ns": at_ns,
            "outcome": self.outcome,
            "code": self.code,
            "error_type": self.error_type,
            "error_message": self.error_message,
            "node_id": self.node_id,
            "node_class": self.node_class,
        }


def is_out_of_memory(failure: Failure) -> bool:
    """Whether a node failed for want of GPU memory, by type or by what both versions add to the message."""
    kind, message = failure.error_type or "", failure.message or ""
    if kind.endswith(_MEMORY_TYPES) or _MEMORY_TIP in message:
        return True
    return kind.endswith("AcceleratorError") and _MEMORY_WORDS in message


def ending_of_failure(failure: Failure, *, interrupt_asked: bool) -> Ending:
    """The end by an error of a node, or by an interrupt (a misfire, unless it was asked for)."""
    if failure.interrupted:
        code = None if interrupt_asked else Code.INTERRUPT_MISFIRE
        return Ending(Outcome.INTERRUPTED, code, node_id=failure.node_id, node_class=failure.node_class)
    out_of_memory = is_out_of_memory(failure)
    return Ending(
        Outcome.OOM if out_of_memory else Outcome.FAILED,
        Code.OOM if out_of_memory else Code.NODE_ERROR,
        _cut(failure.error_type, 200),
        _cut(failure.message, MAX_TEXT) or None,
        _cut(failure.node_id, 200),
        _cut(failure.node_class, 200),
    )


def ending_of_refusal(refused: Refused) -> Ending:
    """The end by validation: the first node's error is told, where there is one."""
    first = refused.node_problems[0] if refused.node_problems else None
    message = refused.message if first is None else first.message
    return Ending(
        Outcome.REJECTED,
        Code.VALIDATION_REJECTED,
        refused.error_type if first is None else first.type,
        _cut(message, MAX_TEXT),
        first.node_id if first else None,
        first.node_class if first else None,
    )


def ending_of_unread(status: int, message: str) -> Ending:
    """The end of a body that was broken on purpose: refused as it should be, though not by validation."""
    return Ending(Outcome.REJECTED, Code.SUBMIT_ERROR, f"http {status}", _cut(message, MAX_TEXT))


def ending_of_accepted(ending: Ending, mistake: str | None) -> Ending:
    """The end of a prompt that was to be refused, and was run: the code says so, and the message how it ended."""
    if ending.outcome not in WENT_WELL and ending.code not in _FOUND_LATER:
        return ending
    carried = f"with the mistake {mistake!r}" if mistake else "that was to be refused"
    message = f"the prompt {carried} was accepted, and ended as {ending.outcome}"
    if ending.error_message:
        message = f"{message}: {ending.error_message}"
    return replace(ending, code=Code.MISTAKE_ACCEPTED, error_message=_cut(message, MAX_TEXT))


def ending_of_success(*, cached: bool, codes: frozenset[Code], message: str | None = None) -> Ending:
    """The end of a prompt whose nodes all ran; `codes` is what else there is to say of it.

    Outputs that were dropped, are missing or are not what was asked for make it a failure.
    """
    said = codes | {Code.CACHE_HIT} if cached else codes
    code = next((code for code in _BY_WEIGHT if code in said), None)
    if code in _NOT_WHAT_WAS_ASKED_FOR:
        return Ending(Outcome.FAILED, code, error_message=_cut(message, MAX_TEXT))
    return Ending(Outcome.CACHED if cached else Outcome.SUCCESS, code, error_message=_cut(message, MAX_TEXT))


def did_no_work(shape: GraphShape, cached: frozenset[str], executed: set[str], *, heard_all: bool) -> bool:
    """Whether everything that would have done work came from the cache.

    A graph whose outputs alone ran again (another file name) did no work either. A cached node's own inputs may be in
    neither set: the server no longer has them and does not need them. So when every message was heard, "did not run"
    decides; else all working nodes have to be among the cached.
    """
    if not cached or not shape.working:
        return False
    if heard_all:
        return not shape.working & executed
    return shape.working <= cached


def _cut(text: str | None, characters: int) -> str | None:
    return None if text is None else bounded(text.strip(), characters)
