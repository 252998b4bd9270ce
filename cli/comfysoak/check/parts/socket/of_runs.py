"""What the runs of the workflow show of the WebSocket: order, pictures, privacy, recovery, size. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Final

from comfysoak.check.checking import failed, ok, skipped, warning
from comfysoak.check.conversation.ear import Told
from comfysoak.check.conversation.figures import counted, node, seconds, size, some
from comfysoak.check.conversation.order import mistakes_of_order, told_shortly
from comfysoak.check.conversation.run import Run
from comfysoak.check.conversation.trouble import Trouble
from comfysoak.check.row import Row
from comfysoak_core.clock import NS_PER_S
from comfysoak_core.codes import CATALOGUE, Code
from comfysoak_core.comfyui.messages import (
    Executed,
    Executing,
    ExecutionCached,
    ExecutionError,
    ExecutionStart,
    ExecutionSuccess,
    Status,
)
from comfysoak_core.rows import Outcome

ORDER, IMAGES, PRIVATE, RECOVERY, SIZE = (
    f"socket.{name}" for name in ("order", "images", "private", "recovery", "size")
)
MIB: Final = 1024 * 1024
SMALL_LIMIT: Final = MIB  # of Python's websockets, and of others
PLATFORM_LIMIT: Final = 4 * MIB  # of aiohttp, which the platform uses
_TOLD_ALL_THE_SAME: Final = frozenset({Code.NODE_ERROR, Code.OOM, Code.INTERRUPT_MISFIRE, Code.OUTPUT_DROPPED})
_OWNERS_ONLY: Final = (ExecutionStart, ExecutionCached, ExecutionSuccess, ExecutionError, Executing, Executed)
_BETWEEN: Final = "Look for a proxy between the check and ComfyUI that rewrites or drops messages, or a custom node."


def order(runs: Sequence[Run], again: Run | None, trouble: Trouble | None) -> Row:
    """Every message of each run, in order. `again`: the one that should come from the cache."""
    first = runs[0]
    if first.no_socket is not None:
        return skipped(ORDER, first.no_socket)
    if trouble is not None and trouble.row.code not in _TOLD_ALL_THE_SAME:
        return skipped(ORDER, trouble.why)
    whole = [run for run in runs if run.reopened is None]
    for run in whole:
        complaint = _lost(run) or _out_of_order(run)
        if complaint is not None:
            return complaint
    told = f"{first.asked.name}: {told_shortly(first.told, first.row.id)}"
    if again is not None and again.row.outcome == Outcome.CACHED:
        told += f"; from the cache: {told_shortly(again.told, again.row.id)}"
    elif again is not None:
        told += "; the same again was not answered from the cache"
    return ok(ORDER, told)


def is_lost(run: Run) -> bool:
    """Whether its socket was not told of its end, though we did not cut it."""
    return run.row.end_source == "history" and run.reopened is None and run.no_socket is None


def _lost(run: Run) -> Row | None:
    """The end was not told on its socket; history had it."""
    if not is_lost(run):
        return None
    end = run.socket_end
    if end is not None and not end.ours:
        seen = f"{run.asked.name}: its socket ended in mid run, code {end.code} {end.reason}".rstrip()
        return failed(ORDER, seen, CATALOGUE[Code.WS_ABNORMAL].remedy, code=Code.WS_ABNORMAL)
    own = run.own
    own_told, others_told = _heard_the_end(run, run.told), _heard_the_end(run, run.elsewhere)
    last = f"the last message about it was {own[-1].message.kind}" if own else "not one message about it came"
    seen = f"{run.asked.name}: {last}, executing null never came; history had its end"
    if own_told:
        code, besides = Code.LOST_TERMINAL, "the socket was told of the queue all the while"
    elif others_told:
        code, besides = Code.WS_ZOMBIE, "another socket was told of the queue, this one was not"
    else:
        code, besides = Code.WS_HEAD_OF_LINE, "no other socket was told anything either"
    return failed(ORDER, f"{seen}; {besides}", _REMEDIES.get(code, CATALOGUE[code].remedy), code=code)


def _heard_the_end(run: Run, told: Sequence[Told]) -> bool:
    """Whether this socket was told that the queue got shorter: a prompt gives three statuses, the last at its end."""
    own = run.own
    since_ns = own[-1].at_ns if own else run.row.sent_ns or 0
    statuses = sum(isinstance(one.message, Status) and one.at_ns > since_ns for one in told)
    return statuses >= (1 if own else _STATUSES)


_STATUSES: Final = 3  # queued, taken by the worker, ended
_REMEDIES: Final = {
    Code.LOST_TERMINAL: (
        f"The platform waits for executing null without a limit: {_BETWEEN} Until then, give requests a deadline."
    )
}


def _out_of_order(run: Run) -> Row | None:
    showing = frozenset(one.node_id for one in run.outputs if one.file is not None)
    mistakes = mistakes_of_order(run.told, run.row.id, showing)
    if not mistakes:
        return None
    return failed(ORDER, f"{run.asked.name}: {some(mistakes)}", _BETWEEN, code=Code.BAD_MESSAGE)


def images(run: Run, trouble: Trouble | None) -> Row:
    """History names the outputs, and /view has them."""
    if trouble is not None:
        return skipped(IMAGES, trouble.why)
    if run.history_problem is not None:
        remedy = "Let GET /history/{id} through to ComfyUI: the platform takes its pictures from there alone."
        return failed(IMAGES, f"history cannot be read: {run.history_problem}", remedy, code=Code.OUTPUT_MISSING)
    missing = [one for one in run.outputs if one.missing is not None]
    if missing:
        seen = f"{len(missing)} of {counted(len(run.outputs), 'file')} cannot be fetched: {missing[0].missing}"
        return failed(IMAGES, seen, CATALOGUE[Code.OUTPUT_MISSING].remedy, code=Code.OUTPUT_MISSING)
    if not run.outputs:
        remedy = "End the workflow in a SaveImage node: the platform takes its pictures from history alone."
        return warning(IMAGES, "history names no file, so the platform would get none", remedy, code=Code.GATEWAY_EMPTY)
    if run.row.code == Code.HISTORY_RACE:
        remedy = "Ask history again after a moment; the platform does not, and fails."
        seen = "history was still empty at executing null, and had the entry a moment later"
        return warning(IMAGES, seen, remedy, code=Code.HISTORY_RACE)
    files = [one for one in run.outputs if one.file is not None]
    if not files:
        seen = f"{counted(len(run.outputs), 'picture')} came as messages; history names none"
        return ok(IMAGES, seen)
    total = sum(one.size_bytes for one in files)
    return ok(IMAGES, f"{counted(len(files), 'file')} in history, all fetched: {size(total)}, {files[0].name}")


def private(runs: Sequence[Run]) -> Row:
    """A second socket hears nothing of our prompts, and ours nothing of others'; broadcasts by design aside."""
    if not any(run.elsewhere for run in runs):
        return skipped(PRIVATE, "no second socket could be opened beside the first")
    leaked = Counter(_leaked(runs))
    if leaked:
        seen = f"a second socket, with an id of its own, was told of our prompts: {_kinds(leaked)}"
        return failed(PRIVATE, seen, _SHARED)
    foreign = Counter(_foreign(runs))
    if foreign:
        return failed(PRIVATE, f"our socket was told of prompts that are not ours: {_kinds(foreign)}", _SHARED)
    others = sum(len(run.elsewhere) for run in runs)
    seen = f"of {counted(len(runs), 'run')} a second socket heard {counted(others, 'message')}, none about them"
    return ok(PRIVATE, seen)


