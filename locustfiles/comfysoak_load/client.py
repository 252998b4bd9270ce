"""A user's side of ComfyUI: one socket, and prompts sent one after the other."""

from __future__ import annotations

import random
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Protocol

import gevent

from comfysoak_core.clock import NS_PER_MS, NS_PER_S
from comfysoak_core.codes import Code
from comfysoak_core.comfyui.expected import files_expected
from comfysoak_core.comfyui.life import PromptLife
from comfysoak_core.comfyui.variation import Draw
from comfysoak_core.rows import Outcome, Prompt
from comfysoak_core.scenario.stage import Block
from comfysoak_load.process.load_process import LoadProcess
from comfysoak_load.prompts.back_off import BackOff
from comfysoak_load.prompts.intent import Intent, mistaken
from comfysoak_load.prompts.order import Order
from comfysoak_load.prompts.prompt_run import PromptRun
from comfysoak_load.prompts.told import Fire, error_of, tell_fetch
from comfysoak_load.prompts.workloads import PreparedWorkload
from comfysoak_load.sockets.connection import Connection

SOCKET_WITHIN_S = 2.0  # an arrival waits so long for a socket that is still opening


def not_at_all() -> None:
    """For prompts that are due already."""


class Client(Protocol):
    """What sends the arrivals of open load; an aim is of its own kind."""

    def connect(self) -> None:
        """Begin to open what it needs."""

    def leave(self) -> None:
        """It is needed no more."""

    def aim(self, numbers: random.Random, workflow: str | None = None, inputs: Mapping[str, Any] | None = None) -> Any:
        """What an arrival sends, and where to."""

    def send(self, aim: Any, due_ns: int, wait: Callable[[], object]) -> Prompt:
        """Make ready what is due at `due_ns`, `wait` until then, send it, and stay with it to its end."""


@dataclass(frozen=True, slots=True)
class Aim:
    """A prompt about to be made: of which workload, with what in it, and where it goes."""

    workload: PreparedWorkload
    drawn: Draw
    connection: Connection
    fetch: bool
    intent: Intent | None = None  # what is out of the ordinary


