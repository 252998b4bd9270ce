"""Open load: sends each prompt when it is due, however many are still on their way.

Arrivals are bound to the clock and not to users: each goes to a client of a pool that has nothing to do, and the pool
grows as it must. An arrival that cannot be sent is a row all the same, with the reason.
"""

from __future__ import annotations

import random
import uuid
from typing import TYPE_CHECKING

import gevent
import gevent.pool

from comfysoak_core.clock import NS_PER_S
from comfysoak_core.rows import Outcome, Prompt
from comfysoak_core.scenario.arrivals import arrival_offsets
from comfysoak_core.scenario.stage import Arrivals, Stage
from comfysoak_load.client import ComfyClient, Fire

if TYPE_CHECKING:
    from comfysoak_load.load_process import LoadProcess

READY_AHEAD_S = 0.5  # sockets are opened so long before they are needed
READY_LEAST = 2


class Dispatcher:
    """The arrivals of one load process; `part` of `parts` that share each stage."""

    def __init__(self, process: LoadProcess, fire: Fire, *, part: int = 0, parts: int = 1) -> None:
        self._process = process
        self._fire = fire
        self._part = part
        self._parts = parts
        self._idle: list[ComfyClient] = []  # the one used last is used next: sockets not needed stay idle
        self._sending = gevent.pool.Group()
        self._waiting: set[gevent.Greenlet] = set()  # of those: for a socket
        self._stage: gevent.Greenlet | None = None

    def enter(self, stage: Stage, number: int, started_ns: int) -> None:
        """Stage `number` began at `started_ns`: arrivals of the one before end, its own begin."""
        self.leave()
        if stage.arrivals is not None:
            self._stage = gevent.spawn(self._dispatch, stage, stage.arrivals, number, started_ns)

    @property
    def on_their_way(self) -> int:
        """Prompts that are due and have not ended."""
        return len(self._sending)

    def leave(self) -> None:
        """No further arrivals; what is due goes on to its end."""
        if self._stage is not None:
            self._stage.kill(block=False)
            self._stage = None

    def stop(self) -> None:
        """No further arrivals; what still waits for a socket is not sent."""
        self.leave()
        gevent.killall(list(self._waiting))

    def _dispatch(self, stage: Stage, arrivals: Arrivals, number: int, started_ns: int) -> None:
        clock = self._process.clock
        numbers = random.Random(f"{self._process.plan.seed}/arrivals/{number}/{self._part}")
        offsets = arrival_offsets(
            stage.duration_s,
            arrivals.rate_per_s,
            arrivals.process,
            numbers,
            part=self._part,
            parts=self._parts,
        )
        ready = arrivals.rate_per_s.highest * READY_AHEAD_S / self._parts
        self._keep_ready(min(max(round(ready), READY_LEAST), self._room(arrivals)))
        for count, offset_s in enumerate(offsets):
            due_ns = started_ns + round(offset_s * NS_PER_S)
            left_ns = due_ns - clock.now_ns()
            if left_ns > 0:
                gevent.sleep(left_ns / NS_PER_S)
            self._arrive(arrivals, f"{number}/{self._part}", count, due_ns)

    def _room(self, arrivals: Arrivals) -> int:
        """How many prompts this process may have on their way."""
        return max(arrivals.in_flight_most // self._parts, 1)

    def _keep_ready(self, clients: int) -> None:
        while len(self._idle) < clients:
            self._idle.append(self._new_client())

    def _new_client(self) -> ComfyClient:
        client = ComfyClient(self._process, self._fire)
        client.connect()
        return client

    def _arrive(self, arrivals: Arrivals, stream: str, count: int, due_ns: int) -> None:
        if len(self._sending) >= self._room(arrivals):
            self._not_sent(stream, count, due_ns, f"{len(self._sending)} prompts were on their way already")
            return
        client = self._idle.pop() if self._idle else self._new_client()
        self._sending.start(gevent.Greenlet(self._send, client, stream, count, due_ns))

    def _send(self, client: ComfyClient, stream: str, count: int, due_ns: int) -> None:
        self._waiting.add(gevent.getcurrent())
        try:
            client.await_socket()
        except gevent.GreenletExit:
            self._not_sent(stream, count, due_ns, "the run ended before its socket was open")
            return
        finally:
            self._waiting.discard(gevent.getcurrent())
        try:
            client.send(self._process.draw(stream, count), due_ns)
        except Exception as error:  # noqa: BLE001  # a mistake in one prompt does not end the test
            self._process.own_error(error)
        finally:
            self._idle.append(client)

    def _not_sent(self, stream: str, count: int, due_ns: int, reason: str) -> None:
        """The row of an arrival that could not be sent."""
        process = self._process
        workload = process.pick(process.draw(stream, count))
        now_ns = process.clock.now_ns()
        process.journal.add(
            Prompt(
                id=str(uuid.uuid4()),
                server=process.targets[0].url,
                worker=process.worker,
                client_id="",
                workflow=workload.name,
                phase=process.phase,
                expected=workload.expected,
                scheduled_ns=due_ns,
                finished_ns=now_ns,
                outcome=Outcome.NOT_SENT,
                error_message=reason,
            )
        )
