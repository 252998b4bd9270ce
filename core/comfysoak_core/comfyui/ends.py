"""Every way a prompt can end, and what it is called then; `_finish` is the one way to DONE.

The second part of a life (see `life`). `ending` has the pure rules for prompts of which socket or history say how they
ended; here are the others, too: those that are gone, late, lost with their server or cut off by us.
"""

from __future__ import annotations

from comfysoak_core.codes import Code
from comfysoak_core.comfyui.course import Course, Phase
from comfysoak_core.comfyui.ending import Ending, ending_of_accepted
from comfysoak_core.comfyui.json_text import MAX_TEXT, bounded
from comfysoak_core.rows import Outcome


class Ends(Course):
    """A prompt, and its ends."""

    __slots__ = ()

    def outputs_checked(
        self, at_ns: int, *, received: int, size_bytes: int, problem: str | None = None, code: Code | None = None
    ) -> None:
        """All outputs were fetched and checked; with a `problem`, `code` says which (OUTPUT_MISSING, OUTPUT_WRONG)."""
        if self._phase is not Phase.FETCHING:
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

    def server_gone(self, at_ns: int) -> None:
        """The server refuses connections: what was in it is lost, and so are outputs that were not fetched."""
        if self._has_outputs and self._phase is not Phase.DONE:
            problem = "the server was gone before its outputs were fetched"
            self._account.fields |= {"outputs_ok": False, "output_problem": problem}
            self._finish(self._account.ending(Code.SERVER_DOWN, problem), at_ns)
        else:
            self._lose(Code.SERVER_DOWN, at_ns)

    def server_restarted(self, at_ns: int) -> None:
        """The server that answers now is not the one that took the prompt; its files are still there."""
        self._lose(Code.SERVER_RESTARTED, at_ns)

    def stop(self, at_ns: int, why: str | None = None) -> None:
        """The run ends (or this part of it, and `why`): whatever is known by now is its end."""
        if self._phase is Phase.DUE:
            self._finish(Ending(Outcome.NOT_SENT, error_message="the run ended before it was sent"), at_ns)
        elif self._phase is Phase.DONE:
            return
        elif self._account.how is not None:
            self._fetch = False
            self._conclude(at_ns)
        else:
            self._finish(self._unproven or Ending(Outcome.ABORTED, error_message=why), at_ns)

    @property
    def _has_outputs(self) -> bool:
        """Whether it has succeeded and there is something to fetch."""
        wanted = bool(self.outputs) or bool(self.texts) or bool(self._account.prompt.outputs_expected)
        return self._fetch and wanted and self._account.how is True

    @property
    def _unproven(self) -> Ending | None:
        """The broken submission, as long as nothing shows that the prompt arrived all the same."""
        return None if self._asking.seen else self._sending.doubt

    def _conclude(self, at_ns: int) -> None:
        """It has ended: finish, or fetch first."""
        self._account.elsewhere = self._where.ran_elsewhere(heard=self.heard.messages > 0)
        if self._has_outputs:
            self._phase = Phase.FETCHING
            self._decided_ns = at_ns
        else:
            self._finish(self._account.ending(), at_ns)

    def _lose(self, code: Code, at_ns: int) -> None:
        """Its server is gone, or has forgotten it."""
        if self._phase is Phase.DUE or self._phase is Phase.DONE:
            return
        if self._account.how is not None:
            self._conclude(at_ns)
        elif self._sending.accepted_ns is not None or self._asking.seen:
            self._finish(Ending(Outcome.LOST, code), at_ns)
        else:
            doubt = self._sending.doubt
            message = None if doubt is None else doubt.error_message
            self._finish(Ending(Outcome.FAILED, code, error_message=message), at_ns)

    def _time_out(self, at_ns: int) -> None:
        """It has not ended by its deadline."""
        elsewhere = self._where.several and self._where.untold and self.heard.messages == 0
        code = Code.LB_MISROUTED if elsewhere else Code.DEADLINE
        self._finish(self._unproven or Ending(Outcome.TIMEOUT, code), at_ns)

    def _vanish(self, at_ns: int) -> None:
        """Whole polls in a row have found it nowhere."""
        self._finish(self._unproven or self._ending_of_absence(), at_ns)

    def _ending_of_absence(self) -> Ending:
        """What it means that a prompt which was taken is in neither queue nor history."""
        if self._gap_since_seen:
            message = "in neither queue nor history after the socket was lost"
            return Ending(Outcome.LOST, Code.SERVER_RESTARTED, error_message=message)
        if self._account.cancel_asked:
            return Ending(Outcome.INTERRUPTED)  # deleted while it waited, as we asked
        if self._asking.seen or not self._where.never_came:
            return Ending(Outcome.VANISHED, Code.PROMPT_VANISHED)
        return Ending(Outcome.VANISHED, Code.LB_MISROUTED)

    def _finish(self, ending: Ending, at_ns: int) -> None:
        """The one way to DONE."""
        prompt, fields = self._account.prompt, self._account.fields
        if prompt.expected == Outcome.REJECTED and self._sending.accepted_ns is not None:
            ending = ending_of_accepted(ending, prompt.deliberate)
        if self._leaving is not None:
            ending = self._leaving.ending(ending)
            fields["expected"] = self._leaving.expected(ending.outcome, prompt.expected)
        self._where.answered(at_ns)
        self._sending.release()
        self._phase = Phase.DONE
        self._decided_ns = at_ns
        fields |= ending.columns(at_ns)