class ComfyClient:
    """One user of `process`; `fire` tells Locust of each request."""

    def __init__(self, process: LoadProcess, fire: Fire) -> None:
        self._process = process
        self._fire = fire
        self._seat = process.seat()
        self._count = 0
        self._block: Block | None = None
        self._run: PromptRun | None = None
        self._back_off = BackOff()
        self.think_s = 0.0  # how long to pause after the last prompt

    @property
    def busy(self) -> bool:
        """Whether a prompt is open."""
        return self._run is not None

    def connect(self) -> None:
        """Begin to open the socket."""
        self._seat.connect()

    def leave(self) -> None:
        """Close the socket for good."""
        self._seat.leave()

    def generate(self, workflow: str | None = None) -> Prompt:
        """Send one prompt and stay with it to its end: wait, fetch, check; its row as recorded.

        `workflow` names one of the plan; None: drawn from the mix. Waits for the socket first: a user who sees
        "Reconnecting ..." sends nothing; and while the course of the test has a pause, nobody does. A user who was
        stopped meanwhile ends here, as a task may send several: gevent.GreenletExit.
        """
        if self._is_stopping:
            raise gevent.GreenletExit
        aim, think_s = self._next(workflow)
        while not (self._process.sending.is_set() and self._process.fleet.may_have(aim.connection.target)):
            self._process.sending.wait()
            if self._process.block != self._block:
                aim, think_s = self._next(workflow)
                continue
            aim = replace(aim, connection=self._seat.reach(aim.workload.needs(aim.drawn)))
        row = self._see_through(aim, self._process.clock.now_ns(), not_at_all, self._process.sending.wait)
        self.think_s = think_s
        self._back_off.pause_after(row)
        return row

    def _next(self, workflow: str | None) -> tuple[Aim, float]:
        """The next prompt of a user, and the pause after it. Both blocks of a pair begin with the same ones."""
        numbers = self._numbers()  # 2.5 KB a user, which nobody keeps: a prompt may take long
        aim = self._aim(numbers, workflow)
        return aim, numbers.uniform(*aim.workload.think_s)

    def _numbers(self) -> random.Random:
        block = self._process.block
        if block != self._block:
            self._block, self._count = block, 0
        user = self._seat.number if block is None else f"{self._seat.number}/pair {block.pair}"
        self._count += 1
        return self._process.draw(user, self._count - 1)

    def aim(self, numbers: random.Random, workflow: str | None = None, inputs: Mapping[str, Any] | None = None) -> Aim:
        """What an arrival sends, and where to; waits a little for a socket that is still opening.

        `workflow` as for `generate`; `inputs` (`3.seed` -> value) are put into it over what varies.
        """
        return self._aim(numbers, workflow, inputs, SOCKET_WITHIN_S)

    def send(self, aim: Aim, due_ns: int, wait: Callable[[], object] = not_at_all) -> Prompt:
        """Send a prompt that is due at `due_ns`, and stay with it to its end; its row as recorded.

        What does not need to be done at that moment is done before it: `wait` returns when it is due.
        """
        return self._see_through(aim, due_ns, wait, self._process.await_load)

    def _aim(
        self,
        numbers: random.Random,
        workflow: str | None = None,
        inputs: Mapping[str, Any] | None = None,
        within_s: float | None = None,
    ) -> Aim:
        workload = self._process.workload(workflow, numbers)
        drawn = workload.draw(numbers, inputs)
        fetch = workload.fetches(numbers)
        intent = workload.intent(numbers)
        if intent is not None and intent.mistake is not None:
            drawn = mistaken(drawn, intent.mistake)
        return Aim(workload, drawn, self._seat.reach(workload.needs(drawn), within_s), fetch, intent)

    def _see_through(
        self, aim: Aim, due_ns: int, wait: Callable[[], object], wait_again: Callable[[], object]
    ) -> Prompt:
        """One prompt to its end, or to where its user gives up, and then what the user sends again; the last row.

        `wait` returns when the prompt is to leave, `wait_again` when a user may try again.
        """
        run = self._prepare(aim, due_ns)
        wait()
        row = self._run_through(run)
        while run.life.is_left and aim.intent is not None and not self._is_stopping:
            again = aim.intent.next_attempt(run.prompt.id)
            if again is None:
                break
            wait_again()
            aim = replace(
                aim, intent=again, connection=self._seat.reach(aim.workload.needs(aim.drawn), SOCKET_WITHIN_S)
            )
            run = self._prepare(aim, self._process.clock.now_ns())
            row = self._run_through(run)
        return row

    @property
    def _is_stopping(self) -> bool:
        """Whether this user is to leave after its prompt, or the test ends."""
        return self._process.closing or gevent.getcurrent() in self._process.leaving

    def _run_through(self, run: PromptRun) -> Prompt:
        self._run = run
        self._process.begin(run)
        try:
            row = run.run()
        finally:
            if not run.life.is_left:
                self._process.end(run)
            self._run = None
        if run.life.is_left:
            self._process.follow(run)
            row = replace(row, outcome=Outcome.GIVEN_UP, code=Code.GAVE_UP, finished_ns=row.left_ns)  # to its user
        self._note(run, row)
        return row

    def _prepare(self, aim: Aim, due_ns: int) -> PromptRun:
        process, workload, drawn, connection = self._process, aim.workload, aim.drawn, aim.connection
        prompt_id = str(uuid.uuid4())
        prompt = Prompt(
            id=prompt_id,
            server=connection.target.url,
            worker=process.worker,
            client_id=connection.client_id,
            workflow=workload.name,
            phase=process.phase,
            variation=drawn.variation,
            expected=workload.expected,
            scheduled_ns=due_ns,
            deadline_ns=due_ns + round(workload.deadline_s * NS_PER_S),
            outputs_expected=files_expected(drawn.expected),
        )
        if aim.intent is not None:
            prompt = aim.intent.marked(prompt)
        life = PromptLife(
            prompt,
            workload.shape,
            fetch=aim.fetch,
            socket=connection.is_open.is_set(),
            address=connection.target.address,
            leave=None if aim.intent is None else aim.intent.leave(due_ns),
        )
        return PromptRun(prompt, life, _order(aim, prompt_id), connection, process)

    def _note(self, run: PromptRun, row: Prompt) -> None:
        """Tell Locust: three requests a prompt at most."""
        error = error_of(row)
        if run.submit_ms is not None:
            self._fire("submit", row.workflow, run.submit_ms, 0, error if row.accepted_ns is None else None)
        elif row.outcome == Outcome.FAILED and row.finished_ns is not None:  # without its picture it was not sent
            self._fire("upload", row.workflow, (row.finished_ns - row.scheduled_ns) / NS_PER_MS, 0, error)
        if row.accepted_ns is not None and row.finished_ns is not None:
            took_ms = ((row.end_received_ns or row.finished_ns) - row.scheduled_ns) / NS_PER_MS
            taken_back = row.outcome == Outcome.INTERRUPTED and row.cancel_asked_ns is not None
            kind = "cancelled" if taken_back else "generation"  # how long a prompt would have taken is not known then
            self._fire(kind, row.workflow, took_ms, row.message_bytes, error)
        tell_fetch(self._fire, row, run.fetch_ms, error)


def _order(aim: Aim, prompt_id: str) -> Order:
    """What is to be sent under this id."""
    drawn, workload, intent = aim.drawn, aim.workload, aim.intent
    if intent is None:
        return Order(drawn.body(prompt_id, aim.connection.client_id), workload.asked(drawn))
    body = intent.body(drawn, prompt_id, aim.connection.client_id)
    if workload.uploads is None or intent.uploads is None:
        return Order(body, workload.asked(drawn))
    return Order(body, workload.asked(drawn), workload.uploads.delivery(drawn, body, intent.uploads))
