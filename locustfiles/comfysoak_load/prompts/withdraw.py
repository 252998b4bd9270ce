"""Prompts are taken back: one that its user cancels, or all when a run ends: nobody's GPU works for it then."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

import gevent
import orjson

from comfysoak_core.clock import Clock
from comfysoak_core.comfyui.answers import Damaged, Queue
from comfysoak_load.edge.failures import Failure
from comfysoak_load.edge.http_answers import Answer

if TYPE_CHECKING:
    from comfysoak_load.prompts.prompt_run import PromptRun
    from comfysoak_load.servers.target import Target

WITHIN_S = 1.0
CANCEL_DEADLINE_S = 10.0


def take_back(
    target: Target, prompt_ids: Sequence[str], clock: Clock, deadline_s: float = CANCEL_DEADLINE_S
) -> Queue | Damaged | Failure:
    """Delete what waits of these, and interrupt what runs; the queue in between, Damaged when something went wrong.

    By id, and only where /queue has just shown that it is ours that runs: old servers interrupt whatever runs, whoever
    asks, and of the newer ones each looks at the id a moment before it acts.
    """
    deleted = target.http.post("/queue", orjson.dumps({"delete": list(prompt_ids)}), deadline_s=deadline_s)
    queue = target.queue(clock.now_ns())
    if not isinstance(queue, Queue):
        return queue
    for prompt_id in queue.running:
        if prompt_id in prompt_ids:
            body = orjson.dumps({"prompt_id": prompt_id})
            interrupted = target.http.post("/interrupt", body, deadline_s=deadline_s)
            if not _was_done(interrupted):
                return _undone(interrupted)
    return queue if _was_done(deleted) else _undone(deleted)


def withdraw(runs: Iterable[PromptRun], clock: Clock) -> None:
    """Take back all of these from all their servers at once; best effort."""
    _take_back_all(_still_there(runs, clock), clock)


def abort(
    runs: Iterable[PromptRun], clock: Clock, why: str | None = None, overdue: Iterable[tuple[Target, str]] = ()
) -> None:
    """End all of these (`why` is told in their rows), and take back what is on the servers; best effort.

    They end first: nothing is sent any more, and what servers then tell of an interrupt is not how they ended.
    `overdue` are ids of prompts that nobody waits for any more, and that servers may still have.
    """
    ending = tuple(runs)
    there = _still_there(ending, clock)
    for target, prompt_id in overdue:
        there.setdefault(target, []).append(prompt_id)
    for run in ending:
        run.stop(why)
    _take_back_all(there, clock)


def _still_there(runs: Iterable[PromptRun], clock: Clock) -> dict[Target, list[str]]:
    now_ns = clock.now_ns()
    by_target: dict[Target, list[str]] = {}
    for run in runs:
        if run.life.is_on_server:
            run.life.cancel_asked(now_ns)
            by_target.setdefault(run.target, []).append(run.life.server_id)
    return by_target


def _take_back_all(ids: Mapping[Target, Sequence[str]], clock: Clock) -> None:
    asked = [gevent.spawn(take_back, target, there, clock, WITHIN_S) for target, there in ids.items()]
    gevent.joinall(asked, timeout=WITHIN_S)
    gevent.killall(asked, block=False)


def _was_done(answer: Answer | Failure) -> bool:
    return isinstance(answer, Answer) and answer.status == 200


def _undone(answer: Answer | Failure) -> Damaged:
    if isinstance(answer, Answer):
        return Damaged(answer.status, "expected 200", "")
    return Damaged(answer.status or 0, str(answer), "")
