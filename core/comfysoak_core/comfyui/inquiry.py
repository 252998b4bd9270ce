"""What a prompt learns by asking after itself, and by the clock: answers, deadlines, and users that leave.

The third part of a life (see `life`). `asking` says when to ask; here is what each answer means.
"""

from __future__ import annotations

from comfysoak_core.comfyui.answers import Damaged, Queue
from comfysoak_core.comfyui.asking import Need
from comfysoak_core.comfyui.course import Phase
from comfysoak_core.comfyui.ends import Ends
from comfysoak_core.comfyui.history import HistoryEntry, Job, NoEntry, NoJob, NoJobsRoute
from comfysoak_core.comfyui.leaving import AFTER_DELETE_NS


class Inquiry(Ends):
    """A prompt that asks after itself."""

    __slots__ = ()

    # Answers it asked for

    def history(self, answer: HistoryEntry | NoEntry | Damaged, at_ns: int) -> None:
        """The answer to GET /history/{server_id}; a request that had none is `Damaged` too."""
        if not Phase.SENT <= self._phase <= Phase.ENDED:
            return
        if isinstance(answer, HistoryEntry):
            self._take_entry(answer, at_ns)
        elif self._phase is Phase.ENDED:
            self._entry_missing(answer, at_ns)
        elif self._last_look_ns is not None:
            self._time_out(at_ns)
        elif isinstance(answer, Damaged):
            self._asking.failed(at_ns)
        elif self._leaving is not None and self._leaving.gone:
            self._vanish(at_ns)
        else:
            self._asking.history_empty(at_ns)

    def queue(self, answer: Queue | Damaged, at_ns: int) -> None:
        """The answer to GET /queue."""
        if self._phase is not Phase.OPEN:
            return
        if isinstance(answer, Damaged):
            self._asking.failed(at_ns)
        elif self.server_id in answer:
            self._found(at_ns)
        else:
            self._missed(at_ns)

    def job(self, answer: Job | NoJob | NoJobsRoute | Damaged, at_ns: int) -> None:
        """The answer to GET /api/jobs/{server_id}, which stands for history and queue at once."""
        asked_by_schedule = self._phase is Phase.OPEN and self._last_look_ns is None
        if isinstance(answer, Job) and answer.entry is not None:
            self.history(answer.entry, at_ns)
        elif isinstance(answer, Job) and asked_by_schedule:
            self._found(at_ns)
        elif isinstance(answer, NoJob) and asked_by_schedule:
            self._missed(at_ns)
        elif isinstance(answer, Job | NoJob):
            self.history(NoEntry(), at_ns)
        else:
            self.history(Damaged(0, "no job", ""), at_ns)

    def withdrawn(self, queue: Queue | Damaged, at_ns: int) -> None:
        """The server was asked to delete it, has `queue` since, and was asked to interrupt it if it runs there."""
        if self._phase is not Phase.OPEN or self._leaving is None:
            return
        self._leaving.answered(queue, self.server_id, at_ns, several=self._where.several)
        if self._leaving.gone:
            self._asking.ask(at_ns + AFTER_DELETE_NS)

    # The clock, and the user

    def tick(self, at_ns: int) -> None:
        """Time has passed: call it when `next` says WAIT and `due_ns` has come; harmless at any other time."""
        if self._phase is not Phase.SENT and self._phase is not Phase.OPEN:
            return
        if at_ns >= self._deadline_ns:
            self.deadline_passed(at_ns)
        elif self._phase is Phase.OPEN and self._asking.need is Need.WAIT and at_ns >= self._asking.due_ns:
            self._asking.ask(at_ns)

    def deadline_passed(self, at_ns: int) -> None:
        """The deadline has come: one last look into history, then it is a timeout."""
        if self._phase is not Phase.SENT and self._phase is not Phase.OPEN:
            return
        if self._last_look_ns is None:
            self._last_look_ns = at_ns
        elif at_ns >= self._last_look_ns + self._patience.last_look_ns:
            self._time_out(at_ns)

    def left(self, at_ns: int) -> None:
        """Its user waits no longer: nobody wants the outputs, and its outcome is `given_up`, however it ends."""
        if self._phase is Phase.OPEN and self._leaving is not None and self._leaving.plan.give_up:
            self._leaving.left_ns = self._account.fields["left_ns"] = at_ns
            self._fetch = False

    def cancel_asked(self, at_ns: int) -> None:
        """The harness is about to delete or interrupt this prompt: an interrupt is no misfire then."""
        if self._phase is Phase.DUE or self._phase is Phase.DONE:
            return
        self._account.cancel_asked = True
        self._account.fields.setdefault("cancel_asked_ns", at_ns)
        if self._leaving is not None:
            self._leaving.asked(at_ns)

    # What the answers mean

    def _take_entry(self, entry: HistoryEntry, at_ns: int) -> None:
        raced = self._phase is Phase.ENDED and self._asking.raced and not self._where.several
        if self._phase is not Phase.ENDED:
            self._phase = Phase.ENDED
            self._account.end_by_history(at_ns, self._open_ns)
        self._account.take_entry(entry, raced=raced)
        self._conclude(at_ns)

    def _entry_missing(self, answer: NoEntry | Damaged, at_ns: int) -> None:
        """It has ended, and history does not have it (yet)."""
        answered = isinstance(answer, NoEntry) or answer.status != 0  # else nothing is said of what history has
        if isinstance(answer, Damaged) and answered:
            self.heard.note_bad(f"/history answered {answer.status}: {answer.reason}")
        if self._asking.entry_missing(at_ns, answered=answered):
            if self._asking.raced:
                self._account.disagree("the prompt has ended, but history never had it")
            self._conclude(at_ns)

    def _found(self, at_ns: int) -> None:
        """The queue has it."""
        self._open_ns = at_ns
        self._gap_since_seen = False
        if self._where.several and self.heard.messages == 0:
            self._asking.deaf()
        self._asking.queued(at_ns)

    def _missed(self, at_ns: int) -> None:
        """A whole poll has not found it."""
        if self._asking.missed(at_ns, several=self._where.several):
            self._vanish(at_ns)
