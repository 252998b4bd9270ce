"""A user's side of ComfyUI: one socket, and prompts sent one after the other."""

from __future__ import annotations

import random
import uuid
from collections.abc import Callable
from typing import Any

import gevent

from comfysoak_core.clock import NS_PER_MS, NS_PER_S
from comfysoak_core.codes import Code
from comfysoak_core.comfyui.expected import files_expected
from comfysoak_core.comfyui.life import PromptLife
from comfysoak_core.rows import Outcome, Prompt
from comfysoak_load.load_process import LoadProcess
from comfysoak_load.prompt_run import Order, PromptRun
from comfysoak_load.workloads import PreparedWorkload

FIRST_PAUSE_S = 0.5  # after a submission that failed; each further one in a row doubles it
LONGEST_PAUSE_S = 10.0
SOCKET_WITHIN_S = 2.0  # an arrival waits so long for a socket that is still opening

Fire = Callable[..., None]  # Locust's `events.request.fire`


def fire_of(environment: Any) -> Fire:
    """Locust's one seam, with the names its statistics show."""

    def fire(kind: str, name: str, milliseconds: float, size_bytes: int, error: Exception | None) -> None:
        environment.events.request.fire(
            request_type=kind,
            name=name,
            response_time=milliseconds,
            response_length=size_bytes,
            exception=error,
            context={},
        )

    return fire


class LoadError(Exception):
    """What Locust's statistics count: texts from a bounded set, so that they do not grow."""


class ComfyClient:
    """One user of `process`; `fire` tells Locust of each request."""

    def __init__(self, process: LoadProcess, fire: Fire) -> None:
        self._process = process
        self._fire = fire
        self._number, self._connection = process.join("user")
        self._count = 0
        self._run: PromptRun | None = None
        self._pause_s = 0.0
        self.think_s = 0.0  # how long to pause after the last prompt

    @property
    def busy(self) -> bool:
        """Whether a prompt is open."""
        return self._run is not None

    def connect(self) -> None:
        """Begin to open the socket."""
        self._connection.connect()

    def leave(self) -> None:
        """Close the socket for good."""
        self._process.part(self._connection)

    def generate(self, workflow: str | None = None) -> Prompt:
        """Send one prompt and stay with it to its end: wait, fetch, check; its row as recorded.

        `workflow` names one of the plan; None: drawn from the mix. Waits for the socket first: a user who sees
        "Reconnecting ..." sends nothing.
        """
        self._connection.is_open.wait()
        numbers = self._process.draw(self._number, self._count)
        self._count += 1
        workload = self._named(workflow) if workflow is not None else self._process.pick(numbers)
        row = self._run_through(self._prepare(workload, numbers, self._process.clock.now_ns()))
        self.think_s = numbers.uniform(*workload.think_s)
        self._pause_after(row)
        return row

    def await_socket(self) -> None:
        """Wait a little for a socket that is still opening; an arrival is then sent without: it does not wait."""
        self._connection.is_open.wait(SOCKET_WITHIN_S)

    def send(self, numbers: random.Random, due_ns: int) -> Prompt:
        """Send one prompt of the mix that was due at `due_ns`, and stay with it to its end; its row as recorded."""
        return self._run_through(self._prepare(self._process.pick(numbers), numbers, due_ns))

    def _run_through(self, run: PromptRun) -> Prompt:
        self._run = run
        self._process.begin(run)
        try:
            row = run.run()
        finally:
            self._process.end(run)
            self._run = None
        self._note(run, row)
        return row

    def _named(self, name: str) -> PreparedWorkload:
        for workload in self._process.workloads:
            if workload.name == name:
                return workload
        names = ", ".join(workload.name for workload in self._process.workloads)
        raise ValueError(f"no workflow is called {name!r}; there are: {names}")

    def _prepare(self, workload: PreparedWorkload, numbers: random.Random, due_ns: int) -> PromptRun:
        process, connection = self._process, self._connection
        drawn = workload.draw(numbers)
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
        life = PromptLife(prompt, workload.shape, fetch=workload.fetch, socket=connection.is_open.is_set())
        order = Order(drawn.body(prompt_id, connection.client_id), drawn.expected, workload.noise)
        return PromptRun(prompt, life, order, connection, process)

    def _note(self, run: PromptRun, row: Prompt) -> None:
        """Tell Locust: three requests a prompt at most, with names and errors from bounded sets."""
        met = row.outcome == row.expected or (row.outcome == Outcome.CACHED and row.expected == Outcome.SUCCESS)
        error = None if met else LoadError(f"{row.outcome} {row.code or ''}".strip())
        if run.submit_ms is not None:
            refused = row.accepted_ns is None and not met
            self._fire("submit", row.workflow, run.submit_ms, 0, error if refused else None)
        if row.accepted_ns is not None and row.finished_ns is not None:
            took_ms = ((row.end_received_ns or row.finished_ns) - row.scheduled_ns) / NS_PER_MS
            self._fire("generation", row.workflow, took_ms, row.message_bytes, error)
        if run.fetch_ms is not None:
            wrong = row.code in {Code.OUTPUT_MISSING, Code.OUTPUT_WRONG}
            self._fire("fetch", row.workflow, run.fetch_ms, row.output_bytes or 0, error if wrong else None)

    def _pause_after(self, row: Prompt) -> None:
        """A server that takes no prompts is asked less and less often."""
        if row.accepted_ns is not None or row.outcome == row.expected:
            self._pause_s = 0.0
            return
        self._pause_s = min(max(2 * self._pause_s, FIRST_PAUSE_S), LONGEST_PAUSE_S)
        gevent.sleep(self._pause_s * random.uniform(0.5, 1.0))
