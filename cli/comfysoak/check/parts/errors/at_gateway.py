"""What users of a gateway are shown when the ComfyUI behind it fails, one failure after the other."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Final
from urllib.parse import urlsplit

from comfysoak.check.checking import Checking, ok, skipped
from comfysoak.check.conversation.figures import seconds
from comfysoak.check.fault_proxy.faults import Fault, Rewrite
from comfysoak.check.fault_proxy.proxy import FaultProxy
from comfysoak.check.parts.errors import graphs
from comfysoak.check.parts.errors.between import (
    BASE_URL,
    NODES,
    NotBetweenError,
    configured,
    obstacle,
    out_of_reach,
    standing_between,
)
from comfysoak.check.parts.errors.gateway_afterwards import afterwards
from comfysoak.check.parts.errors.gateway_trial import BUSY, UserTrial, await_ends, waited
from comfysoak.check.parts.errors.judging import Shown, of_failure, of_giving_up, of_loss, shown_of
from comfysoak.check.parts.gateway.change import NotPossibleError
from comfysoak.check.parts.gateway.door import said
from comfysoak.check.parts.gateway.generation import Generation
from comfysoak.check.parts.gateway.visit import Visit
from comfysoak.check.row import Row
from comfysoak.check.rows import KINDS, Part
from comfysoak.check.settings import GatewayAccess
from comfysoak_core.clock import NS_PER_S
from comfysoak_core.comfyui.json_text import bounded
from comfysoak_core.errors import TargetError
from comfysoak_core.gateway.sighting import Whereabouts

PROMPTS_MOST: Final = 24
GIVES_UP_S: Final = 2.0
RUNS_ON_S: Final = 1.0  # after a cut, as far as is seen: who looks once and finds a quick prompt ended has been lucky
_REACTS_S: Final = 2.0
_CLOSES_S: Final = 2.0
_IDS: Final = [id_ for id_, kind in KINDS.items() if kind.part is Part.ERRORS]


def rows(checking: Checking, access: GatewayAccess) -> Iterator[Row]:
    """All rows of this part."""
    with Visit(checking, access, PROMPTS_MOST) as visit:
        why = obstacle(visit)
        if why:
            yield from (skipped(id_, why) for id_ in _IDS)
            return
        trial = UserTrial(visit)
        due = list(_IDS)
        for row in _provoked(trial):
            due.remove(row.kind.id)
            yield row
        if trial.before is None:
            yield from (skipped(id_, trial.why) for id_ in due)
            return
        yield from afterwards(trial)


def _provoked(trial: UserTrial) -> Iterator[Row]:
    """Every failure."""
    visit = trial.visit
    try:
        visit.checking.say("pointing the gateway at a proxy of ours")
        with standing_between(visit) as proxy:
            if _comes_through(trial, proxy):
                trial.hosts = [urlsplit(url).netloc for url in (proxy.url, visit.checking.known.base_url or "")]
                yield from _behind_the_proxy(trial, proxy)
    except NotBetweenError as error:
        trial.why = str(error)
    if trial.before is not None:
        yield _mapping(trial)


def _comes_through(trial: UserTrial, proxy: FaultProxy) -> bool:
    """Whether a picture is made through the proxy while it passes all on."""
    visit = trial.visit
    visit.checking.say("asking for a picture through it")
    done = trial.ask()
    if done.count and any(one.method == "POST" for one in proxy.passed):
        trial.before = done
        trial.is_marked = done.trace is not None and done.mark in str(done.trace.graph)
        proxy.any_prompt = not trial.is_marked
        proxy.runs_on_s = RUNS_ON_S
        return True
    if done.count:
        trial.why = f"pointed at our proxy, the gateway asked another ComfyUI all the same: is {BASE_URL} all it heeds?"
    elif not proxy.passed:
        host = urlsplit(proxy.url).hostname or ""
        trial.why = out_of_reach(host, visit.config.base_url if visit.config is not None else "")
    else:
        told = said(done.answer) if done.answer is not None else f"no answer in {seconds(done.took_s)}"
        trial.why = f"it makes no picture (through our proxy, which passed all on: {told}): see gateway.generates"
    return False


def _behind_the_proxy(trial: UserTrial, proxy: FaultProxy) -> Iterator[Row]:
    yield _of_fault(trial, proxy, "errors.unreachable", Fault.REFUSES, "ComfyUI refused connections")
    yield _of_fault(trial, proxy, "errors.refused", Fault.NO_SOCKET, "the WebSocket was refused (502)")
    yield _of_fault(trial, proxy, "errors.server_error", Fault.ANSWERS_500, "POST /prompt was answered 500")
    yield _of_fault(trial, proxy, "errors.frozen", Fault.FREEZES, "ComfyUI took connections and answered nothing")
    yield _of_loss(
        trial, proxy, "errors.cut", Fault.CUTS, "the WebSocket was cut 1 s before the prompt was seen to end"
    )
    yield _of_loss(trial, proxy, "errors.lost_end", Fault.LOSES_END, "the message that tells the end was lost")
    yield _of_graph(trial, proxy, "errors.workflow", graphs.broken, "ComfyUI refused the workflow (400)")
    raising = graphs.raising_or_why(trial.visit.described)
    yield _of_graph(trial, proxy, "errors.node", raising, "a node raised")
    too_large = graphs.too_large_or_why(trial.visit.described, _memory_bytes(trial.visit.checking))
    yield _of_graph(trial, proxy, "errors.memory", too_large, "a node asked for more memory than there is")
    yield _of_graph(trial, proxy, "errors.unknown_node", graphs.unknown, "ComfyUI did not know a node class (400)")
    yield _of_giving_up(trial, proxy)


def _of_fault(trial: UserTrial, proxy: FaultProxy, id_: str, fault: Fault, what: str) -> Row:
    """A failure that leaves no picture, unless the gateway knows another way."""
    shown, _ = _asked_while(trial, proxy, id_, fault, what)
    if shown.pictures:
        return ok(id_, f"{what}: users {shown}, all the same")
    return of_failure(id_, what, shown)


def _of_loss(trial: UserTrial, proxy: FaultProxy, id_: str, fault: Fault, what: str) -> Row:
    """A failure after which ComfyUI goes on."""
    shown, done = _asked_while(trial, proxy, id_, fault, what)
    if shown.hangs:  # let go, a gateway that then looks into history fetches what nobody waits for any more
        ended_ns = trial.visit.checking.steady_ns()
        trial.kept_pictures += proxy.waits(lambda: _was_fetched(proxy, ended_ns - NS_PER_S), _CLOSES_S)
    if waited(done):
        return skipped(id_, BUSY)
    if not proxy.struck:
        return skipped(id_, f"no message was seen to pass for our prompt, so none could be lost: users {shown}")
    return of_loss(id_, what, shown, ran_on=_ran_to_its_end(trial, done))


def _asked_while(trial: UserTrial, proxy: FaultProxy, id_: str, fault: Fault, what: str) -> tuple[Shown, Generation]:
    visit = trial.visit
    visit.checking.say(f"provoking: {what}")
    began_ns = visit.checking.steady_ns()
    with proxy.failing(fault):
        done = trial.ask(trial.patience_s)
        hangs = shown_of(done, trial.patience_s).hangs
        shown = trial.shown(id_, done, is_well=visit.is_well if hangs else None)
        if not hangs:
            _look_for_sockets(trial, proxy, id_, began_ns)
    visit.hung = 0  # what hung was cut with the fault's end
    return shown, done


def _look_for_sockets(trial: UserTrial, proxy: FaultProxy, id_: str, began_ns: int) -> None:
    """An answered request needs its socket no more; not judged where others were at work just then."""
    opened = sum(one.path.endswith("/ws") for one in proxy.asked_since(began_ns))
    if opened <= 1 and not proxy.has_closed(_CLOSES_S):
        trial.open_sockets[id_] = proxy.sockets


def _of_graph(trial: UserTrial, proxy: FaultProxy, id_: str, graph: Rewrite | str, what: str) -> Row:
    """A prompt that ComfyUI refuses, or that fails there."""
    if isinstance(graph, str):
        return skipped(id_, graph)
    trial.visit.checking.say(f"provoking: {what}")
    with proxy.rewriting(graph):
        done = trial.ask(trial.patience_s)
    if not proxy.struck:
        return skipped(id_, "our prompt was not seen to pass the proxy")
    if done.trace is None and trial.visit.behind is not None:
        done = replace(done, sighting=trial.visit.behind.sight(proxy.marks[-1]))
    if waited(done):
        return skipped(id_, BUSY)
    entry = done.trace.entry if done.trace is not None else None
    shown = trial.shown(id_, done)
    if entry is not None and entry.failure is None and entry.succeeded:
        return skipped(id_, "ComfyUI ran to its end what was to fail: it does not do what real nodes do")
    return of_failure(id_, what, shown, _knows(done))


def _knows(done: Generation) -> str:
    """What ComfyUI has of it in its history, which the gateway could have told."""
    entry = done.trace.entry if done.trace is not None else None
    if entry is None or entry.failure is None:
        return ""
    failure = entry.failure
    message = " ".join((failure.message or "").split())
    cause = ": ".join(part for part in (failure.error_type, message) if part)
    return f"; ComfyUI's history says {bounded(cause, 160)!r} of node {failure.node_id} ({failure.node_class})"


def _of_giving_up(trial: UserTrial, proxy: FaultProxy) -> Row:
    """The client goes while a node runs: the socket stands still at that moment, until it has gone."""
    visit = trial.visit
    visit.checking.say("provoking: a client that gives up")
    wait_s = min(GIVES_UP_S, trial.patience_s)
    began_ns = visit.checking.steady_ns()
    with proxy.failing(Fault.HOLDS):
        done = trial.ask(wait_s)
        if done.status:
            return skipped("errors.gives_up", f"users {shown_of(done, wait_s)}, before anybody gave up")
        proxy.waits(lambda: _was_taken_back(proxy, began_ns), _REACTS_S)
    ran = _ran_to_its_end(trial, done)
    fetched = ran and proxy.waits(lambda: _was_fetched(proxy, began_ns), _CLOSES_S)
    visit.hung = 0 if proxy.has_closed(_CLOSES_S) else visit.hung
    trial.kept_pictures += fetched
    what = f"a client went away after {seconds(done.took_s)}"
    return of_giving_up(what, taken_back=_was_taken_back(proxy, began_ns), fetched=fetched, ran=ran)


def _was_fetched(proxy: FaultProxy, since_ns: int) -> bool:
    return any(one.path.endswith("/view") for one in proxy.asked_since(since_ns))


def _was_taken_back(proxy: FaultProxy, since_ns: int) -> bool:
    taking = ("/interrupt", "/queue", "/cancel")
    return any(one.method == "POST" and one.path.endswith(taking) for one in proxy.asked_since(since_ns))


def _mapping(trial: UserTrial) -> Row:
    """The gateway's own failure: nothing of it comes to ComfyUI."""
    id_, visit = "errors.mapping", trial.visit
    nodes = visit.config.nodes if visit.config is not None else None
    if not isinstance(nodes, list):
        return skipped(id_, "its mapping cannot be read: see gateway.generates")
    visit.checking.say("provoking: a mapping to a node that is not there")
    wrong = {"type": "", "key": "text", "node_ids": ["comfysoak-is-not-there"], "value": ""}
    try:
        with configured(visit, NODES, [*nodes, wrong]):
            done = trial.ask(trial.patience_s)
    except NotPossibleError as error:
        return skipped(id_, error.why)
    return of_failure(id_, "the mapping named a node that the workflow does not have", trial.shown(id_, done))


# --- what ComfyUI has ---------------------------------------------------------------------------------------------


def _ran_to_its_end(trial: UserTrial, done: Generation) -> bool:
    """Whether ComfyUI has ended the prompt of a request, waited for where it is still at it."""
    behind = trial.visit.behind
    if behind is None:
        return False

    def is_over() -> bool:
        return behind.sight(done.mark).whereabouts not in {Whereabouts.RUNS, Whereabouts.WAITS}

    await_ends(trial.visit, is_over, trial.visit.checking.settings.deadline_s)
    return behind.sight(done.mark).whereabouts is Whereabouts.ENDED


def _memory_bytes(checking: Checking) -> int:
    """Of the machine and its devices; a great number where the server does not say, so that nothing is sent."""
    from comfysoak.check.conversation.access import Access

    with Access.of(checking).client() as client:
        try:
            stats = client.system_stats()
        except TargetError:
            return 2**63
    return (stats.ram_total_bytes or 0) + sum(device.vram_total_bytes or 0 for device in stats.devices)
