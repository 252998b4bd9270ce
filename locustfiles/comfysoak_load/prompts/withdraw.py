"""Prompts are taken back from their servers: nobody's GPU works for what nobody waits for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import gevent
import orjson

from comfysoak_core.clock import Clock
from comfysoak_core.comfyui.answers import Damaged, Queue
from comfysoak_load.edge.failures import Failure
from comfysoak_load.edge.http_answers import Answer
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


def take_back_all(ids: Mapping[Target, Sequence[str]], clock: Clock) -> None:
    """Take back all of these from all their servers at once; best effort."""
    asked = [gevent.spawn(take_back, target, there, clock, WITHIN_S) for target, there in ids.items()]
    gevent.joinall(asked, timeout=WITHIN_S)
    gevent.killall(asked, block=False)


def _was_done(answer: Answer | Failure) -> bool:
    return isinstance(answer, Answer) and answer.status == 200


def _undone(answer: Answer | Failure) -> Damaged:
    if isinstance(answer, Answer):
        return Damaged(answer.status, "expected 200", "")
    return Damaged(answer.status or 0, str(answer), "")