_SHARED: Final = (
    "Have each client use a clientId of its own (a UUID), and look for a proxy that changes clientId or copies"
    " messages."
)


def _leaked(runs: Sequence[Run]) -> Iterator[str]:
    for run in runs:
        yield from (told.message.kind for told in run.elsewhere if told.message.prompt_id == run.row.id)


def _foreign(runs: Sequence[Run]) -> Iterator[str]:
    """What goes to the owner of a prompt alone; progress and pictures of prompts without client_id go to all."""
    for run in runs:
        for told in run.told:
            other = told.message.prompt_id not in {None, run.row.id}
            if other and isinstance(told.message, _OWNERS_ONLY):
                yield told.message.kind


def _kinds(counter: Counter[str]) -> str:
    return some([f"{count} {kind}" for kind, count in counter.most_common()])


def recovery(run: Run) -> Row:
    """Our own network failed in mid run: whether history had the result."""
    if run.reopened is None:
        return skipped(RECOVERY, "the run had ended before it could be dropped")
    at = next((told.message.node for told in reversed(run.told) if isinstance(told.message, Executing)), None)
    where = f"cut while {node(run.asked.shape, at)} ran"
    if run.reopened:
        seen = f"{where}; a new socket did not open: {run.reopened}"
        return failed(RECOVERY, seen, CATALOGUE[Code.WS_ABNORMAL].remedy, code=Code.WS_ABNORMAL)
    if not run.went_well:
        cause = run.row.error_message or f"it ended as {run.row.outcome}"
        remedy = "Look for a custom node or a proxy that interrupts a prompt when its client goes."
        code = Code(run.row.code) if run.row.code else None
        return failed(RECOVERY, f"{where}; the result was not to be found: {cause}", remedy, code=code)
    cut_ns = run.told[-1].at_ns
    later_s = max(((run.row.end_received_ns or cut_ns) - cut_ns) / NS_PER_S, 0.0)
    named = sum(one.file is not None for one in run.outputs)
    files = counted(named, "file") if named else "no file: pictures that are sent by the socket are lost with it"
    seen = (
        f"{where}; a new socket opened at once, with an id of its own; history had the result {seconds(later_s)} later,"
        f" with {files}"
    )
    return ok(RECOVERY, seen)


