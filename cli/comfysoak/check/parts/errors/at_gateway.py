"""What users of a gateway are shown when the ComfyUI behind it fails, one failure after the other."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Final
from urllib.parse import urlsplit

from comfysoak.check.checking import Checking, failed, ok, skipped
from comfysoak.check.conversation.figures import counted, seconds
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
from comfysoak.check.parts.errors.judging import Shown, of_failure, of_giving_up, of_loss, shown_of
from comfysoak.check.parts.errors.words import Said, words_row
from comfysoak.check.parts.gateway import judging
from comfysoak.check.parts.gateway.change import NotPossibleError
from comfysoak.check.parts.gateway.door import said
from comfysoak.check.parts.gateway.generation import Generation
from comfysoak.check.parts.gateway.visit import Visit
from comfysoak.check.parts.gateway.wishes import telling_wish
from comfysoak.check.row import Row
from comfysoak.check.rows import KINDS, Part
from comfysoak.check.settings import GatewayAccess
from comfysoak_core.codes import CATALOGUE, Code
from comfysoak_core.comfyui.json_text import bounded
from comfysoak_core.comfyui.transport import Answer
from comfysoak_core.errors import TargetError
from comfysoak_core.gateway.sighting import Whereabouts
from comfysoak_core.recording.redaction import known_secrets

PATIENCE_S: Final = 60.0  # of a user of ours; who answers later is not told from who never does
PROMPTS_MOST: Final = 24
GIVES_UP_S: Final = 2.0
RUNS_ON_S: Final = 1.0  # after a cut, as far as is seen: who looks once and finds a quick prompt ended has been lucky
_REACTS_S: Final = 2.0
_CLOSES_S: Final = 2.0
_ENDS_S: Final = 15.0
_IDS: Final = [id_ for id_, kind in KINDS.items() if kind.part is Part.ERRORS]
_AFTERWARDS: Final = ("errors.words", "errors.clean", "errors.serves")


def rows(checking: Checking, access: GatewayAccess) -> Iterator[Row]:
    """All rows of this part."""
    with Visit(checking, access, PROMPTS_MOST) as visit:
        why = obstacle(visit)
        if why:
            yield from (skipped(id_, why) for id_ in _IDS)
            return
        trial = Trial(visit)
        due = list(_IDS)
        for row in _provoked(trial):
            due.remove(row.kind.id)
            yield row
        if trial.before is None:
            yield from (skipped(id_, trial.why) for id_ in due)
            return
        yield from _afterwards(trial)


@dataclass
class Trial:
    """What is seen on the way. `before`: the request that was let through; None: none came through, for `why`."""

    visit: Visit
    before: Generation | None = None
    why: str = ""
    answers: list[Said] = field(default_factory=list)
    open_sockets: dict[str, int] = field(default_factory=dict)  # by row: after an answer, where none should be
    kept_pictures: int = 0  # that nobody knows the id of
    hosts: list[str] = field(default_factory=list)
    is_marked: bool = True  # the text of a request arrives, so that ComfyUI's prompts of ours can be told

    @property
    def patience_s(self) -> float:
        """How long a user of ours waits for an answer to a failure."""
        return min(PATIENCE_S, self.visit.checking.settings.deadline_s)

    def ask(self, within_s: float | None = None) -> Generation:
        """A request for one small picture."""
        visit = self.visit
        wish = telling_wish(
            visit.door.access.api, visit.graph, visit.mappings, visit.range_of, ignores_size=visit.layout.ignores_size
        )
        return visit.generate(replace(wish, n=1), within_s=within_s)

    def shown(self, id_: str, done: Generation, *, is_well: bool | None = None) -> Shown:
        """What was seen of it, and remembered for the row about words."""
        shown = shown_of(done, self.patience_s, is_well=is_well)
        if shown.status and not shown.pictures and shown.status != 200 and isinstance(done.answer, Answer):
            self.answers.append(Said(id_, shown.words, done.answer.body[:100_000].decode("utf-8", "replace")))
        return shown


def _provoked(trial: Trial) -> Iterator[Row]:
    """Every failure."""
    visit = trial.visit
    try:
        visit.checking.say("pointing the gateway at a proxy of ours")
        with standing_between(visit) as (proxy, _):
            if _comes_through(trial, proxy):
                trial.hosts = [urlsplit(url).netloc for url in (proxy.url, visit.checking.known.base_url or "")]
                yield from _behind_the_proxy(trial, proxy)
    except NotBetweenError as error:
        trial.why = str(error)
    if trial.before is not None:
        yield _mapping(trial)


def _comes_through(trial: Trial, proxy: FaultProxy) -> bool:
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


def _behind_the_proxy(trial: Trial, proxy: FaultProxy) -> Iterator[Row]:
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


def _of_fault(trial: Trial, proxy: FaultProxy, id_: str, fault: Fault, what: str) -> Row:
    """A failure that leaves no picture, unless the gateway knows another way."""
    shown, _ = _asked_while(trial, proxy, id_, fault, what)
    if shown.pictures:
        return ok(id_, f"{what}: users {shown}, all the same")
    return of_failure(id_, what, shown)


def _of_loss(trial: Trial, proxy: FaultProxy, id_: str, fault: Fault, what: str) -> Row:
    """A failure after which ComfyUI goes on."""
    shown, done = _asked_while(trial, proxy, id_, fault, what)
    if not proxy.struck:
        return skipped(id_, f"no message was seen to pass for our prompt, so none could be lost: users {shown}")
    return of_loss(id_, what, shown, ran_on=_ran_to_its_end(trial, done))


def _asked_while(trial: Trial, proxy: FaultProxy, id_: str, fault: Fault, what: str) -> tuple[Shown, Generation]:
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


def _look_for_sockets(trial: Trial, proxy: FaultProxy, id_: str, began_ns: int) -> None:
    """An answered request needs its socket no more; not judged where others were at work just then."""
    opened = sum(one.path.endswith("/ws") for one in proxy.asked_since(began_ns))
    if opened <= 1 and not proxy.has_closed(_CLOSES_S):
        trial.open_sockets[id_] = proxy.sockets


def _of_graph(trial: Trial, proxy: FaultProxy, id_: str, graph: Rewrite | str, what: str) -> Row:
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


def _of_giving_up(trial: Trial, proxy: FaultProxy) -> Row:
    """The client goes while a node runs: the socket stands still at that moment, until it has gone."""
    visit = trial.visit
    visit.checking.say("provoking: a client that gives up")
    wait_s = min(GIVES_UP_S, trial.patience_s)
    began_ns = visit.checking.steady_ns()
    with proxy.failing(Fault.HOLDS):
        done = trial.ask(wait_s)
        if not done.hangs and done.count:
            return skipped("errors.gives_up", f"the picture came in {seconds(done.took_s)}, before anybody gave up")
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


def _mapping(trial: Trial) -> Row:
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


def _afterwards(trial: Trial) -> Iterator[Row]:
    visit, checking = trial.visit, trial.visit.checking
    yield words_row(trial.answers, _secrets(visit), trial.hosts)
    checking.say("asking for a picture after all this")
    last = trial.ask()
    checking.say("leaving gateway and server as they were found")
    yield _clean(trial)
    yield _serves(trial, last)


def _clean(trial: Trial) -> Row:
    id_, visit = "errors.clean", trial.visit
    _await_ends(
        visit, lambda: all(trace.entry is not None for trace in visit.behind.ours.values()) if visit.behind else True
    )
    left = visit.tidy()
    problems = list(left.problems)
    if trial.open_sockets:
        where = ", ".join(f"{number} after {id_}" for id_, number in trial.open_sockets.items())
        problems.append(f"sockets to ComfyUI stayed open when the answer had been given: {where}")
    if problems:
        remedy = f"What is named there: close it, delete it, or put it right {judging.SETTINGS}; restart the gateway."
        return failed(id_, "; ".join(problems), remedy)
    told = [
        f"{counted(left.prompts, 'prompt')} of ours were taken out of ComfyUI's history, none is in its queue",
        "the gateway closed the sockets of what it had answered",
        "its configuration is as it was",
    ]
    if not trial.is_marked:
        told.append("its prompt is not mapped, so some of ours may stay in ComfyUI's history: see gateway.fields")
    if left.pictures:
        told.append(f"{counted(left.pictures, 'picture')} of ours were deleted there")
    if trial.kept_pictures:
        told.append(
            f"{counted(trial.kept_pictures, 'picture')} of clients that had gone stay there: nobody is told the id"
        )
    return ok(id_, f"{'; '.join(told)}; ComfyUI keeps the files of what it ran")


def _serves(trial: Trial, last: Generation) -> Row:
    id_ = "errors.serves"
    shown = shown_of(last, trial.visit.checking.settings.deadline_s)
    before = f" (before: {seconds(trial.before.took_s)})" if trial.before is not None else ""
    if shown.pictures:
        return ok(id_, f"users {shown}{before}")
    code = Code.GATEWAY_HANG if shown.hangs else None
    remedy = CATALOGUE[code].remedy if code else "Restart the gateway; its log says what it is still at."
    return failed(id_, f"after all these failures users {shown}{before}", remedy, code=code)


# --- what ComfyUI has ---------------------------------------------------------------------------------------------


def _ran_to_its_end(trial: Trial, done: Generation) -> bool:
    """Whether ComfyUI has ended the prompt of a request, waited for where it is still at it."""
    behind = trial.visit.behind
    if behind is None:
        return False

    def is_over() -> bool:
        return behind.sight(done.mark).whereabouts not in {Whereabouts.RUNS, Whereabouts.WAITS}

    _await_ends(trial.visit, is_over, trial.visit.checking.settings.deadline_s)
    return behind.sight(done.mark).whereabouts is Whereabouts.ENDED


def _await_ends(visit: Visit, is_over: Callable[[], bool], within_s: float = _ENDS_S) -> None:
    latest_s = time.monotonic() + within_s
    while not is_over() and time.monotonic() < latest_s:
        time.sleep(0.1)
        if visit.behind is not None:
            visit.behind.ids()  # looks again


def _memory_bytes(checking: Checking) -> int:
    """Of the machine and its devices; a great number where the server does not say, so that nothing is sent."""
    from comfysoak.check.conversation.access import Access

    with Access.of(checking).client() as client:
        try:
            stats = client.system_stats()
        except TargetError:
            return 2**63
    return (stats.ram_total_bytes or 0) + sum(device.vram_total_bytes or 0 for device in stats.devices)


def _secrets(visit: Visit) -> list[str]:
    document = visit.config.document if visit.config is not None else {}
    key = document.get("COMFYUI_API_KEY")
    return [*known_secrets(), *([key] if isinstance(key, str) else [])]
