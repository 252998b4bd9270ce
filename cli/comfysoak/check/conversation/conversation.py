"""One prompt of a check, as the platform sends it: a socket of its own, POST /prompt, every message, history, /view.

A second socket listens beside it. Its life is core's (`PromptLife`); here are the socket, the requests and the clock,
and the duty to leave nothing behind: however this ends, the prompt is taken back and forgotten.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable
from contextlib import ExitStack, suppress
from dataclasses import dataclass, replace
from typing import Final, TypeVar

import orjson

from comfysoak.check.checking import Checking
from comfysoak.check.conversation.access import BRIEF_S, Access
from comfysoak.check.conversation.ear import Ear, NotOpenError
from comfysoak.check.conversation.fetching import count_problem, fetched
from comfysoak.check.conversation.figures import counted
from comfysoak.check.conversation.run import Asked, Run
from comfysoak.check.conversation.server_log import Entry, added, read_log, worker_died
from comfysoak.check.conversation.taking_back import STOPS_WITHIN_S, forget, take_back
from comfysoak_core.clock import NS_PER_MS, NS_PER_S
from comfysoak_core.comfyui.answers import Damaged, Queue, SystemStats
from comfysoak_core.comfyui.asking import Need, Patience, Step
from comfysoak_core.comfyui.client import ComfyClient
from comfysoak_core.comfyui.ending import WENT_WELL
from comfysoak_core.comfyui.history import HistoryEntry, NoEntry
from comfysoak_core.comfyui.life import PromptLife
from comfysoak_core.comfyui.messages import Message, Status
from comfysoak_core.errors import TargetError
from comfysoak_core.rows import NodeRun, Outcome, Prompt

_PATIENCE: Final = Patience(
    first_look_ns=4 * NS_PER_S, longest_look_ns=15 * NS_PER_S, without_socket_ns=300 * NS_PER_MS
)
_LISTEN_S: Final = 1.0
_T = TypeVar("_T")
_LATE_S: Final = 0.05  # for what the other socket is still to be told


class _GoneError(Exception):
    """The server refuses connections."""


@dataclass(slots=True)
class _Before:
    """What is read before a prompt is sent."""

    stats: SystemStats | None
    queue: Queue | None
    log: tuple[Entry, ...] | None


class Conversation:
    """One prompt. Call `run` once."""

    def __init__(
        self, checking: Checking, asked: Asked, *, cut_at: Callable[[Message], bool] | None = None, fetch: bool = True
    ) -> None:
        """`cut_at`: the message at which our own network fails; `fetch`: its outputs are wanted."""
        self._checking = checking
        self._asked = asked
        self._cut_at = cut_at
        self._fetch = fetch
        self._access = Access.of(checking)
        self._client = self._access.client()
        self._client_id, self._prompt_id = str(uuid.uuid4()), str(uuid.uuid4())
        self._ear: Ear | None = None
        self._other: Ear | None = None
        self._no_socket: str | None = None
        self._heard = 0
        self._lost = False
        self._sent = False
        self._reopened: str | None = None
        self._died: str | None = None
        self._history_problem: str | None = None
        self._nodes: dict[str, NodeRun] = {}

    @property
    def prompt_id(self) -> str:
        """As the server calls it; until it has answered, as we ask it to."""
        return self._prompt_id

    def run(self) -> Run:
        """From the socket to the last file. TargetError is never raised: what fails is in the run."""
        with ExitStack() as stack:
            stack.callback(self._close_client)
            stack.callback(self._leave_nothing)
            self._open_ears(stack)
            return self._run()

    def _run(self) -> Run:
        before = self._before()
        life = self._new_life()
        died = worker_died(before.log)
        if died is None:
            self._live(life)
        else:
            self._died = died.text
            life.not_sent("the server's worker thread is dead", self._now())
        return self._told(life, before)

    # Before

    def _open_ears(self, stack: ExitStack) -> None:
        """Its own socket and another one, where there are sockets."""
        if not self._checking.known.has_socket:
            self._no_socket = "no WebSocket opened (see url.websocket)"
            return
        try:
            self._ear = stack.enter_context(self._open(self._client_id, self._cut_at))
            self._ear.first_status()
        except NotOpenError as error:
            self._no_socket = str(error)
            return
        with suppress(NotOpenError):
            self._other = stack.enter_context(self._open(str(uuid.uuid4())))
            self._other.first_status()

    def _open(self, client_id: str, cut_at: Callable[[Message], bool] | None = None) -> Ear:
        access = self._access
        return Ear(access.socket_url(client_id), access.headers, self._checking.steady_ns, cut_at=cut_at)

    def _before(self) -> _Before:
        queue = self._asked_or_none(ComfyClient.queue)
        if queue is not None and queue.remaining:
            self._checking.say(f"{self._asked.name}: {counted(queue.remaining, 'prompt')} of others before it")
        else:
            self._checking.say(f"{self._asked.name}: {len(self._asked.graph)} nodes")
        return _Before(self._asked_or_none(ComfyClient.system_stats), queue, read_log(self._client))

    def _new_life(self) -> PromptLife:
        now_ns = self._now()
        deadline_ns = round(self._checking.settings.deadline_s * NS_PER_S)
        prompt = Prompt(
            id=self._prompt_id,
            server=self._access.base_url,
            worker="check",
            client_id=self._client_id,
            workflow=self._asked.name,
            scheduled_ns=now_ns,
            deadline_ns=now_ns + deadline_ns,
        )
        patience = _PATIENCE.within(deadline_ns)
        return PromptLife(prompt, self._asked.shape, fetch=False, socket=self._ear is not None, patience=patience)

    # While it lives

    def _live(self, life: PromptLife) -> None:
        try:
            while (step := life.next).need is not Need.DONE:
                if not self._listen_until(life, step):
                    self._do(life, step)
                self._keep_nodes(life)
        except _GoneError:
            life.server_gone(self._now())
        if self._other is not None:
            self._other.wait(len(self._other.told), _LATE_S)
        self._hear(life)
        self._keep_nodes(life)

    def _listen_until(self, life: PromptLife, step: Step) -> bool:
        """Hear what comes until the step is due; True when there may be another one now."""
        news = self._hear(life)
        left_s = (step.due_ns - self._now()) / NS_PER_S
        if news or left_s <= 0:
            return news
        wait_s = min(left_s, _LISTEN_S)
        if self._ear is None or self._lost:
            self._pause(wait_s)
        else:
            self._ear.wait(self._heard, wait_s)
        return True

    def _pause(self, wait_s: float) -> None:
        """Wait without a socket of its own: the other one's thread tells when something happens."""
        if self._other is not None and self._other.end is None:
            self._other.wait(len(self._other.told), wait_s)
        else:
            time.sleep(wait_s)

    def _hear(self, life: PromptLife) -> bool:
        """Pass on what has come; whether there was anything."""
        ear = self._ear
        if ear is None or self._lost:
            return False
        ended = ear.end is not None or ear.was_cut
        new = ear.told[self._heard :]
        for told in new:
            self._heard += 1
            life.message(told.message, told.at_ns, 0, told.size_bytes)
            self._say_if_waiting(told.message, life)
        if ended:
            self._lost = True
            life.socket_lost(self._now())
            if ear.was_cut:
                self._reopen()
        return bool(new) or ended

    def _say_if_waiting(self, message: Message, life: PromptLife) -> None:
        """While nothing was heard of the prompt yet, the length of the queue (which it is in, too)."""
        if isinstance(message, Status) and (message.queue_remaining or 0) > 1 and not life.heard.messages:
            self._checking.say(
                f"{self._asked.name}: waiting, {counted(message.queue_remaining or 0, 'prompt')} in the queue"
            )

    def _reopen(self) -> None:
        """A new socket with an id of its own: with the old one the server might forget it when it sees the old one go.

        What is told on it is not about the prompt: only history can tell of that.
        """
        try:
            with self._open(str(uuid.uuid4())) as again:
                self._reopened = "" if again.first_status() is not None else "it opened, and no status came"
        except NotOpenError as error:
            self._reopened = str(error)

    def _do(self, life: PromptLife, step: Step) -> None:
        if step.need is Need.SEND:
            self._send(life)
        elif step.need is Need.ASK_HISTORY:
            self._ask_history(life)
        elif step.need is Need.ASK_QUEUE:
            life.queue(self._answer(self._client.queue), self._now())
            self._look_for_the_worker(life)
        else:
            life.tick(self._now())

    def _ask_history(self, life: PromptLife) -> None:
        answer: HistoryEntry | NoEntry | Damaged = self._answer(lambda: self._client.history(life.server_id))
        self._history_problem = _problem_of(answer)
        life.history(answer, self._now())

    def _send(self, life: PromptLife) -> None:
        """POST /prompt on a connection of its own: one that was kept may just have been closed by a proxy."""
        document = {"prompt": self._asked.graph, "client_id": self._client_id, "prompt_id": self._prompt_id}
        transport = self._access.transport()
        self._sent = True
        self._checking.prompts_sent += 1
        life.sent(self._now())
        try:
            answer = transport.request("POST", "/prompt", orjson.dumps(document))
        except TargetError as error:
            life.submit_failed(error.problems[0].what, self._now(), refused=_is_refusal(error))
            return
        finally:
            transport.close()
        life.answered(answer.status, answer.body, self._now())
        self._prompt_id = life.server_id

    def _look_for_the_worker(self, life: PromptLife) -> None:
        """Nothing was heard for a while: if its log says that the worker died, there is nothing to wait for."""
        died = worker_died(read_log(self._client))
        if died is not None and life.row.outcome is None:
            self._died = died.text
            life.stop(self._now(), "the server's worker thread has died")

    def _answer(self, ask: Callable[[], _T | Damaged]) -> _T | Damaged:
        try:
            return ask()
        except TargetError as error:
            if _is_refusal(error):
                raise _GoneError from error
            return Damaged(0, error.problems[0].what, "")

    def _keep_nodes(self, life: PromptLife) -> None:
        self._nodes |= {node.id: node for node in life.take_node_rows()}

    # After

    def _told(self, life: PromptLife, before: _Before) -> Run:
        row = life.row
        told = tuple(self._ear.told) if self._ear is not None else ()
        run = Run(
            asked=self._asked,
            row=row,
            told=told,
            elsewhere=tuple(self._other.told) if self._other is not None else (),
            nodes=tuple(self._nodes.values()),
            cached=life.heard.cached or frozenset(),
            before=before.stats,
            queue_before=before.queue,
            history_problem=self._history_problem if row.outcome in WENT_WELL else None,
            worker_died=self._died,
            no_socket=self._no_socket,
            socket_end=self._ear.end if self._ear is not None else None,
            reopened=self._reopened,
        )
        return self._settled(self._with_outputs(run, life), before)

    def _with_outputs(self, run: Run, life: PromptLife) -> Run:
        if not run.went_well or not self._fetch:
            return run
        outputs = fetched(self._client, self._asked, life.outputs, run.told)
        heard_all = run.socket_end is None and run.no_socket is None
        return replace(run, outputs=outputs, count_problem=count_problem(self._asked, outputs, heard_all=heard_all))

    def _settled(self, run: Run, before: _Before) -> Run:
        """Taken back where it is still there, forgotten where it was; and what the server says afterwards."""
        if not self._sent:
            return run
        at_deadline = None
        stuck = False
        if run.row.outcome in {Outcome.TIMEOUT, Outcome.ABORTED, Outcome.FAILED, Outcome.LOST}:
            at_deadline = self._asked_or_none(ComfyClient.queue)
            stuck = not take_back(self._client, self._prompt_id, self._stops_within_s)
        forgotten = forget(self._client, self._prompt_id)
        self._sent = False  # more cannot be done about it
        return replace(
            run,
            is_stuck=stuck,
            is_forgotten=forgotten,
            queue_at_deadline=at_deadline,
            after=self._asked_or_none(ComfyClient.system_stats),
            log=added(before.log, read_log(self._client)),
        )

    @property
    def _stops_within_s(self) -> float:
        """How long an interrupt is waited for: not longer than the prompt was, and not at all where nothing runs."""
        return 0.0 if self._died is not None else min(STOPS_WITHIN_S, self._checking.settings.deadline_s)

    def _close_client(self) -> None:
        """The one there is by then."""
        self._client.close()

    def _leave_nothing(self) -> None:
        """The end of every way out: an interrupted check takes back what it has on the server."""
        if not self._sent:
            return
        self._client.close()
        with self._access.client(BRIEF_S) as client:
            take_back(client, self._prompt_id, BRIEF_S)
            forget(client, self._prompt_id)

    def _asked_or_none(self, ask: Callable[[ComfyClient], _T]) -> _T | None:
        """The answer; after one that did not come in time the next are waited for only briefly."""
        try:
            return ask(self._client)
        except TargetError as error:
            if isinstance(error.__cause__, TimeoutError):
                self._client.close()
                self._client = self._access.client(BRIEF_S)
            return None

    def _now(self) -> int:
        return self._checking.steady_ns()


def _problem_of(answer: HistoryEntry | NoEntry | Damaged) -> str | None:
    """Why this answer is no entry."""
    if isinstance(answer, HistoryEntry):
        return None
    if isinstance(answer, NoEntry):
        return "it has no entry of the prompt"
    return f"{answer.status} {answer.excerpt}".strip() if answer.status else answer.reason


def _is_refusal(error: TargetError) -> bool:
    return isinstance(error.__cause__, ConnectionRefusedError)