def sizes(runs: Sequence[Run], large: Run | None, *, lacks_nodes: bool, cuts_idle: bool = False) -> Row:
    """The largest message against the limits of clients, and one over 1 MiB through all that lies between."""
    largest = max((one for run in runs for one in run.told), key=lambda one: one.size_bytes, default=None)
    own = f"the largest message of the workflow was {_spelled(largest)}" if largest is not None else ""
    if largest is not None and largest.size_bytes > SMALL_LIMIT:
        return _beyond_limits(own, largest.size_bytes)
    if any(is_lost(run) for run in runs):
        return skipped(SIZE, "messages get lost in any run: see socket.order")
    if large is None:
        why = "the server has no ImageAddNoise or SaveImageWebsocket" if lacks_nodes else "nothing can be run now"
        tried = f"one over 1 MiB was not tried: {why}"
        return ok(SIZE, f"{own}; {tried}") if own else skipped(SIZE, tried)
    if cuts_idle and large.socket_end is not None and not large.socket_end.ours:
        return skipped(SIZE, "its socket was cut, as idle ones are: see socket.ping")
    return _of_large(large, own)


def _of_large(large: Run, own: str) -> Row:
    pictures = [one for one in large.outputs if one.file is None]
    frame = max((told.size_bytes for told in large.told), default=0)
    end = large.socket_end
    if end is not None and not end.ours:
        seen = f"a message of over 1 MiB ended the socket: code {end.code} {end.reason}".rstrip()
        return failed(SIZE, seen, _LIMITED, code=Code.WS_TOO_BIG)
    if large.went_well and not pictures:
        return failed(
            SIZE, "a picture of over 1 MiB was sent as a message and never came", _LIMITED, code=Code.WS_TOO_BIG
        )
    if not large.went_well:
        return skipped(
            SIZE, f"the run that sends a large message ended as {large.row.outcome}: {large.row.error_message}"
        )
    wrong = next((one.wrong for one in pictures if one.wrong), None)
    if wrong is not None:
        return failed(
            SIZE, f"a picture of over 1 MiB came as a message, and is {wrong}", _LIMITED, code=Code.WS_TOO_BIG
        )
    came = f"a picture came whole as one message of {size(frame)}"
    return ok(SIZE, f"{came}; {own}" if own else came)


_LIMITED: Final = (
    "Look for what limits messages between the check and ComfyUI: a proxy's limit of WebSocket messages or of buffers,"
    " a gateway's own; raise it to at least the size of a picture."
)


def _beyond_limits(own: str, size_bytes: int) -> Row:
    clients = "1 MiB (Python's websockets)"
    if size_bytes > PLATFORM_LIMIT:
        clients = "4 MiB (aiohttp, which the platform uses)"
    seen = f"{own}: a client with a default limit of {clients} closes the socket at it, with 1009, in mid run"
    remedy = (
        "Set a higher limit in clients (websockets: max_size=None, aiohttp: max_msg_size=0), or send less by the"
        " socket: SaveImage in the place of SaveImageWebsocket, --preview-method none."
    )
    return warning(SIZE, seen, remedy, code=Code.WS_TOO_BIG)


def _spelled(told: Told) -> str:
    return f"{size(told.size_bytes)} ({told.message.kind})"


def is_jammed(runs: Sequence[Run]) -> bool:
    """Whether nothing more should be sent: what was sent before did not get to its turn, or is still there."""
    return any(run.is_stuck or run.waited_in_vain or run.worker_died is not None for run in runs)
