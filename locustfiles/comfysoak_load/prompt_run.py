"""One prompt on its way: does what its life needs, and brings it what happens."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import gevent.event

from comfysoak_core.clock import NS_PER_S, AnchoredClock
from comfysoak_core.codes import Code
from comfysoak_core.comfyui.answers import Accepted, parse_submission
from comfysoak_core.comfyui.asking import FOREVER_NS, Need, Step
from comfysoak_core.comfyui.expected import UNKNOWN, ExpectedImages
from comfysoak_core.comfyui.history import OutputFile
from comfysoak_core.comfyui.life import PromptLife
from comfysoak_core.comfyui.messages import (
    Executed,
    ExecutionCached,
    ExecutionStart,
    Message,
    PreviewImage,
    PreviewWithMetadata,
    Progress,
    ProgressState,
    Status,
)
from comfysoak_core.recording.journal import Journal
from comfysoak_core.rows import Prompt
from comfysoak_load.connection import Connection
from comfysoak_load.failures import Failure
from comfysoak_load.http_answers import Answer
from comfysoak_load.outputs import Expected, problem_of
from comfysoak_load.stamps import Arrival
from comfysoak_load.target import Target
from comfysoak_load.withdraw import take_back

OWN_TIMER_BELOW_NS = NS_PER_S // 2

# After these a life needs nothing sooner than before: its greenlet may sleep on.
_NO_NEWS = frozenset(
    {Status, Progress, ProgressState, PreviewImage, PreviewWithMetadata, Executed, ExecutionStart, ExecutionCached}
)


@dataclass(frozen=True, slots=True)
class Order:
    """What is to be sent, and what must come back. `images`: output node id -> what it saves."""

    body: bytes
    images: Mapping[str, ExpectedImages]
    noise: bool = False


class Lateness(Protocol):
    """Where the harness keeps how late it was."""

    lateness_max_ns: int


class Process(Protocol):
    """What a prompt on its way asks of the load process it runs in."""

    clock: AnchoredClock
    journal: Journal

    @property
    def self_check(self) -> Lateness:
        """Where it says how late it left."""

    def event(
        self,
        kind: str,
        *,
        server: str | None = None,
        subject: str | None = None,
        code: Code | None = None,
        detail: str = "",
    ) -> None:
        """Journal an event."""

    def restarted(self, target: Target, witness: PromptRun) -> None:
        """`witness` was given a number that shows that its server was restarted."""


class PromptRun:
    """Drives one `PromptLife` in the greenlet that calls `run`; listens on the connection meanwhile."""

    __slots__ = (
        "_connection",
        "_due_ns",
        "_news",
        "_order",
        "_process",
        "fetch_ms",
        "life",
        "prompt",
        "submit_ms",
        "was_accepted",
    )

    def __init__(
        self, prompt: Prompt, life: PromptLife, order: Order, connection: Connection, process: Process
    ) -> None:
        self.prompt = prompt
        self.life = life
        self.submit_ms: float | None = None
        self.fetch_ms: float | None = None
        self.was_accepted = False
        self._order = order
        self._connection = connection
        self._process = process
        self._news = gevent.event.Event()
        self._due_ns = FOREVER_NS

    @property
    def target(self) -> Target:
        """The server it runs on."""
        return self._connection.target

    def run(self) -> Prompt:
        """From sending to the last check; the row as it ends. However this greenlet ends, the row is written.

        When its user gives up (`life.is_left`), the row as it is by then: somebody else has to `follow` it.
        """
        self._process.journal.add_now(self.prompt)
        self._connection.listen(self)
        return self._drive()

    def follow(self) -> Prompt:
        """From where its user left to its end on the server."""
        return self._drive()

    def _drive(self) -> Prompt:
        goes_on = False
        try:
            while not goes_on and (step := self.life.next).need is not Need.DONE:
                if not self._listen_until(step):
                    goes_on = self._do(step.need)
        finally:
            if not goes_on:
                self._end()
        return self.life.row

    def _end(self) -> None:
        self._connection.unlisten(self)
        self.life.stop(self._process.clock.now_ns())
        self.write_nodes()
        self._process.journal.add(self.life.row)

    def stop(self) -> None:
        """End it now, as aborted unless it is known how it ended."""
        self.life.stop(self._process.clock.now_ns())
        self._news.set()

    def wake_if_due(self, now_ns: int) -> None:
        """To be called a few times a second: what is due later than that has no timer of its own."""
        if self._due_ns <= now_ns:
            self._news.set()

    def lose_to_restart(self) -> None:
        """The server was restarted with this prompt in it."""
        self.life.server_restarted(self._process.clock.now_ns())
        self._news.set()

    def write_nodes(self) -> None:
        """Journal the nodes that began or ended since the last call."""
        for node in self.life.take_node_rows():
            self._process.journal.add(node)

    # From the connection, in the event loop: nothing here may block

    def on_message(self, message: Message, arrival: Arrival, size_bytes: int) -> None:
        """Pass it on to the life, and wake up if that may need something now."""
        if self.life.message(message, arrival.at_ns, arrival.error_ns, size_bytes) and type(message) not in _NO_NEWS:
            self._news.set()

    def on_socket_lost(self, at_ns: int) -> None:
        """The life polls until there is a new socket."""
        self.life.socket_lost(at_ns)
        self._news.set()

    def on_socket_reopened(self, at_ns: int) -> None:
        """Nothing is replayed: the life asks what it missed."""
        self.life.socket_reopened(at_ns)
        self._news.set()

    # Steps

    def _listen_until(self, step: Step) -> bool:
        """Wait for news or the time of the step; True when there may be another step now."""
        left_ns = step.due_ns - self._process.clock.now_ns()
        if left_ns <= 0:
            return False
        self._news.clear()
        self._due_ns = step.due_ns
        news = self._news.wait(left_ns / NS_PER_S if left_ns < OWN_TIMER_BELOW_NS else None)
        self._due_ns = FOREVER_NS
        return bool(news)

    def _do(self, need: Need) -> bool:
        """Do it; True when the user has left by it, and the prompt goes on."""
        if need is Need.SEND:
            self._send()
        elif need is Need.ASK_HISTORY:
            self._ask_history()
        elif need is Need.ASK_QUEUE:
            self._ask_queue()
        elif need is Need.FETCH_OUTPUTS:
            self._fetch_outputs()
        elif need is Need.WITHDRAW:
            self._take_back()
        elif need is Need.LEAVE:
            self.life.left(self._process.clock.now_ns())
            return self.life.is_left
        else:
            self.life.tick(self._process.clock.now_ns())
        return False

    def _send(self) -> None:
        sent_ns = self._process.clock.now_ns()
        self.life.sent(sent_ns)
        lateness = self._process.self_check
        lateness.lateness_max_ns = max(lateness.lateness_max_ns, sent_ns - self.prompt.scheduled_ns)
        answer = self.target.submit(self._order.body)
        now = self._process.clock.now_ns()
        self.submit_ms = (now - sent_ns) / 1e6
        if isinstance(answer, Failure):
            self.life.submit_failed(str(answer), now, refused=answer.never_arrived)
            return
        self.life.answered(answer.status, answer.body, now, self.target.queue_remaining)
        submission = parse_submission(answer.status, answer.body)
        if isinstance(submission, Accepted):
            self.was_accepted = True
            if self.target.accepted(submission.number, sent_ns):
                self._process.restarted(self.target, self)

    def _ask_history(self) -> None:
        answer = self.target.history(self.life.server_id)
        now = self._process.clock.now_ns()
        if isinstance(answer, Failure):
            self.life.server_gone(now)
            return
        before = len(self.life.disagreements)
        self.life.history(answer, now)
        for what in self.life.disagreements[before:]:
            self._process.event("disagreement", server=self.target.url, subject=self.prompt.id, detail=what)

    def _ask_queue(self) -> None:
        answer = self.target.queue(self.life.next.due_ns)
        now = self._process.clock.now_ns()
        if isinstance(answer, Failure):
            self.life.server_gone(now)
        else:
            self.life.queue(answer, now)

    def _take_back(self) -> None:
        clock = self._process.clock
        self.life.cancel_asked(clock.now_ns())
        answer = take_back(self.target, (self.life.server_id,), clock)
        now = clock.now_ns()
        if isinstance(answer, Failure):
            self.life.server_gone(now)
        else:
            self.life.withdrawn(answer, now)

    def _fetch_outputs(self) -> None:
        began_ns = self._process.clock.now_ns()
        files = self.life.outputs
        received = size = 0
        problem, code = self._count_problem(files), Code.OUTPUT_WRONG
        for file in files:
            answer = self.target.view(file)
            if isinstance(answer, Failure) and answer.never_arrived:
                self.life.server_gone(self._process.clock.now_ns())
                return
            found, found_code = self._check(file, answer)
            if isinstance(answer, Answer) and answer.status == 200:
                received += 1
                size += len(answer.body)
            if found is not None and (problem is None or found_code is Code.OUTPUT_MISSING):
                problem, code = found, found_code
        now = self._process.clock.now_ns()
        self.fetch_ms = (now - began_ns) / 1e6
        self.life.outputs_checked(now, received=received, size_bytes=size, problem=problem, code=code)

    def _count_problem(self, files: tuple[OutputFile, ...]) -> str | None:
        """Fewer or more files than the workflow saves, node by node."""
        for node_id, images in self._order.images.items():
            count = sum(file.node_id == node_id for file in files)
            if images.count is not None and count != images.count:
                return f"node {node_id} gave {count} files instead of {images.count}"
        return None

    def _check(self, file: OutputFile, answer: Answer | Failure) -> tuple[str | None, Code]:
        if isinstance(answer, Failure):
            return f"{file.filename}: {answer}", Code.OUTPUT_MISSING
        if answer.status != 200:
            return f"{file.filename}: HTTP {answer.status}", Code.OUTPUT_MISSING
        images = self._order.images.get(file.node_id, UNKNOWN)
        problem = problem_of(file.filename, answer.body, Expected(images.width, images.height, self._order.noise))
        return (None if problem is None else f"{file.filename}: {problem}"), Code.OUTPUT_WRONG
