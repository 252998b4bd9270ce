"""A user's side of a gateway: one request after the other, each to its checked pictures or its named failure."""

from __future__ import annotations

import random
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from comfysoak_core.clock import NS_PER_MS, NS_PER_S
from comfysoak_core.errors import UsageError
from comfysoak_core.gateway.api import Wish
from comfysoak_core.gateway.life import GatewayLife
from comfysoak_core.rows import Prompt
from comfysoak_load.client import Client, ComfyClient, not_at_all
from comfysoak_load.gateway.run import GatewayRun
from comfysoak_load.gateway.side import GatewaySide
from comfysoak_load.gateway.workloads import PreparedImages, variation_of
from comfysoak_load.process.load_process import LoadProcess
from comfysoak_load.prompts.back_off import BackOff
from comfysoak_load.prompts.told import Fire, error_of, tell_fetch


def new_client(process: LoadProcess, fire: Fire) -> Client:
    """A client of whatever the test is about: the gateway, or ComfyUI itself."""
    return ComfyClient(process, fire) if process.gateway is None else GatewayClient(process, fire)


@dataclass(frozen=True, slots=True)
class GatewayAim:
    """A request about to be sent: of which workload, and what it asks for."""

    workload: PreparedImages
    wish: Wish
    fetch: bool


class GatewayClient:
    """One user of `process`; `fire` tells Locust of each request."""

    def __init__(self, process: LoadProcess, fire: Fire) -> None:
        if process.gateway is None:
            raise UsageError(
                "this user goes through a gateway, and the scenario has none",
                "Write target: {gateway: {url: http://platform:8080}}, or use ComfyUser.",
            )
        self._process = process
        self._side: GatewaySide = process.gateway
        self._fire = fire
        self._seat = process.seat()
        self._count = 0
        self._open = False
        self._back_off = BackOff()
        self.think_s = 0.0  # how long to pause after the last request

    @property
    def busy(self) -> bool:
        """Whether a request is open."""
        return self._open

    def connect(self) -> None:
        """There is nothing to open: connections are shared."""

    def leave(self) -> None:
        """The user is gone."""
        self._seat.leave()

    def generate(self, workflow: str | None = None) -> Prompt:
        """Ask for pictures once and stay with it to the end: wait, fetch, check; its row as recorded.

        `workflow` names a workload of the plan; None: drawn from the mix. While the course of the test has a pause,
        nothing is sent.
        """
        numbers = self._process.draw(self._seat.number, self._count)
        self._count += 1
        aim = self.aim(numbers, workflow)
        self._process.sending.wait()
        row = self.send(aim, self._process.clock.now_ns())
        self.think_s = numbers.uniform(*aim.workload.think_s)
        self._back_off.pause_after(row)
        return row

    def aim(
        self,
        numbers: random.Random,
        workflow: str | None = None,
        inputs: Mapping[str, Any] | None = None,  # noqa: ARG002  # those of a trace; a gateway takes none
    ) -> GatewayAim:
        """What an arrival asks for."""
        workload = self._side.workload(workflow, numbers)
        return GatewayAim(workload, workload.draw(numbers), workload.fetches(numbers))

    def send(self, aim: GatewayAim, due_ns: int, wait: Callable[[], object] = not_at_all) -> Prompt:
        """Send what is due at `due_ns`, when `wait` returns, and stay with it to its end; its row as recorded."""
        run = self._prepare(aim, due_ns)
        wait()
        self._open = True
        self._side.begin(run)
        try:
            row = run.run()
        finally:
            self._side.end(run)
            self._open = False
        self._note(run, row)
        return row

    def _prepare(self, aim: GatewayAim, due_ns: int) -> GatewayRun:
        process, side, workload = self._process, self._side, aim.workload
        prompt = Prompt(
            id=str(uuid.uuid4()),
            server=side.url,
            worker=process.worker,
            client_id="",
            workflow=workload.name,
            phase=process.phase,
            variation=variation_of(aim.wish),
            expected=workload.expected,
            scheduled_ns=due_ns,
            deadline_ns=due_ns + round(workload.deadline_s * NS_PER_S),
            outputs_expected=workload.images.wanted,
        )
        life = GatewayLife(
            prompt,
            side.api.pictures,
            workload.images.wanted,
            fetch=aim.fetch,
            has_health=side.api.health is not None,
            watched=side.witness.watches,
        )
        return GatewayRun(prompt, life, aim.wish, side, process.clock, process.journal, process.self_check)

    def _note(self, run: GatewayRun, row: Prompt) -> None:
        """Tell Locust: two requests at most."""
        error = error_of(row)
        if row.sent_ns is not None and row.finished_ns is not None:
            ended_ns = row.end_received_ns or min(row.finished_ns, row.deadline_ns or row.finished_ns)
            took_ms = (ended_ns - row.scheduled_ns) / NS_PER_MS
            self._fire("generation", row.workflow, took_ms, row.message_bytes, error)
        tell_fetch(self._fire, row, run.fetch_ms, error)
