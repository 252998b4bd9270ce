"""After the failures, of ComfyUI itself: its words, what is left, and whether it serves."""

from __future__ import annotations

import os
import uuid
from typing import Final
from urllib.parse import urlsplit

from comfysoak.check.checking import failed, ok, skipped, warning
from comfysoak.check.conversation.conversation import Conversation
from comfysoak.check.conversation.figures import counted, seconds, some
from comfysoak.check.conversation.graphs import graph_as_sent
from comfysoak.check.conversation.runs import asked_for
from comfysoak.check.conversation.taking_back import forget
from comfysoak.check.parts.errors import graphs
from comfysoak.check.parts.errors.client_trial import ANSWER_S, BUSY, ClientTrial, took_s
from comfysoak.check.parts.errors.words import ID as WORDS
from comfysoak.check.parts.gateway.generation import mark_of_ours
from comfysoak.check.row import Row
from comfysoak_core.codes import CATALOGUE, Code
from comfysoak_core.comfyui.json_text import bounded
from comfysoak_core.comfyui.shape import GraphShape
from comfysoak_core.comfyui.uncached import uncached

LOG: Final = "Look into the server's log (GET /internal/logs)."


def words_row(trial: ClientTrial) -> Row:
    """ComfyUI's own words are for who works on workflows: causes they must have, and none of our secrets."""
    if not trial.words:
        return skipped(WORDS, "no failure was told in words: see the rows before")
    variable = trial.checking.settings.api_key_variable
    key = os.environ.get(variable, "") if variable else ""
    hosts = [urlsplit(trial.checking.known.base_url or "").netloc, urlsplit(trial.proxy.url).netloc]
    leaking = [id_ for id_, said in trial.words.items() if len(key) >= 6 and key in said]
    if leaking:
        remedy = "Change that key; find the node or the proxy that repeats what it was sent."
        return failed(WORDS, f"the key stands in the answer to {some(leaking)}", remedy)
    naming = [id_ for id_, said in trial.words.items() if any(host and host in said for host in hosts)]
    if naming:
        remedy = "A node or a proxy puts its own address into errors: keep them from users."
        return warning(WORDS, f"an address stands in the answer to {some(naming)}", remedy)
    seen = f"{counted(len(trial.words), 'failure')}, each told with its cause and without key or address"
    return ok(WORDS, f"{seen}; execution_error also has a traceback with paths of the server, which is not for users")


def clean(trial: ClientTrial) -> Row:
    """Ours are taken out of history, and none is left anywhere."""
    id_ = "errors.clean"
    for prompt_id in trial.sent:
        forget(trial.direct, prompt_id)
    ids = [*trial.sent, *(run.row.id for run in trial.runs)]
    left = trial.still_there(ids)
    if left:
        remedy = "Restart the server if it is running them still: nothing that is queued runs before them."
        return failed(
            id_, f"{counted(len(left), 'prompt')} of ours are in queue or history still: {some(left)}", remedy
        )
    if not trial.proxy.has_closed(ANSWER_S):
        seen = f"{counted(trial.proxy.sockets, 'WebSocket')} of ours did not close"
        return failed(id_, seen, "Something between keeps sockets open whose client has gone: look at its timeouts.")
    files = [one.name for run in trial.runs for one in run.outputs if one.file is not None and one.missing is None]
    kept = (
        f"; {counted(len(files), 'file')} stay, those in temp until it starts again: {some(files, 3)}" if files else ""
    )
    return ok(id_, f"of our {counted(len(ids), 'prompt')} none is in queue or history, and no socket is open{kept}")


def serves(trial: ClientTrial, *, has_small: bool) -> Row:
    """The user's workflow where it can be sent, and past the cache; else a little picture."""
    id_, checking = "errors.serves", trial.checking
    known = checking.known
    graph = graph_as_sent(known, checking.settings.variables) if known.is_sendable else None
    if graph is None and not has_small:
        return skipped(id_, "there is no workflow that could be sent, and the server lacks the nodes for one of ours")
    name = "the workflow" if graph is not None else "a little picture"
    sent = (
        uncached(graph, GraphShape.of(graph), str(uuid.uuid4())) if graph is not None else graphs.little(mark_of_ours())
    )
    run = Conversation(checking, asked_for(f"{name} after the failures", sent, None)).run()
    trial.runs.append(run)
    if run.waited_in_vain:
        return skipped(id_, BUSY)
    if run.went_well:
        return ok(
            id_, f"{name} ran to its end in {seconds(took_s(run))}, {counted(len(run.outputs), 'output')} fetched"
        )
    why = run.row.error_message or f"it ended as {run.row.outcome}"
    code = Code(run.row.code) if run.row.code else None
    remedy = CATALOGUE[code].remedy if code else LOG
    return failed(id_, f"{name} did not run to its end after the failures: {bounded(why, 200)}", remedy, code=code)
