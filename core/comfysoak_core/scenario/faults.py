"""The faults an embedded server can be told to have: `target.embedded.faults`.

When one strikes, in the same words for each kind:

    at: 20s                 once, 20 s after the server's start
    every: 60s              again and again (with `at`: the first time then)
    for: 10s                at each of these times for 10 s, not once
    probability: 2%         each opportunity while active, by chance; without a time: always active
    times: 3                at most three times in all
    server: 0               this server only, counted from 0; otherwise all

An opportunity is what the kind says: a node about to run, a prompt about to start, a request, a message.
Each kind provokes one code of the catalogue (`comfysoak_core.codes`), named in its `CODE`.
"""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field

from comfysoak_core.codes import Code
from comfysoak_core.scenario.quantities import Bytes, Ratio, Seconds


class FaultBase(BaseModel):
    """What all faults have: when they strike, and at which server."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)
    CODE: ClassVar[Code]

    at: Seconds | None = Field(default=None, ge=0)
    every: Seconds | None = Field(default=None, gt=0)
    lasting: Seconds | None = Field(default=None, gt=0, alias="for")
    probability: Ratio | None = Field(default=None, ge=0, le=1)
    times: int | None = Field(default=None, ge=1)
    server: int | None = Field(default=None, ge=0)


class NodeFaultBase(FaultBase):
    """Strikes a node about to run: of class `node`, or any that does work."""

    node: str | None = Field(default=None, max_length=200)


class RequestFaultBase(FaultBase):
    """Strikes requests whose path begins with `path` (with or without /api)."""

    path: str = Field(default="/prompt", pattern="^/")


class DropSockets(FaultBase):
    """A share of the open sockets is cut, without a close frame. Opportunity: a prompt about to start."""

    CODE = Code.WS_ABNORMAL
    kind: Literal["drop-sockets"]
    share: Ratio = Field(default=1.0, gt=0, le=1)


class IdleCut(FaultBase):
    """Sockets with no traffic in either direction for `after` are cut, as by a proxy. Opportunity: such a socket."""

    CODE = Code.WS_IDLE_CUT
    kind: Literal["idle-cut"]
    after: Seconds = Field(default=60.0, gt=0)


class ZombieSockets(FaultBase):
    """The server forgets a share of its sockets; they stay open and silent. Opportunity: a prompt about to start."""

    CODE = Code.WS_ZOMBIE
    kind: Literal["zombie-sockets"]
    share: Ratio = Field(default=1.0, gt=0, le=1)


class SilentSockets(FaultBase):
    """The send loop waits as for a client that does not read: no message to anyone for `for` (20 s), then all."""

    CODE = Code.WS_HEAD_OF_LINE
    kind: Literal["silent-sockets"]


class LoseMessages(FaultBase):
    """Messages of one type are not sent; `executing-null` is the last one of a prompt. Opportunity: such a message."""

    CODE = Code.LOST_TERMINAL
    kind: Literal["lose-messages"]
    type: str = Field(default="executing-null", max_length=100)


class HostileMessages(FaultBase):
    """Before a message comes rubbish: broken JSON, wrong types, unknown kinds, a huge frame. Opportunity: a message."""

    CODE = Code.BAD_MESSAGE
    kind: Literal["hostile-messages"]
    size: Bytes = Field(default=2 * 1024**2, gt=0, description="size of the huge frame")


class LateHistory(FaultBase):
    """History is written `delay` after execution_success, and the last message after it. Opportunity: an end."""

    CODE = Code.HISTORY_RACE
    kind: Literal["late-history"]
    delay: Seconds = Field(default=0.5, gt=0)


class SlowAnswers(RequestFaultBase):
    """Every answer waits for `delay`, as when a node holds the event loop. Opportunity: a request."""

    CODE = Code.LOOP_BLOCKED
    kind: Literal["slow-answers"]
    path: str = Field(default="/", pattern="^/")
    delay: Seconds = Field(default=2.0, gt=0)


class HttpError(RequestFaultBase):
    """The answer is an error of this status. Opportunity: a request."""

    CODE = Code.SUBMIT_ERROR
    kind: Literal["http-error"]
    status: int = Field(default=500, ge=400, le=599)


class Misroute(FaultBase):
    """A prompt is accepted and then known to neither queue nor history. Opportunity: a prompt submitted."""

    CODE = Code.LB_MISROUTED
    kind: Literal["misroute"]


class Vanish(FaultBase):
    """A pending prompt is deleted, as by another client. Opportunity: a prompt about to start; the next one goes."""

    CODE = Code.PROMPT_VANISHED
    kind: Literal["vanish"]


class MissingOutput(FaultBase):
    """A file named in an answer is not there (404). Opportunity: a file saved."""

    CODE = Code.OUTPUT_MISSING
    kind: Literal["missing-output"]


class WrongOutput(FaultBase):
    """A file is not what was asked for: black, of half the size, cut off, empty, or text. Opportunity: a file saved."""

    CODE = Code.OUTPUT_WRONG
    kind: Literal["wrong-output"]
    how: Literal["black", "size", "truncated", "empty", "text"] = "black"


class CorruptOutput(FaultBase):
    """Some pixels differ from what the same prompt gave before. Opportunity: a file saved."""

    CODE = Code.OUTPUT_CORRUPT
    kind: Literal["corrupt-output"]
    pixels: int = Field(default=64, ge=1)


class WorkerDead(FaultBase):
    """The thread that runs prompts dies; HTTP goes on. Opportunity: a prompt about to start."""

    CODE = Code.WORKER_DEAD
    kind: Literal["worker-dead"]


class Hang(NodeFaultBase):
    """A node takes `for` (for ever when not given) and does not look at interrupts."""

    CODE = Code.NODE_HANG
    kind: Literal["hang"]


class Misfire(NodeFaultBase):
    """The prompt is interrupted at this node although nobody asked for it."""

    CODE = Code.INTERRUPT_MISFIRE
    kind: Literal["misfire"]


class NodeError(NodeFaultBase):
    """A node raises."""

    CODE = Code.NODE_ERROR
    kind: Literal["node-error"]
    type: str = Field(default="RuntimeError", max_length=200)
    message: str = Field(default="injected failure", max_length=10_000)


class Oom(NodeFaultBase):
    """A node runs out of memory; `keeps` of VRAM do not come back until a restart."""

    CODE = Code.OOM
    kind: Literal["oom"]
    keeps: Bytes = Field(default=0, ge=0)


class Leak(FaultBase):
    """VRAM (or the memory of the process) grows by `size`. Opportunity: a prompt about to start."""

    CODE = Code.VRAM_LEAK
    kind: Literal["leak"]
    size: Bytes = Field(default=16 * 1024**2, gt=0)
    of: Literal["vram", "ram"] = "vram"


class ForeignMemory(FaultBase):
    """Another process holds `size` of VRAM for `for` (or for good)."""

    CODE = Code.GPU_FOREIGN
    kind: Literal["foreign-memory"]
    size: Bytes = Field(default=4 * 1024**3, gt=0)


class Slow(NodeFaultBase):
    """Nodes take `factor` times as long; with `growth`, more by this share each hour since the start."""

    CODE = Code.LATENCY_DRIFT
    kind: Literal["slow"]
    factor: float = Field(default=3.0, ge=1)
    growth: Ratio = Field(default=0.0, ge=0)


class Throttle(FaultBase):
    """Clocks fall to 1/`factor` and work slows down by it."""

    CODE = Code.THROTTLED
    kind: Literal["throttle"]
    factor: float = Field(default=2.0, gt=1)


class CudaPoisoned(NodeFaultBase):
    """An illegal memory access: this node and every later one fails until a restart."""

    CODE = Code.CUDA_POISONED
    kind: Literal["cuda-poisoned"]


class GpuLost(FaultBase):
    """The GPU falls off the bus: Xid 79, no more readings, every node that uses it fails until a restart."""

    CODE = Code.GPU_LOST
    kind: Literal["gpu-lost"]
    xid: int = Field(default=79, ge=1)


class Restart(FaultBase):
    """The server is killed and comes back after `down` with empty queue, history and number 0."""

    CODE = Code.SERVER_RESTARTED
    kind: Literal["restart"]
    down: Seconds = Field(default=2.0, ge=0)


class Down(FaultBase):
    """The server is killed and refuses connections for `for` (for good when not given)."""

    CODE = Code.SERVER_DOWN
    kind: Literal["down"]


class Frozen(FaultBase):
    """The process stands still (as by SIGSTOP) for `for` (5 s): sockets stay open, nothing answers."""

    CODE = Code.LOOP_BLOCKED
    kind: Literal["frozen"]


Fault = Annotated[
    DropSockets
    | IdleCut
    | ZombieSockets
    | SilentSockets
    | LoseMessages
    | HostileMessages
    | LateHistory
    | SlowAnswers
    | HttpError
    | Misroute
    | Vanish
    | MissingOutput
    | WrongOutput
    | CorruptOutput
    | WorkerDead
    | Hang
    | Misfire
    | NodeError
    | Oom
    | Leak
    | ForeignMemory
    | Slow
    | Throttle
    | CudaPoisoned
    | GpuLost
    | Restart
    | Down
    | Frozen,
    Field(discriminator="kind"),
]
