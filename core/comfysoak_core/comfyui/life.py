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

It is one object, as there is one for each prompt on its way and each message goes through it, in four parts that build
on each other: where it stands and what it needs (`course`), how it ends (`ends`), what it learns by asking (`inquiry`),
and here what it is told: by those who send it, and by its socket.
"""

from __future__ import annotations

from comfysoak_core.codes import Code
from comfysoak_core.comfyui.answers import Accepted, Refused, Submission, SubmitFailed, parse_submission
from comfysoak_core.comfyui.course import Phase
from comfysoak_core.comfyui.ending import Ending, ending_of_refusal
from comfysoak_core.comfyui.inquiry import Inquiry
from comfysoak_core.comfyui.json_text import MAX_TEXT, bounded
from comfysoak_core.comfyui.messages import BadMessage, Executing, ExecutionSuccess, Message, PreviewImage, Status
from comfysoak_core.rows import Outcome


class PromptLife(Inquiry):
    """One prompt, whole; what it is made with stands at `Course`."""

    __slots__ = ()

    # Sending

    def queue_was(self, remaining: int | None, at_ns: int) -> None:
        """What its socket was told last of the queue, before it is sent."""
        if self._phase is Phase.DUE:
            self._where.status(remaining, at_ns)

    def uploaded(self, variation: str, took_ns: int, size_bytes: int) -> None:
        """Its input pictures are on the server, with the names in `variation`; 0 bytes: they had been there before."""
        if self._phase is Phase.DUE:
            self._account.fields["variation"] = variation
            if size_bytes:
                self._account.fields |= {"upload_took_ns": took_ns, "upload_bytes": size_bytes}

    def upload_failed(self, error: str, at_ns: int, *, refused: bool = False) -> None:
        """An input picture could not be uploaded; `refused`: there was no connection to the server."""
        if self._phase is Phase.DUE:
            code = Code.SERVER_DOWN if refused else Code.UPLOAD_ERROR
            self._finish(Ending(Outcome.FAILED, code, "upload", bounded(error, MAX_TEXT)), at_ns)

    def not_sent(self, reason: str, at_ns: int) -> None:
        """The harness could not send it (no user free, no socket, ...)."""
        if self._phase is Phase.DUE:
            self._finish(Ending(Outcome.NOT_SENT, error_message=bounded(reason, MAX_TEXT)), at_ns)

    def sent(self, at_ns: int) -> None:
        """POST /prompt is about to leave."""
        if self._phase is Phase.DUE:
            self._phase = Phase.SENT
            self._where.sent()
            self._account.fields["sent_ns"] = self._open_ns = at_ns
            if self._socket_away:
                self.socket_lost(at_ns)

    def answered(self, status: int, body: bytes, at_ns: int, queue_remaining: int | None = None) -> Submission:
        """The answer to POST /prompt was read, and what it says.

        `queue_remaining` is the queue as last told, if the driver knows it.
        """
        submission = parse_submission(status, body)
        if self._phase is not Phase.DONE:
            known = self._where.remaining
            self._account.fields["http_status"] = status
            self._account.fields["queue_remaining"] = queue_remaining if known is None else known
            self._submitted(submission, at_ns)
        return submission

    def submit_failed(self, error: str, at_ns: int, *, refused: bool = False) -> None:
        """POST /prompt had no answer: `refused`, or broken in a way that leaves open whether it arrived."""
        if self._phase is Phase.DONE:
            return
        message = bounded(error, MAX_TEXT)
        if refused and not self._asking.seen:
            self._finish(Ending(Outcome.FAILED, Code.SERVER_DOWN, "connection refused", message), at_ns)
        else:
            self._submitted(SubmitFailed(0, message, unsure=True), at_ns)

    def _submitted(self, submission: Submission, at_ns: int) -> None:
        self._where.answered(at_ns)
        if isinstance(submission, Accepted):
            self._accepted(submission, at_ns)
        elif self._asking.seen:
            self._runs_all_the_same(submission)
        elif isinstance(submission, Refused):
            self._finish(ending_of_refusal(submission), at_ns)
        else:
            self._failed(submission, at_ns)

    def _accepted(self, answer: Accepted, at_ns: int) -> None:
        self._sending.accepted_ns = at_ns
        self._account.fields |= {"accepted_ns": at_ns, "number": answer.number}
        self._account.dropped = answer.node_problems[0] if answer.node_problems else None
        if self._phase is Phase.SENT:
            self._phase = Phase.OPEN
            self._open_ns = at_ns
            if not self._asking.seen and not self._gap_since_seen:
                self._asking.opened(at_ns)
        held = self._sending.release()
        if answer.prompt_id and answer.prompt_id != self.server_id and not self._asking.seen:
            self.server_id = answer.prompt_id  # old servers do not take our id: go by theirs, from the start
            for one in held:
                self.message(one.message, one.at_ns, one.error_ns, one.size_bytes)

    def _runs_all_the_same(self, submission: Refused | SubmitFailed) -> None:
        """Its messages have shown that the server has it, whatever the answer says."""
        if isinstance(submission, Refused) or not submission.unsure:
            self.heard.note_bad("the server runs a prompt it has refused")
        if self._phase is Phase.SENT:
            self._phase = Phase.OPEN

    def _failed(self, failed: SubmitFailed, at_ns: int) -> None:
        ending = self._sending.failed(failed, self._account.prompt.deliberate)
        if ending is not None:
            self._finish(ending, at_ns)
        elif self._phase is Phase.SENT:
            self._phase = Phase.OPEN
            self._asking.ask(at_ns)

    # The socket

    def message(self, message: Message, at_ns: int, error_ns: int = 0, size_bytes: int = 0) -> bool:
        """A message came on the socket of this prompt's client; True when it is about this prompt.

        `error_ns` bounds how late `at_ns` may be.
        """
        if self._phase is Phase.DUE or self._phase is Phase.DONE:
            if type(message) is Status:
                self._where.status(message.queue_remaining, at_ns)
            return False
        if message.prompt_id != self.server_id and not self._is_mine(message, at_ns, error_ns, size_bytes):
            return False
        self.heard.take(message, at_ns, error_ns, size_bytes)
        if self._phase < Phase.ENDED:
            self._after_message(message, at_ns)
        return True

    def socket_lost(self, at_ns: int) -> None:
        """The socket of this prompt's client is gone; what is sent now is lost."""
        if self._phase is Phase.DUE:
            self._socket_away = True
            return
        self.heard.gap()
        self._where.gap(at_ns, heard=self.heard.messages > 0)
        self._gap_since_seen = True
        self._asking.socket_lost(at_ns)

    def socket_reopened(self, at_ns: int) -> None:
        """A new socket with the same clientId is open."""
        self._socket_away = False
        if self._phase < Phase.ENDED:
            self._asking.socket_back(at_ns)

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
                return self._phase is Phase.OPEN and self._gap_since_seen and message.node is not None
            return type(message) is PreviewImage and self.heard.nodes.running is not None
        if self._phase is Phase.SENT:
            self._sending.hold(message, at_ns, error_ns, size_bytes)
        return False

    def _note_status(self, remaining: int | None, at_ns: int) -> None:
        self._where.status(remaining, at_ns)
        if self._sending.accepted_ns is not None and self._account.fields.get("queue_remaining") is None:
            self._account.fields["queue_remaining"] = remaining

    def _after_message(self, message: Message, at_ns: int) -> None:
        self._open_ns = at_ns
        self._gap_since_seen = False
        self._asking.heard(at_ns)
        if type(message) is ExecutionSuccess:
            self._asking.success(at_ns)
        elif self.heard.ended_ns is not None:
            self._phase = Phase.ENDED
            self._account.end_by_socket(at_ns)
            self._where.heard_end()
            if self._ask_history or not self.heard.knows_how:
                self._asking.ask(at_ns)
            else:
                self._conclude(at_ns)
