"""One server process without its sockets: takes requests as calls, gives messages, and moves only with its clock.

`advance` does all that is due and says when it wants to be called again; nothing happens in between, so an hour
of server life passes as fast as a test moves the clock.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from typing import Any

from comfysoak_core.clock import NS_PER_MS, NS_PER_S
from comfysoak_core.scenario.faults import (
    Down,
    DropSockets,
    FaultBase,
    ForeignMemory,
    Frozen,
    GpuLost,
    LateHistory,
    Leak,
    Misroute,
    Restart,
    SilentSockets,
    Throttle,
    Vanish,
    WorkerDead,
    ZombieSockets,
)
from comfysoak_simulator.execution import Run
from comfysoak_simulator.labour import Pause
from comfysoak_simulator.machine import Machine
from comfysoak_simulator.messages import Message
from comfysoak_simulator.prompt_queue import SECRET_KEYS, Item, PromptQueue, is_canonical_uuid
from comfysoak_simulator.validation import Validator, error, replace_old_classes
from comfysoak_simulator.worker import Worker

Json = Any
Answer = tuple[int, Json]
# Faults that come by the clock, and those of them the sockets suffer rather than the engine.
_MOMENTS: tuple[type[FaultBase], ...] = (
    DropSockets,
    ZombieSockets,
    SilentSockets,
    ForeignMemory,
    Throttle,
    GpuLost,
    Restart,
    Down,
    Frozen,
)
_OF_SOCKETS = (DropSockets, ZombieSockets, SilentSockets, Restart, Down, Frozen)


class Engine:
    """The process of one server. `send` gets each message, `suffer` each fault that is the edge's to do."""

    def __init__(
        self,
        machine: Machine,
        send: Callable[[Message], None],
        suffer: Callable[[FaultBase], None] = lambda _fault: None,
    ) -> None:
        self.machine = machine
        self.worker = Worker(machine, send)
        self.queue = PromptQueue(self._queue_changed)
        self._suffer = suffer
        self._clock = machine.clock
        self._validator = Validator(machine.catalogue, machine.embedded.version, self._input_exists)
        self.counter = 0  # the number of the next prompt that brings none
        self._steps: Iterator[Pause] | None = None
        self._pause: Pause | None = None
        self._owner: str | None = None
        self._flags: dict[str, bool] = {}
        self.worker_is_dead = False
        self.new_id: Callable[[], str] = _new_id

    # --- what clients ask -------------------------------------------------------------------------------------

    def submit(self, body: Json, usage_source: str | None = None) -> Answer:
        """POST /prompt: status and JSON of the answer. Raises whatever ComfyUI's own code would answer 500 for."""
        self.worker.log.write("got prompt")
        number = self._number(body)
        if "prompt" not in body:
            return 400, _refusal(error("no_prompt", "No prompt provided", "No prompt provided"), {})
        prompt_id = self._prompt_id(body)
        if prompt_id is None:
            return 400, _refusal(_BAD_ID, {})
        if self.worker.newer:
            replace_old_classes(body["prompt"], self.machine.catalogue)
        verdict = self._validator.check(body["prompt"], body.get("partial_execution_targets"))
        if verdict.error is not None:
            self.worker.log.write(f"invalid prompt: {verdict.error}")
            return 400, _refusal(verdict.error, verdict.node_errors)
        extra_data = self._extra_data(body, usage_source)
        answer = {"prompt_id": prompt_id, "number": number, "node_errors": verdict.node_errors}
        if self.machine.faults.strike(Misroute, self._clock.now_ns(), subject=prompt_id) is None:
            self.queue.put(Item(number, prompt_id, body["prompt"], extra_data, verdict.outputs))
        return 200, answer

    def interrupt(self, prompt_id: Json = None) -> None:
        """POST /interrupt: of all (no id), or of this prompt if it is running."""
        running = self.queue.running
        if prompt_id:
            if running is None or running.prompt_id != prompt_id:
                self.worker.log.write(f"Prompt {prompt_id} is not currently running, skipping interrupt")
                return
            self.worker.log.write(f"Interrupting prompt {prompt_id}")
        else:
            self.worker.log.write("Global interrupt (no prompt_id specified)")
        self.worker.interrupt_wanted = True

    def cancel(self, prompt_id: str) -> bool:
        """POST /api/jobs/{id}/cancel: whether there was anything to end."""
        running = self.queue.running
        if running is not None and running.prompt_id == prompt_id:
            self.worker.interrupt_wanted = True
            return True
        return self.queue.delete(prompt_id)

    def free(self, *, unload_models: bool, free_memory: bool) -> None:
        """POST /free: done when no prompt runs."""
        if unload_models:
            self._flags["unload_models"] = True
        if free_memory:
            self._flags["free_memory"] = True

    @property
    def queue_info(self) -> dict[str, Json]:
        """The answer to GET /prompt."""
        return {"exec_info": {"queue_remaining": self.queue.remaining}}

    def greet(self, client_id: str) -> list[Message]:
        """What a new socket gets first; the node being run as well, if its prompt is."""
        status = Message("status", {"status": self.queue_info, "sid": client_id}, client_id)
        if self._owner == client_id and self.worker.last_node_id is not None:
            return [status, Message("executing", {"node": self.worker.last_node_id}, client_id)]
        return [status]

    # --- time -------------------------------------------------------------------------------------------------

    def advance(self) -> int | None:
        """Do what is due, at most to the end of one prompt; when to come again (UTC ns), None: when asked something."""
        now_ns = self._clock.now_ns()
        self._strike_by_time(now_ns)
        if not self.worker_is_dead:
            self._run(now_ns)
        return self._next_ns(now_ns)

    def _run(self, now_ns: int) -> None:
        if self._steps is None:
            self._free_if_asked()
            self._begin()
        while self._steps is not None and self._may_go_on(now_ns):
            try:
                self._pause = next(self._steps)
            except StopIteration:
                self._steps = None
                self._pause = None
                self._free_if_asked()
                return
            if self._pause.until_ns == 0:  # only a turn for others
                self._pause = Pause(now_ns, interruptible=False)
                return

    def _may_go_on(self, now_ns: int) -> bool:
        pause = self._pause
        if pause is None or (pause.interruptible and self.worker.interrupt_wanted):
            return True
        return pause.until_ns is not None and pause.until_ns <= now_ns

    def _next_ns(self, now_ns: int) -> int | None:
        due = [end_ns for end_ns, _ in self.machine.endings]
        firing = self.machine.faults.next_firing_ns(_MOMENTS)
        if firing is not None:
            due.append(firing)
        if not self.worker_is_dead:
            if self._steps is None and (self.queue.pending or self._flags):
                due.append(now_ns)
            elif self._pause is not None and self._pause.until_ns is not None:
                due.append(self._pause.until_ns)
        return min(due, default=None)

    def _begin(self) -> None:
        if not self.queue.pending:
            return
        self._strike_at_start()
        item = self.queue.take()
        if item is None:
            return
        self.worker.interrupt_wanted = False
        self._owner = item.client_id
        self._steps = self._prompt(item)

    def _prompt(self, item: Item) -> Iterator[Pause]:
        worker, began_ns = self.worker, self._clock.now_ns()
        run = Run(worker, item)
        try:
            if self.machine.faults.strike(WorkerDead, began_ns, subject=item.prompt_id) is not None:
                raise KeyError("inputs")
            yield from run.steps()
        except (KeyError, AttributeError, TypeError) as trouble:
            self._die(trouble)
            return
        late = self.machine.faults.strike(LateHistory, self._clock.now_ns(), subject=item.prompt_id)
        if late is not None:
            yield Pause(self._clock.now_ns() + round(late.delay * NS_PER_S), interruptible=False)
        worker.last_node_id = None
        self.queue.done(run.report.as_entry())
        if item.client_id is not None:
            worker.send("executing", {"node": None, "prompt_id": item.prompt_id}, item.client_id)
        worker.log.executed((self._clock.now_ns() - began_ns) / NS_PER_S)

    def _die(self, trouble: Exception) -> None:
        """What becomes of the worker thread when a prompt is none that it can run: nothing runs any more."""
        self.worker_is_dead = True
        self.worker.log.write(
            f"Exception in thread Thread-1 (prompt_worker):\nTraceback (most recent call last):\n"
            f"{type(trouble).__name__}: {trouble}"
        )

    def _free_if_asked(self) -> None:
        flags, self._flags = self._flags, {}
        free_memory = flags.get("free_memory", False)
        if flags.get("unload_models", free_memory):
            self.worker.unload_models()
        if free_memory:
            self.worker.cache.clear()
            self.worker.log.cache_made(self.machine.embedded.cache)

    # --- requests in detail -----------------------------------------------------------------------------------

    def _number(self, body: Json) -> float:
        if "number" in body:
            return float(body["number"])
        number = self.counter
        if isinstance(body, dict) and body.get("front"):
            number = -number
        self.counter += 1
        return number

    def _prompt_id(self, body: dict[str, Json]) -> str | None:
        if not self.worker.newer:
            return str(body["prompt_id"]) if "prompt_id" in body else self.new_id()
        wanted = body.get("prompt_id")
        if wanted is None:
            return self.new_id()
        return wanted if is_canonical_uuid(wanted) else None

    def _extra_data(self, body: dict[str, Json], usage_source: str | None) -> dict[str, Json]:
        extra_data: dict[str, Json] = body.get("extra_data", {})
        if "client_id" in body:
            extra_data["client_id"] = body["client_id"]
        if self.worker.newer:
            for key in SECRET_KEYS:
                extra_data.pop(key, None)
            extra_data["create_time"] = self.machine.wall.now_ns() // NS_PER_MS
            if usage_source:
                extra_data["comfy_usage_source"] = usage_source
        elif not isinstance(extra_data, dict):
            raise TypeError("extra_data that is no object")
        return extra_data

    def _input_exists(self, name: str) -> bool:
        return self.machine.files.input_named(name) is not None

    def _queue_changed(self) -> None:
        self.worker.send("status", {"status": self.queue_info}, None)

    # --- faults -----------------------------------------------------------------------------------------------

    def _strike_by_time(self, now_ns: int) -> None:
        self.machine.end_faults(now_ns)
        firing = self.machine.faults.next_firing_ns(_MOMENTS)
        if firing is not None and firing <= now_ns:
            self._strike_moments(now_ns)

    def _strike_at_start(self) -> None:
        """A prompt is about to start."""
        faults, now_ns = self.machine.faults, self._clock.now_ns()
        if not faults.any:
            return
        self._strike_moments(now_ns)
        leak = faults.strike(Leak, now_ns)
        if leak is not None:
            self.machine.leak(leak.size, of_gpu=leak.of == "vram")
        if len(self.queue.pending) > 1 and faults.strike(Vanish, now_ns) is not None:
            self.queue.delete(sorted(self.queue.pending)[1].prompt_id)

    def _strike_moments(self, now_ns: int) -> None:
        for kind in _MOMENTS:
            struck = self.machine.faults.strike_with_end(kind, now_ns)
            if struck is None:
                continue
            fault, end_ns = struck
            if isinstance(fault, _OF_SOCKETS):
                self._suffer(fault)
            undo = self._apply(fault)
            if undo is not None and end_ns is not None:
                self.machine.endings.append((end_ns, undo))

    def _apply(self, fault: FaultBase) -> Callable[[], None] | None:
        """Do to the GPU what a fault says; how to undo it."""
        gpu = self.machine.gpu
        if gpu is None:
            return None
        match fault:
            case ForeignMemory(size=size):
                gpu.add_foreign(size)
                return lambda: gpu.add_foreign(-size)
            case Throttle(factor=factor):
                gpu.throttle(factor, self._clock.now_ns())
                return lambda: gpu.throttle(1.0, self._clock.now_ns())
            case GpuLost(xid=xid):
                gpu.lose(xid)
                return gpu.recover
            case _:
                return None


_BAD_ID = error(
    "invalid_prompt_id",
    "prompt_id must be a valid UUID",
    "prompt_id must be a UUID string in canonical lowercase hyphenated form; omit it to let the server generate one",
)


def _refusal(problem: dict[str, Json], node_errors: dict[str, Json]) -> dict[str, Json]:
    return {"error": problem, "node_errors": node_errors}


def _new_id() -> str:
    return str(uuid.uuid4())
