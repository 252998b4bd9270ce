"""One prompt on its way: does what its life needs, and brings it what happens."""

from __future__ import annotations

from dataclasses import replace

import gevent.event

from comfysoak_core.clock import NS_PER_MS, NS_PER_S
from comfysoak_core.comfyui.address import Fall
from comfysoak_core.comfyui.answers import Accepted, Submission
from comfysoak_core.comfyui.asking import FOREVER_NS, Need, Step
from comfysoak_core.comfyui.history import HistoryEntry
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
from comfysoak_core.rows import Outcome, Prompt
from comfysoak_load.edge.failures import Failure
from comfysoak_load.edge.stamps import Arrival
from comfysoak_load.prompts.heard_pictures import HeardPictures
from comfysoak_load.prompts.order import Line, Order, Process
from comfysoak_load.prompts.outputs import Given, check_outputs
from comfysoak_load.prompts.uploads import Delivery
from comfysoak_load.prompts.withdraw import take_back
from comfysoak_load.servers.target import Target

OWN_TIMER_BELOW_NS = NS_PER_S // 2

# After these a life needs nothing sooner than before: its greenlet may sleep on.
_NO_NEWS = frozenset(
    {Status, Progress, ProgressState, PreviewImage, PreviewWithMetadata, Executed, ExecutionStart, ExecutionCached}
)


class PromptRun:
    """Drives one `PromptLife` in the greenlet that calls `run`; listens on the connection meanwhile."""

    __slots__ = (
        "_connection",
        "_due_ns",
        "_news",
        "_order",
        "_pictures",
        "_process",
        "fetch_ms",
        "life",
        "prompt",
        "submit_ms",
        "was_accepted",
    )

    def __init__(self, prompt: Prompt, life: PromptLife, order: Order, connection: Line, process: Process) -> None:
        self.prompt = prompt
        self.life = life
        self.submit_ms: float | None = None
        self.fetch_ms: float | None = None
        self.was_accepted = False
        self._order = order
        self._pictures: HeardPictures | None = None  # of few prompts do any come
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
        self.life.queue_was(self._connection.queue_remaining, self._process.clock.now_ns())
        return self._drive()

    def follow(self) -> Prompt:
        """From where its user left to its end on the server."""
        return self._drive()

    def _drive(self) -> Prompt:
        goes_on = False
        try:
            while not goes_on and (step := self.life.next).need is not Need.DONE:
                if not self._listen_until(step):
                    goes_on = self._do(step)
        finally:
            row = self.life.row if goes_on else self._end()
        return row

    def _end(self) -> Prompt:
        self._connection.unlisten(self)
        self.life.stop(self._process.clock.now_ns())
        self.write_nodes()
        row = self.life.row
        if self._order.pictures is not None:
            refused = row.outcome == Outcome.REJECTED and row.expected != Outcome.REJECTED
            self._order.pictures.release(self.target, refused=refused)
        if not self.target.address.several:  # else nobody knows whose clock it was
            self.target.server_clock.take(row)
        self._process.journal.add(row)
        return row

    def stop(self, why: str | None = None) -> None:
        """End it now, as aborted (with `why`) unless it is known how it ended."""
        self.life.stop(self._process.clock.now_ns(), why)
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
        if not self.life.message(message, arrival.at_ns, arrival.error_ns, size_bytes):
            return
        if type(message) not in _NO_NEWS:
            self._news.set()
        elif isinstance(message, PreviewImage | PreviewWithMetadata):
            self._keep_picture(message)

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

    def _do(self, step: Step) -> bool:
        """Do it; True when the user has left by it, and the prompt goes on."""
        need = step.need
        if need is Need.SEND:
            self._send()
        elif need is Need.ASK_HISTORY:
            self._ask_history()
        elif need is Need.ASK_QUEUE:
            self._ask_queue(step.due_ns)
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
        self._process.self_check.left_late(sent_ns - self.prompt.scheduled_ns)
        if self._order.pictures is not None:
            if not self._deliver(self._order.pictures):
                return
            sent_ns = self._process.clock.now_ns()
        self.life.sent(sent_ns)
        answer = self.target.submit(self._order.body)
        now = self._process.clock.now_ns()
        self.submit_ms = (now - sent_ns) / NS_PER_MS
        if isinstance(answer, Failure):
            self.life.submit_failed(str(answer), now, refused=answer.never_arrived)
        else:
            said = self.life.answered(answer.status, answer.body, now, self.target.standing.remaining)
            self._heed(said, sent_ns)

    def _heed(self, said: Submission, sent_ns: int) -> None:
        """What the answer shows of the server, besides the prompt."""
        if not isinstance(said, Accepted):
            return
        self.was_accepted = True
        self.target.must_tell(sent_ns)
        fall = self.target.numbered(said.number, sent_ns)
        if fall is not Fall.NONE:
            self._process.numbers_fell(self.target, fall, self)

    def _deliver(self, pictures: Delivery) -> bool:
        """Upload its input pictures; whether it can be sent now: not when it was stopped meanwhile."""
        began_ns = self._process.clock.now_ns()
        delivered = pictures.send_to(self.target)
        now = self._process.clock.now_ns()
        if isinstance(delivered, Failure):
            self.life.upload_failed(str(delivered), now, refused=delivered.never_arrived)
            return False
        self.life.uploaded(delivered.variation, now - began_ns, delivered.size_bytes)
        self._order = replace(self._order, body=delivered.body)
        return self.life.next.need is Need.SEND

    def _ask_history(self) -> None:
        answer = self.target.history(self.life.server_id)
        now = self._process.clock.now_ns()
        if isinstance(answer, Failure):
            self.life.server_gone(now)
            return
        if isinstance(answer, HistoryEntry) and self.life.is_odd:
            self.target.doubt(self.life.server_id)
            now = self._process.clock.now_ns()
        before = len(self.life.disagreements)
        self.life.history(answer, now)
        for what in self.life.disagreements[before:]:
            self._process.event("disagreement", server=self.target.url, subject=self.prompt.id, detail=what)

    def _ask_queue(self, since_ns: int) -> None:
        answer = self.target.queue(since_ns)
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
        life = self.life
        heard = self._pictures
        whole = life.heard.gaps == 0 and (heard is None or heard.has_room)
        given = Given(life.outputs, life.texts, {} if heard is None else heard.by_node, whole=whole)
        checked = check_outputs(self.target, given, self._order.asked)
        now = self._process.clock.now_ns()
        if checked is None:
            life.server_gone(now)
            return
        self.fetch_ms = (now - began_ns) / NS_PER_MS
        life.outputs_checked(
            now, received=checked.received, size_bytes=checked.size_bytes, problem=checked.problem, code=checked.code
        )

    def _keep_picture(self, message: PreviewImage | PreviewWithMetadata) -> None:
        """A picture that SaveImageWebsocket sends; those that samplers show on the way are no outputs."""
        node_id = message.node_id if isinstance(message, PreviewWithMetadata) else self.life.heard.nodes.running
        if node_id is not None and self._order.wants_pictures_of(node_id):
            if self._pictures is None:
                self._pictures = HeardPictures()
            self._pictures.keep(node_id, message.image)
