"""A settle: each server lets its models and caches go and then stands idle for a while, for memory to be read.

POST /free answers at once and is acted upon by the thread that runs prompts, when no prompt runs. No route tells when
that is done; so it is asked for on an empty queue, and taken as done when the free memory grows no more.
"""

from __future__ import annotations

import gevent

from comfysoak_core.comfyui.answers import Damaged, SystemStats, parse_queue
from comfysoak_core.scenario.quantities import format_size
from comfysoak_core.scenario.stage import FREE_WITHIN_S, Settle
from comfysoak_load.edge.failures import Failure
from comfysoak_load.process.load_process import LoadProcess
from comfysoak_load.servers.errands import Patience, on_each_server
from comfysoak_load.servers.target import Target

DEADLINE_S = 10.0
ANSWER_WITHIN_S = 10.0
LOOK_EVERY_S = 0.25
QUIET_LOOKS = 6  # free memory has not grown for so many looks: what was to be let go is gone
QUIET_WITHIN_S = 15.0  # RAM of a CPU server is everybody's, and may never stand still
GROWN_BYTES = 16 * 1024 * 1024
FREE_BODY = b'{"unload_models":true,"free_memory":true}'
_OK = 200
_HEAD_BYTES = 64 * 1024 * 1024  # /queue carries whole prompts


def settle(process: LoadProcess, what: Settle) -> None:
    """Settle all servers; for each an event `settled` begins and ends the time in which its memory may be read.

    A server that does not get there has the event `not_settled` with the reason instead.
    """
    on_each_server(process, lambda target: _settle(process, target, what.wait_s))


class _NotSettledError(Exception):
    """Why this server did not settle."""


def _settle(process: LoadProcess, target: Target, wait_s: float) -> None:
    try:
        _await_empty_queue(process, target)
        before_bytes = _free_bytes(target)
        _ask_to_free(target)
        after_bytes = _await_quiet(process, target)
    except _NotSettledError as why:
        process.event("not_settled", server=target.url, detail=str(why))
        return
    except gevent.GreenletExit:
        process.event("not_settled", server=target.url, detail="it took too long, or the test ended")
        raise
    process.event("settled", server=target.url, subject="begin", detail=_in_words(before_bytes, after_bytes))
    company = "it was cut short"
    try:
        gevent.sleep(wait_s)
        company = _company(target)
    finally:
        process.event("settled", server=target.url, subject="end", detail=company)


def _await_empty_queue(process: LoadProcess, target: Target) -> None:
    """A server that does not answer is given up sooner: the others of its fleet stand idle for it."""
    long, short = Patience(process.clock, FREE_WITHIN_S), Patience(process.clock, ANSWER_WITHIN_S)
    while (length := _queue_length(target)) != 0:
        if isinstance(length, str) and short.is_over:
            raise _NotSettledError(length)
        if long.is_over:
            raise _NotSettledError(f"after {FREE_WITHIN_S:.0f} s {length} prompts are in its queue")
        gevent.sleep(LOOK_EVERY_S)


def _queue_length(target: Target) -> int | str:
    """How many prompts wait and run; in words, why that is not known."""
    answer = target.http.get("/queue", deadline_s=DEADLINE_S, max_bytes=_HEAD_BYTES)
    if isinstance(answer, Failure):
        return f"it does not tell its queue: {answer}"
    queue = parse_queue(answer.status, answer.body)
    return f"it does not tell its queue: {queue.reason}" if isinstance(queue, Damaged) else queue.remaining


def _ask_to_free(target: Target) -> None:
    answer = target.http.post("/free", FREE_BODY, deadline_s=DEADLINE_S)
    if isinstance(answer, Failure):
        raise _NotSettledError(f"POST /free: {answer}")
    if answer.status != _OK:
        raise _NotSettledError(f"POST /free was answered with {answer.status}")


def _await_quiet(process: LoadProcess, target: Target) -> int | None:
    """Until free memory has grown no more for a while; what is free then. Unknown memory cannot be waited for."""
    patience = Patience(process.clock, QUIET_WITHIN_S)
    most, quiet = _free_bytes(target), 0
    while quiet < QUIET_LOOKS and not patience.is_over:
        gevent.sleep(LOOK_EVERY_S)
        free = _free_bytes(target)
        grown = free is not None and (most is None or free > most + GROWN_BYTES)
        most, quiet = (free, 0) if grown else (most, quiet + 1)
    return most


def _free_bytes(target: Target) -> int | None:
    """VRAM that is free on all devices of a server, by its driver; RAM where it runs on the CPU."""
    stats = target.system_stats(DEADLINE_S)
    if not isinstance(stats, SystemStats):
        return None
    known = [device.vram_free_bytes for device in stats.devices if device.vram_free_bytes is not None]
    return sum(known) if known else None


def _in_words(before_bytes: int | None, after_bytes: int | None) -> str:
    if before_bytes is None or after_bytes is None:
        return "it does not tell its memory"
    return f"free memory: {format_size(before_bytes)} before, {format_size(after_bytes)} after"


def _company(target: Target) -> str:
    """Whether it was left alone meanwhile: prompts of others would spoil the reading."""
    length = _queue_length(target)
    if length == 0:
        return ""
    return f"{length} prompts of somebody else are in its queue" if isinstance(length, int) else length
