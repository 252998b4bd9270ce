"""All prompts that are open end, and are taken back: when a run ends, or a canary waits no longer."""

from __future__ import annotations

from collections.abc import Iterable

from comfysoak_core.clock import Clock
from comfysoak_load.prompts.prompt_run import PromptRun
from comfysoak_load.prompts.withdraw import take_back_all
from comfysoak_load.servers.target import Target


def withdraw(runs: Iterable[PromptRun], clock: Clock) -> None:
    """Take back all of these from all their servers at once; best effort."""
    take_back_all(_still_there(runs, clock), clock)


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
    take_back_all(there, clock)


def _still_there(runs: Iterable[PromptRun], clock: Clock) -> dict[Target, list[str]]:
    now_ns = clock.now_ns()
    by_target: dict[Target, list[str]] = {}
    for run in runs:
        if run.life.is_on_server:
            run.life.cancel_asked(now_ns)
            by_target.setdefault(run.target, []).append(run.life.server_id)
    return by_target
