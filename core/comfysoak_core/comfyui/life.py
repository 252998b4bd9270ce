"""The life of one prompt, from the moment it is due to its one outcome, without any I/O.

Tell a `PromptLife` what happens (sent, answered, messages, lost sockets, answers it asked for), and it tells what it
needs next (`next`) and, at any time, its `Prompt` row. However wrong the order of events, it ends in exactly one
outcome, at the latest with `stop`. The driver's duty:

    life = PromptLife(prompt, workflow.shape)
    while (step := life.next).need is not Need.DONE:
        listen until step.due_ns; pass each message on with `message`, and look at `next` again after it
        at step.due_ns do what step.need says, and report it:
            SEND           sent, then answered or submit_failed     ASK_HISTORY    history (or job)
            ASK_QUEUE      queue                                    FETCH_OUTPUTS  outputs_checked
            WAIT           tick                                     LEAVE          left
            WITHDRAW       cancel_asked, then withdrawn
    journal.add(life.row), and all of life.take_node_rows()

and, whenever it happens: socket_lost, socket_reopened, server_gone, server_restarted, stop; cancel_asked also when the
driver takes it back for reasons of its own.
All times are UTC ns of the run's clock. What comes after the end changes nothing.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Final

from comfysoak_core.codes import Code
from comfysoak_core.comfyui.account import Account
from comfysoak_core.comfyui.address import Address
from comfysoak_core.comfyui.answers import Accepted, Damaged, Queue, Refused, Submission, SubmitFailed, parse_submission
from comfysoak_core.comfyui.asking import FOREVER_NS, Asking, Need, Patience, Step
from comfysoak_core.comfyui.ending import Ending, ending_of_accepted, ending_of_refusal, ending_of_unread
from comfysoak_core.comfyui.history import HistoryEntry, Job, NoEntry, NoJob, NoJobsRoute, OutputFile, OutputText
from comfysoak_core.comfyui.json_text import MAX_TEXT, bounded
from comfysoak_core.comfyui.leaving import AFTER_DELETE_NS, Leave, Leaving
from comfysoak_core.comfyui.messages import BadMessage, Executing, ExecutionSuccess, Message, PreviewImage, Status
from comfysoak_core.comfyui.mistakes import UNREADABLE
from comfysoak_core.comfyui.shape import GraphShape
from comfysoak_core.comfyui.whereabouts import Whereabouts
from comfysoak_core.rows import NodeRun, Outcome, Prompt

MAX_HELD: Final = 64  # messages about other prompts that are kept until the server has told our id
MAX_HELD_BYTES: Final = 64 * 1024  # of each
_CLIENT_ERROR: Final = 400

_PATIENCE: Final = Patience()


class _Phase(IntEnum):
    DUE = 0
    SENT = 1  # no answer to POST /prompt yet
    OPEN = 2  # on the server, as far as is known
    ENDED = 3  # over; its history entry is wanted
    FETCHING = 4
    DONE = 5


class PromptLife:
    """One prompt. `prompt` is its row as it begins; `fetch` whether its outputs are wanted.

    `ask_history` False saves a request a prompt: the socket's word is taken where it heard everything.
    `socket` False means that nobody listens, by design: history is polled, and LOST_TERMINAL is no finding.
    `leave`: its user is going to cancel it, or to give up. `address`: what all prompts sent there have shown of it.
    """

    __slots__ = (
        "_accepted_ns",
        "_account",
        "_ask_history",
        "_asking",
        "_doubt",
        "_fetch",
        "_gap_since_seen",
        "_held",
        "_last_look_ns",
        "_leaving",
        "_now_ns",
        "_open_ns",
        "_patience",
        "_phase",
        "_where",
        "heard",
        "server_id",
    )

    def __init__(
        self,
        prompt: Prompt,
        shape: GraphShape,
        *,
        fetch: bool = True,
        ask_history: bool = True,
        socket: bool = True,
        patience: Patience | None = None,
        leave: Leave | None = None,
        address: Address | None = None,
    ) -> None:
        self._account = Account(prompt, shape, listens=socket)
        self.heard = self._account.heard  # what its socket told
        self._fetch = fetch
        self._ask_history = ask_history
        given_ns = None if prompt.deadline_ns is None else prompt.deadline_ns - prompt.scheduled_ns
        self._patience = patience or _PATIENCE.within(given_ns)
        self._asking = Asking(self._patience, socket=socket)
        self.server_id = prompt.id  # what the server calls it: our id, or on old servers one of its own
        self._phase = _Phase.DUE
        self._now_ns = self._open_ns = prompt.scheduled_ns  # `_open_ns`: when it was last known not to have ended
        self._accepted_ns: int | None = None
        self._last_look_ns: int | None = None  # when the question at the deadline was asked
        self._leaving = None if leave is None else Leaving(leave)
        self._gap_since_seen = False
        self._where = Whereabouts(address, listens=socket)
        self._doubt: Ending | None = None  # the submission broke, yet the prompt may have arrived
        self._held: list[tuple[Message, int, int, int]] = []

    # What it needs, and what it is

    @property
    def next(self) -> Step:
        """What the driver does next, and when."""
        phase = self._phase
        if phase is _Phase.DUE:
            return Step(Need.SEND, self._account.prompt.scheduled_ns)
        if phase is _Phase.DONE:
            return Step(Need.DONE, self._now_ns)
        if phase is _Phase.FETCHING:
            return Step(Need.FETCH_OUTPUTS, self._now_ns)
        if self._last_look_ns is not None and phase < _Phase.ENDED:
            return Step(Need.ASK_HISTORY, self._last_look_ns)
        if phase is _Phase.SENT:
            return Step(Need.WAIT, self._deadline_ns)
        if phase is _Phase.OPEN and self._leaving is not None:
            leave = self._leaving.step
            if leave is not None and leave.due_ns <= min(self._asking.due_ns, self._deadline_ns):
                return leave
        if phase is _Phase.OPEN and self._asking.due_ns > self._deadline_ns:
            return Step(Need.WAIT, self._deadline_ns)
        return Step(self._asking.need, self._asking.due_ns)

    @property
    def row(self) -> Prompt:
        """The prompt's row as of now; final once `next` says DONE."""
        return self._account.row

    @property
    def outputs(self) -> tuple[OutputFile, ...]:
        """The files the prompt has put out: by history where it was asked, else by the socket."""
        return self._account.outputs

    @property
    def texts(self) -> tuple[OutputText, ...]:
        """The texts its nodes have shown, likewise."""
        return self._account.texts

    @property
    def disagreements(self) -> tuple[str, ...]:
        """Where socket and history tell different things about it."""
        return self._account.disagreements

    @property
    def is_on_server(self) -> bool:
        """Whether the server may still wait to run it, or run it: what a driver may want to cancel."""
        if self._phase < _Phase.DONE:
            return _Phase.SENT <= self._phase < _Phase.ENDED
        return self._account.fields.get("outcome") in {Outcome.TIMEOUT, Outcome.ABORTED}

    @property
    def is_odd(self) -> bool:
        """Of a prompt that history has: whether its socket told nothing of it, or history did not have it just before.

        One server behind the address would rarely do that.
        """
        return (self.heard.messages == 0 and self.heard.gaps == 0) or self._asking.raced

    @property
    def is_left(self) -> bool:
        """Whether its user has given up; the prompt may go on all the same."""
        return self._leaving is not None and self._leaving.left_ns is not None

    def take_node_rows(self) -> list[NodeRun]:
        """Rows of nodes that began or ended since the last call; a later row of an id replaces the earlier one."""
        return self.heard.nodes.take()

    # Sending

    def queue_was(self, remaining: int | None, at_ns: int) -> None:
        """What its socket was told last of the queue, before it is sent."""
        if self._phase is _Phase.DUE:
            self._where.status(remaining, at_ns)

    def sent(self, at_ns: int) -> None:
        """POST /prompt is about to leave."""
        if self._phase is _Phase.DUE:
            self._phase = _Phase.SENT
            self._where.sent()
            self._account.fields["sent_ns"] = self._open_ns = self._now_ns = at_ns

    def uploaded(self, variation: str, took_ns: int, size_bytes: int) -> None:
        """Its input pictures are on the server, with the names in `variation`; 0 bytes: they had been there before."""
        if self._phase is _Phase.DUE:
            self._account.fields["variation"] = variation
            if size_bytes:
                self._account.fields |= {"upload_took_ns": took_ns, "upload_bytes": size_bytes}

    def upload_failed(self, error: str, at_ns: int, *, refused: bool = False) -> None:
        """An input picture could not be uploaded; `refused`: there was no connection to the server."""
        if self._phase is _Phase.DUE:
            code = Code.SERVER_DOWN if refused else Code.UPLOAD_ERROR
            self._finish(Ending(Outcome.FAILED, code, "upload", bounded(error, MAX_TEXT)), at_ns)

    def not_sent(self, reason: str, at_ns: int) -> None:
        """The harness could not send it (no user free, no socket, ...)."""
        if self._phase is _Phase.DUE:
            self._finish(Ending(Outcome.NOT_SENT, error_message=bounded(reason, MAX_TEXT)), at_ns)

    def answered(self, status: int, body: bytes, at_ns: int, queue_remaining: int | None = None) -> None:
        """The answer to POST /prompt was read; `queue_remaining` is the queue as last told, if the driver knows it."""
        submission = parse_submission(status, body)
        if self._phase is not _Phase.DONE:
            self._account.fields["http_status"] = status
            known = self._where.remaining
            self._account.fields["queue_remaining"] = queue_remaining if known is None else known
            self.submitted(submission, at_ns)

    def submitted(self, submission: Submission, at_ns: int) -> None:
        """What `answered` does, with the answer already read."""
        if self._phase is _Phase.DONE:
            return
        self._now_ns = at_ns
        self._where.answered(at_ns)
        if isinstance(submission, Accepted):
            self._accepted(submission, at_ns)
        elif self._asking.seen:
            self.heard.note_bad("the server runs a prompt it has refused")
        elif isinstance(submission, Refused):
            self._finish(ending_of_refusal(submission), at_ns)
        else:
            self._submission_failed(submission, at_ns)

    def submit_failed(self, error: str, at_ns: int, *, refused: bool = False) -> None:
        """POST /prompt had no answer: `refused`, or broken in a way that leaves open whether it arrived."""
        if self._phase is _Phase.DONE:
            return
        message = bounded(error, MAX_TEXT)
        if refused and not self._asking.seen:
            self._finish(Ending(Outcome.FAILED, Code.SERVER_DOWN, "connection refused", message), at_ns)
        else:
            self.submitted(SubmitFailed(0, message, unsure=True), at_ns)

    # The socket

    def message(self, message: Message, at_ns: int, error_ns: int = 0, size_bytes: int = 0) -> bool:
        """A message came on the socket of this prompt's client; True when it is about this prompt.

        `error_ns` bounds how late `at_ns` may be.
        """
        if self._phase is _Phase.DUE or self._phase is _Phase.DONE:
            if type(message) is Status:
                self._where.status(message.queue_remaining, at_ns)
            return False
        if message.prompt_id != self.server_id and not self._is_mine(message, at_ns, error_ns, size_bytes):
            return False
        self._now_ns = at_ns
        self.heard.take(message, at_ns, error_ns, size_bytes)
        if self._phase < _Phase.ENDED:
            self._after_message(message, at_ns)
        return True

    def socket_lost(self, at_ns: int) -> None:
        """The socket of this prompt's client is gone; what is sent now is lost."""
        self.heard.gap()
        self._where.gap(at_ns, heard=self.heard.messages > 0)
        self._gap_since_seen = True
        self._asking.socket_lost(at_ns)

    def socket_reopened(self, at_ns: int) -> None:
        """A new socket with the same clientId is open."""
        if self._phase is _Phase.OPEN:
            self._now_ns = at_ns
            self._asking.socket_back(at_ns)

    # Answers it asked for

    def history(self, answer: HistoryEntry | NoEntry | Damaged, at_ns: int) -> None:
        """The answer to GET /history/{server_id}; a request that had none is `Damaged` too."""
        if not _Phase.SENT <= self._phase <= _Phase.ENDED:
            return
        self._now_ns = at_ns
        if isinstance(answer, HistoryEntry):
            self._take_entry(answer, at_ns)
        elif self._phase is _Phase.ENDED:
            if isinstance(answer, Damaged) and answer.status:  # none: it was another route that did not answer
                self.heard.note_bad(f"/history answered {answer.status}: {answer.reason}")
            if self._asking.entry_missing(at_ns):
                self._account.disagree("the prompt has ended, but history never had it")
                self._conclude(at_ns)
        elif self._last_look_ns is not None:
            self._time_out(at_ns)
        elif isinstance(answer, NoEntry):
            if self._leaving is not None and self._leaving.gone:
                self._vanish(at_ns)
            else:
                self._asking.history_empty(at_ns)
        else:
            self._asking.failed(at_ns)

    def queue(self, answer: Queue | Damaged, at_ns: int) -> None:
        """The answer to GET /queue."""
        if self._phase is not _Phase.OPEN:
            return
        self._now_ns = at_ns
        if isinstance(answer, Damaged):
            self._asking.failed(at_ns)
        elif self.server_id in answer:
            self._found(at_ns)
        elif self._asking.missed(at_ns, several=self._where.several):
            self._vanish(at_ns)

    def job(self, answer: Job | NoJob | NoJobsRoute | Damaged, at_ns: int) -> None:
        """The answer to GET /api/jobs/{server_id}, which stands for history and queue at once."""
        if isinstance(answer, Job):
            if answer.entry is not None:
                self.history(answer.entry, at_ns)
            elif self._phase is _Phase.OPEN and self._last_look_ns is None:
                self._found(at_ns)
            else:
                self.history(NoEntry(), at_ns)
        elif isinstance(answer, NoJob) and self._phase is _Phase.OPEN and self._last_look_ns is None:
            if self._asking.missed(at_ns, several=self._where.several):
                self._vanish(at_ns)
        else:
            self.history(NoEntry() if isinstance(answer, NoJob) else Damaged(0, "no job", ""), at_ns)

    def outputs_checked(
        self, at_ns: int, *, received: int, size_bytes: int, problem: str | None = None, code: Code | None = None
    ) -> None:
        """All outputs were fetched and checked; with a `problem`, `code` says which (OUTPUT_MISSING, OUTPUT_WRONG)."""
        if self._phase is not _Phase.FETCHING:
            return
        self._account.fields |= {
            "fetched_ns": at_ns,
            "outputs_received": received,
            "output_bytes": size_bytes,
            "outputs_ok": problem is None,
            "output_problem": None if problem is None else bounded(problem, MAX_TEXT),
        }
        wrong = None if problem is None else code or Code.OUTPUT_WRONG
        self._finish(self._account.ending(wrong, problem), at_ns)

    # Time, and ends from outside

    def tick(self, at_ns: int) -> None:
        """Time has passed: call it when `next` says WAIT and `due_ns` has come; harmless at any other time."""
        if self._phase not in {_Phase.SENT, _Phase.OPEN}:
            return
        if at_ns >= self._deadline_ns:
            self.deadline_passed(at_ns)
        elif self._phase is _Phase.OPEN and self._asking.need is Need.WAIT and at_ns >= self._asking.due_ns:
            self._asking.ask(at_ns)

    def deadline_passed(self, at_ns: int) -> None:
        """The deadline has come: one last look into history, then it is a timeout."""
        if self._phase not in {_Phase.SENT, _Phase.OPEN}:
            return
        self._now_ns = at_ns
        if self._last_look_ns is None:
            self._last_look_ns = at_ns
        elif at_ns >= self._last_look_ns + self._patience.last_look_ns:
            self._time_out(at_ns)

    def server_gone(self, at_ns: int) -> None:
        """The server refuses connections: what was in it is lost."""
        self._lose(Code.SERVER_DOWN, at_ns)

    def server_restarted(self, at_ns: int) -> None:
        """The server that answers now is not the one that took the prompt."""
        self._lose(Code.SERVER_RESTARTED, at_ns)

    def left(self, at_ns: int) -> None:
        """Its user waits no longer: nobody wants the outputs, and its outcome is `given_up`, however it ends."""
        if self._phase is _Phase.OPEN and self._leaving is not None and self._leaving.plan.give_up:
            self._leaving.left_ns = self._account.fields["left_ns"] = at_ns
            self._fetch = False

    def cancel_asked(self, at_ns: int) -> None:
        """The harness is about to delete or interrupt this prompt: an interrupt is no misfire then."""
        if self._phase is _Phase.DUE or self._phase is _Phase.DONE:
            return
        self._account.cancel_asked = True
        self._account.fields.setdefault("cancel_asked_ns", at_ns)
        if self._leaving is not None:
            self._leaving.asked(at_ns)

    def withdrawn(self, queue: Queue | Damaged, at_ns: int) -> None:
        """The server was asked to delete it, has `queue` since, and was asked to interrupt it if it runs there."""
        if self._phase is not _Phase.OPEN or self._leaving is None:
            return
        self._now_ns = at_ns
        self._leaving.answered(queue, self.server_id, at_ns)
        if self._leaving.gone:
            self._asking.ask(at_ns + AFTER_DELETE_NS)

    def stop(self, at_ns: int, why: str | None = None) -> None:
        """The run ends (or this part of it, and `why`): whatever is known by now is its end."""
        if self._phase is _Phase.DUE:
            self.not_sent("the run ended before it was due", at_ns)
        elif self._phase is _Phase.DONE:
            return
        elif self._account.how is not None:
            self._fetch = False
            self._conclude(at_ns)
        else:
            self._finish(self._unproven() or Ending(Outcome.ABORTED, error_message=why), at_ns)

    # Inside

    @property
    def _deadline_ns(self) -> int:
        if self._leaving is not None and self._leaving.deadline_ns is not None:
            return self._leaving.deadline_ns
        deadline_ns = self._account.prompt.deadline_ns
        return FOREVER_NS if deadline_ns is None else deadline_ns

    def _accepted(self, answer: Accepted, at_ns: int) -> None:
        self._accepted_ns = at_ns
        self._account.fields |= {"accepted_ns": at_ns, "number": answer.number}
        self._account.dropped = answer.node_problems[0] if answer.node_problems else None
        if self._phase is _Phase.SENT:
            self._phase = _Phase.OPEN
            self._open_ns = at_ns
            if not self._asking.seen:
                self._asking.opened(at_ns)
        self._rename(answer.prompt_id)

    def _rename(self, told: str | None) -> None:
        """Old servers do not take our id: go by theirs, and look at what came before the answer."""
        held, self._held = self._held, []
        if told is None or told == self.server_id or self._asking.seen:
            return
        self.server_id = told
        for message, at_ns, error_ns, size_bytes in held:
            self.message(message, at_ns, error_ns, size_bytes)

    def _submission_failed(self, failed: SubmitFailed, at_ns: int) -> None:
        kind = f"http {failed.status}" if failed.status else "no answer"
        ending = Ending(Outcome.FAILED, Code.SUBMIT_ERROR, kind, failed.message)
        if not failed.unsure:
            was_meant = failed.status >= _CLIENT_ERROR and self._account.prompt.deliberate in UNREADABLE
            self._finish(ending_of_unread(failed.status, failed.message) if was_meant else ending, at_ns)
            return
        self._doubt = ending
        if self._phase is _Phase.SENT:
            self._phase = _Phase.OPEN
            self._asking.ask(at_ns)

    def _is_mine(self, message: Message, at_ns: int, error_ns: int, size_bytes: int) -> bool:
        """Whether a message that does not name this prompt belongs to it all the same."""
        if type(message) is Status:
            self._note_status(message.queue_remaining, at_ns)
            return False
        if type(message) is BadMessage:
            self.heard.note_bad(message.reason)
            return False
        if message.prompt_id is None:
            if type(message) is Executing:  # the node that runs now, told after a reconnect
                return self._phase is _Phase.OPEN and self._gap_since_seen and message.node is not None
            return type(message) is PreviewImage and self.heard.nodes.running is not None
        if self._phase is _Phase.SENT and len(self._held) < MAX_HELD and size_bytes <= MAX_HELD_BYTES:
            self._held.append((message, at_ns, error_ns, size_bytes))
        return False

    def _note_status(self, remaining: int | None, at_ns: int) -> None:
        self._where.status(remaining, at_ns)
        if self._accepted_ns is not None and self._account.fields.get("queue_remaining") is None:
            self._account.fields["queue_remaining"] = remaining

    def _after_message(self, message: Message, at_ns: int) -> None:
        self._open_ns = at_ns
        self._gap_since_seen = False
        self._asking.heard(at_ns)
        if type(message) is ExecutionSuccess:
            self._asking.success(at_ns)
        elif self.heard.ended_ns is not None:
            self._phase = _Phase.ENDED
            self._account.end_by_socket(at_ns)
            self._where.heard_end()
            if self._ask_history or not self.heard.knows_how:
                self._asking.ask(at_ns)
            else:
                self._conclude(at_ns)

    def _take_entry(self, entry: HistoryEntry, at_ns: int) -> None:
        raced = self._phase is _Phase.ENDED and self._asking.raced and not self._where.several
        if self._phase is not _Phase.ENDED:
            self._phase = _Phase.ENDED
            self._account.end_by_history(at_ns, self._open_ns)
        self._account.take_entry(entry, raced=raced)
        self._conclude(at_ns)

    def _found(self, at_ns: int) -> None:
        self._now_ns = self._open_ns = at_ns
        self._gap_since_seen = False
        if self._where.several and self.heard.messages == 0:
            self._asking.deaf()
        self._asking.queued(at_ns)

    @property
    def _has_outputs(self) -> bool:
        """Whether it has succeeded and there is something to fetch."""
        wanted = bool(self.outputs) or bool(self.texts) or bool(self._account.prompt.outputs_expected)
        return self._fetch and wanted and self._account.how is True

    def _conclude(self, at_ns: int) -> None:
        """It has ended: finish, or fetch first."""
        self._account.elsewhere = self._where.ran_elsewhere(heard=self.heard.messages > 0)
        if self._has_outputs:
            self._phase = _Phase.FETCHING
        else:
            self._finish(self._account.ending(), at_ns)

    def _unproven(self) -> Ending | None:
        """The broken submission, as long as nothing shows that the prompt arrived all the same."""
        return None if self._asking.seen else self._doubt

    def _vanish(self, at_ns: int) -> None:
        """Two polls in a row have found it nowhere."""
        doubt = self._unproven()
        if doubt is not None:
            ending = doubt
        elif self._account.cancel_asked and not self._gap_since_seen:
            ending = Ending(Outcome.INTERRUPTED)  # deleted while it waited, as we asked
        elif self._gap_since_seen:
            message = "in neither queue nor history after the socket was lost"
            ending = Ending(Outcome.LOST, Code.SERVER_RESTARTED, error_message=message)
        elif self._asking.seen or not self._where.never_came:
            ending = Ending(Outcome.VANISHED, Code.PROMPT_VANISHED)
        else:
            ending = Ending(Outcome.VANISHED, Code.LB_MISROUTED)
        self._finish(ending, at_ns)

    def _time_out(self, at_ns: int) -> None:
        elsewhere = self._where.several and self._where.untold and self.heard.messages == 0
        code = Code.LB_MISROUTED if elsewhere else Code.DEADLINE
        self._finish(self._unproven() or Ending(Outcome.TIMEOUT, code), at_ns)

    def _lose(self, code: Code, at_ns: int) -> None:
        if self._phase in {_Phase.DUE, _Phase.DONE}:
            return
        if self._has_outputs and code is Code.SERVER_DOWN:
            problem = "the server was gone before its outputs were fetched"
            self._account.fields |= {"outputs_ok": False, "output_problem": problem}
            self._finish(self._account.ending(code, problem), at_ns)
        elif self._account.how is not None:
            self._conclude(at_ns)
        elif self._accepted_ns is not None or self._asking.seen:
            self._finish(Ending(Outcome.LOST, code), at_ns)
        else:
            message = None if self._doubt is None else self._doubt.error_message
            self._finish(Ending(Outcome.FAILED, code, error_message=message), at_ns)

    def _finish(self, ending: Ending, at_ns: int) -> None:
        """The one way to DONE."""
        if self._account.prompt.expected == Outcome.REJECTED and self._accepted_ns is not None:
            ending = ending_of_accepted(ending, self._account.prompt.deliberate)
        if self._leaving is not None:
            ending = self._leaving.ending(ending)
            expected = self._leaving.expected(ending.outcome, self._account.prompt.expected)
            self._account.fields["expected"] = expected
        self._where.answered(at_ns)
        self._phase = _Phase.DONE
        self._now_ns = at_ns
        self._held = []
        self._account.fields |= {
            "finished_ns": at_ns,
            "outcome": ending.outcome,
            "code": ending.code,
            "error_type": ending.error_type,
            "error_message": ending.error_message,
            "node_id": ending.node_id,
            "node_class": ending.node_class,
        }
