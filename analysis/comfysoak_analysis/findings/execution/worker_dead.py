"""WORKER_DEAD: the server takes prompts and runs none. The rule stands in `stuck`."""

from __future__ import annotations

from collections.abc import Iterable

from comfysoak_analysis.findings.finding import Finding
from comfysoak_analysis.findings.standing import gpu_words, standing
from comfysoak_analysis.findings.stuck import Stuck
from comfysoak_analysis.frames import Run
from comfysoak_analysis.gpu_state import GpuStates
from comfysoak_analysis.text import bounded
from comfysoak_core.codes import Code

_UNLESS = (
    "A node that waits for something without using the GPU, and of which no message came, looks the same; so does a "
    "server that checks whether inputs have changed for so long."
)


def find(run: Run, states: GpuStates) -> Iterable[Finding]:
    """At most one finding, over all servers."""
    yield from standing(run, states, Code.WORKER_DEAD, _words, _UNLESS)


def _words(run: Run, one: Stuck) -> str:
    """How it showed, which prompt it died of, and what was the last thing the server did."""
    if one.prompt_id is None:
        said = f"no prompt ran for {one.lasted_s:.0f} s while up to {one.waiting_most:,} waited"
        said = f"{said}, and HTTP answered" if one.lasted_s else "its worker thread died"
    else:
        of = f" of {bounded(one.workflow, 60)}" if one.workflow else ""
        said = (
            f"prompt {bounded(one.prompt_id, 40)}{of} was the running one for {one.lasted_s:.0f} s and none of its "
            f"nodes began; HTTP answered, and up to {one.waiting_most:,} waited"
        )
    log = f" Its log: “{bounded(one.line, 160)}”." if one.line else ""
    return f"{said}; {gpu_words(one)}.{log}{_before(run, one)}"


def _before(run: Run, one: Stuck) -> str:
    """The last prompt that ended there before, with its error."""
    prompts = run.prompts
    done_at = prompts["done_at"].where((prompts["server"] == one.server) & (prompts["done_at"] <= one.began))
    if done_at.isna().all():
        return ""
    last = prompts.iloc[int(done_at.argmax())]
    ago_s = (one.began - last["done_at"]).total_seconds()
    code = "" if not isinstance(last["code"], str) else f", {last['code']}"
    named = bounded(last["workflow"], 60)
    return f" Before it a prompt of {named} had ended as {last['outcome']}{code}, {ago_s:.1f} s earlier."
