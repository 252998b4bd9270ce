"""What any client of the ComfyUI sees when something fails between them, or there: no gateway is looked at."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Final

from comfysoak.check.checking import Checking, failed, ok, skipped, warning
from comfysoak.check.conversation.access import Access
from comfysoak.check.conversation.ear import Ear, NotOpenError
from comfysoak.check.conversation.figures import seconds
from comfysoak.check.conversation.run import Run
from comfysoak.check.conversation.taking_back import take_back
from comfysoak.check.fault_proxy.faults import Fault, Rewrite
from comfysoak.check.fault_proxy.proxy import FaultProxy
from comfysoak.check.parts.errors import graphs
from comfysoak.check.parts.errors.client_afterwards import LOG, clean, serves, words_row
from comfysoak.check.parts.errors.client_trial import ANSWER_S, BUSY, ClientTrial, took_s
from comfysoak.check.row import Row, State
from comfysoak_core.clock import NS_PER_S
from comfysoak_core.codes import Code
from comfysoak_core.comfyui.answers import Accepted, Refused, SystemStats
from comfysoak_core.comfyui.client import ComfyClient
from comfysoak_core.comfyui.history import HistoryEntry
from comfysoak_core.comfyui.json_text import bounded
from comfysoak_core.errors import TargetError
from comfysoak_core.rows import Outcome

FROZEN_S: Final = 2.0  # that a client of ours waits for a frozen server


def rows(checking: Checking, why_not_gateway: str) -> Iterator[Row]:
    """All rows of this part, told of ComfyUI itself."""
    base_url = checking.known.base_url or ""
    with FaultProxy(base_url, "127.0.0.1", checking.steady_ns) as proxy, Access.of(checking).client() as direct:
        trial = ClientTrial(checking, proxy, direct)
        try:
            for row in _rows(trial, why_not_gateway):
                is_told = row.state is not State.SKIPPED and row.kind.id not in _PLAIN
                yield replace(row, seen=f"ComfyUI itself: {row.seen}") if is_told else row
        finally:
            checking.prompts_sent += trial.through.prompts_sent


_PLAIN: Final = frozenset({"errors.clean", "errors.serves"})


def _rows(trial: ClientTrial, why_not_gateway: str) -> Iterator[Row]:
    say, has_small = trial.checking.say, graphs.small(trial.describe)
    lacks = f"the server lacks {graphs.EMPTY} or {graphs.PREVIEW}, of which the prompt for this is made"
    say("provoking: connections that are refused")
    yield _unreachable(trial)
    for id_, fault, judge in (("errors.refused", Fault.NO_SOCKET, _refused),):
        yield _with_a_run(trial, id_, fault, judge) if has_small else skipped(id_, lacks)
    say("provoking: an error of the server")
    yield _server_error(trial)
    say("provoking: a server that freezes")
    yield _frozen(trial)
    for id_, fault, judge in (("errors.cut", Fault.CUTS, _cut), ("errors.lost_end", Fault.LOSES_END, _lost_end)):
        yield _with_a_run(trial, id_, fault, judge) if has_small else skipped(id_, lacks)
    say("provoking: prompts that must fail")
    yield _refused_prompt(trial, "errors.workflow", graphs.broken, f"node 1 ({graphs.PREVIEW}) without its pictures")
    yield _failing(trial, "errors.node", graphs.raising_or_why(trial.describe), "raise")
    yield _failing(trial, "errors.memory", graphs.too_large_or_why(trial.describe, _memory(trial.direct)), "memory")
    yield _refused_prompt(trial, "errors.unknown_node", graphs.unknown, "a class that no server has")
    say("provoking: a client that gives up")
    yield _gives_up(trial) if has_small else skipped("errors.gives_up", lacks)
    yield skipped("errors.mapping", f"a mapping is the gateway's: {why_not_gateway}")
    yield words_row(trial)
    say("asking for a picture after all this")
    last = serves(trial, has_small=has_small)
    yield clean(trial)
    yield last


def _with_a_run(trial: ClientTrial, id_: str, fault: Fault, judge: Callable[[ClientTrial, Run], Row]) -> Row:
    trial.checking.say(f"provoking: {id_.partition('.')[2].replace('_', ' ')}")
    with trial.proxy.failing(fault):
        run = trial.run(id_, graphs.little)
    if run.waited_in_vain:
        return skipped(id_, BUSY)
    if not trial.proxy.struck:
        return skipped(
            id_, f"nothing came that could fail so: {run.row.error_message or run.no_socket or run.row.outcome}"
        )
    return judge(trial, run)


# --- connections --------------------------------------------------------------------------------------------------


def _asked_in_vain(trial: ClientTrial, fault: Fault, timeout_s: float) -> tuple[str, float]:
    """What a client is told when it asks for the queue, and after how many seconds."""
    with trial.proxy.failing(fault), trial.client(timeout_s) as client:
        began_ns = trial.checking.steady_ns()
        try:
            client.queue()
            told = "an answer"
        except TargetError as error:
            told = error.problems[0].what.replace(trial.proxy.url, "it")
        return told, (trial.checking.steady_ns() - began_ns) / NS_PER_S


def _answers_again(trial: ClientTrial) -> str | None:
    """Why it does not; None: it does."""
    with trial.client(ANSWER_S) as client:
        try:
            client.queue()
        except TargetError as error:
            return error.problems[0].what
    return None


def _back(trial: ClientTrial, id_: str, seen: str) -> Row:
    trouble = _answers_again(trial)
    if trouble is not None:
        return failed(id_, f"{seen}; afterwards {trouble}", LOG)
    return ok(id_, f"{seen}; afterwards it answers as before")


def _unreachable(trial: ClientTrial) -> Row:
    told, took_s = _asked_in_vain(trial, Fault.REFUSES, ANSWER_S)
    return _back(trial, "errors.unreachable", f"without a way to it a client is told after {seconds(took_s)}: {told}")


def _frozen(trial: ClientTrial) -> Row:
    told, took_s = _asked_in_vain(trial, Fault.FREEZES, FROZEN_S)
    limit = f"a client with a limit of {FROZEN_S:g} s is told after {seconds(took_s)}: {told}"
    return _back(trial, "errors.frozen", f"{limit}; without a limit it would wait for ever")


def _server_error(trial: ClientTrial) -> Row:
    id_ = "errors.server_error"
    with trial.proxy.failing(Fault.ANSWERS_500):
        try:
            answer = trial.submit(graphs.little)
        except TargetError as error:
            return failed(id_, error.problems[0].what, LOG)
    if isinstance(answer, Accepted | Refused) or not trial.proxy.struck:
        return failed(
            id_, f"our 500 came as {type(answer).__name__}", "Look at what stands between: it hides statuses."
        )
    left = trial.still_there(trial.sent[-1:])
    if left:
        return failed(id_, "answered 500, the prompt is in the queue all the same", LOG, code=Code.SUBMIT_ERROR)
    told = bounded(answer.message.removeprefix("500 "), 80)
    return ok(id_, f"a client is told {told!r}, and nothing of the prompt is in the queue")


def _refused(_trial: ClientTrial, run: Run) -> Row:
    id_ = "errors.refused"
    if run.went_well:
        took = seconds(took_s(run))
        return ok(id_, f"{run.no_socket}; without a socket the result was found by history after {took}")
    return _not_recovered(id_, run, f"{run.no_socket}")


def _cut(_trial: ClientTrial, run: Run) -> Row:
    id_, code = "errors.cut", run.socket_end.code if run.socket_end is not None else "no end"
    what = f"cut as a node began (close code {code}); ComfyUI went on"
    if run.went_well:
        return ok(id_, f"{what}, and history had the result: found {seconds(took_s(run))} after it was sent")
    return _not_recovered(id_, run, what)


def _lost_end(_trial: ClientTrial, run: Run) -> Row:
    id_ = "errors.lost_end"
    if run.went_well:
        took = seconds(took_s(run))
        return ok(id_, f"the last message was swallowed; asked after some silence, history had the end: {took} in all")
    return _not_recovered(id_, run, "the last message was swallowed")


def _not_recovered(id_: str, run: Run, what: str) -> Row:
    why = run.row.error_message or run.history_problem or f"it ended as {run.row.outcome}"
    remedy = "Is GET /history/{id} let through by the proxy before it, and kept by one and the same server?"
    return failed(id_, f"{what}; the result was not found by history: {why}", remedy, code=Code.LOST_TERMINAL)


# --- prompts that must fail ---------------------------------------------------------------------------------------


def _refused_prompt(trial: ClientTrial, id_: str, graph: Rewrite, what: str) -> Row:
    """Refused at once, with what is wrong and where."""
    try:
        answer = trial.submit(graph)
    except TargetError as error:
        return failed(id_, f"{what}: {error.problems[0].what}", LOG)
    if isinstance(answer, Accepted):
        remedy = "What stands between changes prompts, or this server does not validate them: ask it directly."
        return failed(id_, f"{what} was accepted", remedy, code=Code.OUTPUT_DROPPED)
    if not isinstance(answer, Refused):
        remedy = "Something between replaces ComfyUI's words, or it fails where it should refuse: see its log."
        return failed(id_, f"{what}: {bounded(answer.message, 160)}", remedy, code=Code.SUBMIT_ERROR)
    nodes = [f"node {one.node_id} ({one.node_class}): {one.message}" for one in answer.node_problems]
    trial.words[id_] = f"{answer.error_type}: {answer.message} {' '.join(nodes)}"
    told = bounded("; ".join([f"{answer.error_type}: {answer.message}", *nodes]), 240)
    return ok(id_, f"{what} was refused at once (400), and said why: {told}")


def _failing(trial: ClientTrial, id_: str, graph: Rewrite | str, cause: str) -> Row:
    """Accepted, and failing in a node: told on the socket and by history."""
    if isinstance(graph, str):
        return skipped(id_, graph)
    run = trial.run(id_, graph)
    if run.waited_in_vain:
        return skipped(id_, BUSY)
    if run.went_well:
        return skipped(id_, "the server ran to its end what was to fail: it does not do what real nodes do")
    if run.row.outcome not in {Outcome.FAILED, Outcome.OOM} or run.row.error_type is None:
        why = run.row.error_message or f"it ended as {run.row.outcome}"
        return failed(id_, f"a node that must fail was not told to have failed: {bounded(why, 160)}", LOG)
    said = " ".join(f"{run.row.error_type}: {run.row.error_message or ''}".split())
    trial.words[id_] = said
    where = f"node {run.row.node_id} ({run.row.node_class})"
    after = f"after {seconds(took_s(run))} told of {where}: {bounded(said, 200)!r}"
    if cause == "memory" and "memory" not in said.lower() and run.row.outcome != Outcome.OOM:
        return warning(id_, f"{after}, which does not say that memory ran out", LOG, code=Code.OOM)
    unloaded = (
        "; its models were unloaded, so the next prompt loads them again" if run.row.outcome == Outcome.OOM else ""
    )
    return ok(id_, f"{after}{unloaded}")


def _memory(client: ComfyClient) -> int:
    """RAM and VRAM together; more than there can be where the server does not say, so that nothing is sent."""
    try:
        stats: SystemStats = client.system_stats()
    except TargetError:
        return 2**63
    return (stats.ram_total_bytes or 0) + sum(device.vram_total_bytes or 0 for device in stats.devices)


# --- a client that gives up ---------------------------------------------------------------------------------------


def _gives_up(trial: ClientTrial) -> Row:
    """A prompt whose client closes its socket at once: it runs all the same, and can be told by its id."""
    id_, client_id = "errors.gives_up", str(uuid.uuid4())
    access = replace(Access.of(trial.checking), base_url=trial.proxy.url)
    try:
        with Ear(access.socket_url(client_id), access.headers, trial.checking.steady_ns):
            answer = trial.submit(graphs.little, client_id)
    except (NotOpenError, TargetError) as error:
        return skipped(id_, f"it could not be tried: {error}")
    if not isinstance(answer, Accepted):
        return skipped(id_, f"the prompt for it was not accepted: {bounded(answer.message, 120)}")
    ended = _entry_of(trial, trial.sent[-1])
    if ended is None:
        take_back(trial.direct, trial.sent[-1])
        limit = seconds(trial.checking.settings.deadline_s)
        return skipped(id_, f"the prompt of a client that had gone was not run in {limit}; it was taken back")
    how = "POST /queue with delete while it waits, POST /interrupt with its prompt_id while it runs"
    seen = "a client sent a prompt and closed its socket: ComfyUI ran it to its end, as it does; by its id it can be"
    return ok(id_, f"{seen} found in history, and taken back ({how})")


def _entry_of(trial: ClientTrial, prompt_id: str) -> HistoryEntry | None:
    latest_s = time.monotonic() + trial.checking.settings.deadline_s
    while time.monotonic() < latest_s:
        try:
            found = trial.direct.history(prompt_id)
        except TargetError:
            return None
        if isinstance(found, HistoryEntry):
            return found
        time.sleep(0.05)
    return None
