"""What it means that a run of the workflow did not go well: which row tells it, with the cause and what to do. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from comfysoak.check.checking import failed, skipped, warning
from comfysoak.check.conversation.figures import counted, node, seconds
from comfysoak.check.conversation.run import Run
from comfysoak.check.row import Row
from comfysoak_core.clock import NS_PER_S
from comfysoak_core.codes import CATALOGUE, Code
from comfysoak_core.comfyui.json_text import bounded
from comfysoak_core.comfyui.messages import Progress
from comfysoak_core.rows import Outcome

LOAD, MEMORY, RUN = "models.load", "models.memory", "run.succeeds"
_MESSAGE_CHARACTERS: Final = 400
_LOGIN: Final = re.compile(r"please log ?in|api_key_comfy_org", re.IGNORECASE)
_OF_AN_API_NODE: Final = (
    "This node asks a service on the web, and wants an account's key with each prompt (extra_data.api_key_comfy_org), "
    "which gateways do not send: take a node that works on the server itself."
)


@dataclass(frozen=True, slots=True)
class Trouble:
    """It is told by `row` alone; the others, which cannot be judged because of it, are skipped with `why`."""

    row: Row

    @property
    def row_id(self) -> str:
        """The row that tells it."""
        return self.row.kind.id

    @property
    def why(self) -> str:
        """For the rows that it keeps from being judged."""
        return f"the workflow did not run to its end: see {self.row_id}"


def trouble_of(run: Run, model_nodes: frozenset[str] = frozenset()) -> Trouble | None:
    """None when it went well. `model_nodes`: those that name model files."""
    if run.went_well:
        return None
    if run.worker_died is not None:
        seen = f"the server takes prompts and runs none; its log says: {_cut(run.worker_died)}"
        return _failed(RUN, seen, Code.WORKER_DEAD)
    if run.fell_silent:
        seen = (
            f"{run.asked.name}: in {seconds(_deadline_s(run))} it did not end, and the server answers nothing any more"
        )
        remedy = "Look into the server's log; restart it if it does not come back by itself."
        return Trouble(failed(RUN, seen, remedy, code=Code.LOOP_BLOCKED))
    if run.waited_in_vain:
        return _waited(run)
    if run.row.outcome == Outcome.TIMEOUT:
        return _too_long(run)
    if run.row.outcome == Outcome.OOM:
        return _failed(MEMORY, f"{run.asked.name}: out of memory in {_cause(run)}", Code.OOM)
    code = Code(run.row.code) if run.row.code else None
    if code is Code.NODE_ERROR and _LOGIN.search(run.row.error_message or ""):
        return Trouble(failed(RUN, f"{run.asked.name}: {_cause(run)}", _OF_AN_API_NODE, code=code))
    at_loader = code is Code.NODE_ERROR and run.row.node_id in model_nodes
    if code is None:
        what = run.row.error_message or f"it ended as {run.row.outcome}"
        return Trouble(failed(RUN, f"{run.asked.name}: {_cut(what)}", "Look into the server's log."))
    return _failed(LOAD if at_loader else RUN, f"{run.asked.name}: {_cause(run)}", code)


def _failed(row_id: str, seen: str, code: Code) -> Trouble:
    return Trouble(failed(row_id, seen, _REMEDIES.get(code, CATALOGUE[code].remedy), code=code))


_REMEDIES: Final = {
    Code.NODE_ERROR: "Mend what the exception names; the server's log (GET /internal/logs) has the traceback.",
    Code.INTERRUPT_MISFIRE: (
        "Somebody else interrupted it: find out who calls POST /interrupt, and have them send prompt_id with it."
    ),
    Code.DEADLINE: "Give it more time (--deadline 20m), or look at the node named: a smaller model, fewer steps.",
}


def _cause(run: Run) -> str:
    """The cause, as the server said it."""
    row = run.row
    said = ": ".join(part for part in (row.error_type, row.error_message) if part)
    what = _cut(said) if said else CATALOGUE[Code(row.code)].meaning if row.code else str(row.outcome)
    return what if row.node_id is None else f"{node(run.asked.shape, row.node_id, row.node_class)}: {what}"


def _waited(run: Run) -> Trouble:
    """Others were before it all the time: that says nothing of the workflow."""
    deadline_s = _deadline_s(run)
    before, then = run.queue_before, run.queue_at_deadline
    ahead = before.remaining if before is not None else 0
    left = len([one for one in (*then.running, *then.pending) if one != run.row.id]) if then is not None else 0
    seen = (
        f"it waited {seconds(deadline_s)} behind {counted(ahead, 'prompt')} of others, {left} of them still there then;"
        " it was taken back"
    )
    stands = before is not None and then is not None and before.running and before.running == then.running
    if not stands:
        return Trouble(skipped(RUN, f"{seen}; try again when the server is idle, or with a longer --deadline"))
    seen = f"{seen}; one and the same prompt ran all the time, so it is long, or hangs, or the worker is dead"
    remedy = (
        "Look at that prompt (GET /queue); if it makes no progress, restart the server. Or use a longer --deadline."
    )
    return Trouble(warning(RUN, seen, remedy, code=Code.DEADLINE))


def _too_long(run: Run) -> Trouble:
    """It had begun, and did not end by the deadline."""
    deadline_s = _deadline_s(run)
    running = [one for one in run.nodes if one.ended_ns is None or one.ended_ns >= (run.row.finished_ns or 0)]
    where = node(run.asked.shape, running[-1].node_id, running[-1].node_class) if running else None
    if run.is_stuck and where is None:
        seen = f"it is the running prompt, and in {seconds(deadline_s)} no node of it began; it cannot be interrupted"
        return _failed(RUN, seen, Code.WORKER_DEAD)
    if run.is_stuck:
        seen = f"{where} did not end within {seconds(deadline_s)}, and cannot be interrupted: it is still there"
        return _failed(RUN, seen, Code.NODE_HANG)
    seen = (
        f"not ended within {seconds(deadline_s)}: {where or 'no node'} was running{_progress(run)}; it was taken back"
    )
    return _failed(RUN, seen, Code.DEADLINE)


def _progress(run: Run) -> str:
    last = [told.message for told in run.own if isinstance(told.message, Progress)][-1:]
    return "".join(f", at {one.value:g} of {one.maximum:g}" for one in last if one.value and one.maximum)


def _deadline_s(run: Run) -> float:
    return ((run.row.deadline_ns or run.row.scheduled_ns) - run.row.scheduled_ns) / NS_PER_S


def _cut(text: str) -> str:
    return bounded(" ".join(text.split()), _MESSAGE_CHARACTERS)
