"""A run that ends takes its prompts back: nobody's GPU goes on working for it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import gevent
import orjson

if TYPE_CHECKING:
    from comfysoak_load.prompt_run import PromptRun
    from comfysoak_load.target import Target

WITHIN_S = 1.0


def withdraw(runs: Iterable[PromptRun]) -> None:
    """Delete waiting prompts and interrupt running ones, by id, on all their servers at once; best effort."""
    by_target: dict[Target, list[PromptRun]] = {}
    for run in runs:
        if run.life.is_on_server:
            run.life.cancel_asked()
            by_target.setdefault(run.target, []).append(run)
    asked = [gevent.spawn(_withdraw_from, target, found) for target, found in by_target.items()]
    gevent.joinall(asked, timeout=WITHIN_S)
    gevent.killall(asked, block=False)


def _withdraw_from(target: Target, runs: list[PromptRun]) -> None:
    ids = [run.life.server_id for run in runs]
    target.http.post("/queue", orjson.dumps({"delete": ids}), deadline_s=WITHIN_S)
    for run in runs:
        if run.life.heard.start_ns is not None:  # by its id: another client's prompt is not touched
            target.http.post("/interrupt", orjson.dumps({"prompt_id": run.life.server_id}), deadline_s=WITHIN_S)
