"""How a user leaves a prompt before its end: cancels it, or gives up waiting for it. Without any I/O.

To cancel is to ask the server to take the prompt back, and to wait for that: a pending prompt is deleted and leaves no
trace, a running one is interrupted as soon as a node looks up. To give up is to wait no longer; the prompt is withdrawn
from the server as well, or goes on there for nobody.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

from comfysoak_core.clock import NS_PER_MS, NS_PER_S
from comfysoak_core.codes import Code
from comfysoak_core.comfyui.answers import Damaged, Queue
from comfysoak_core.comfyui.asking import FOREVER_NS, Need, Step
from comfysoak_core.comfyui.ending import WENT_WELL, Ending
from comfysoak_core.rows import Outcome

AGAIN_NS: Final = NS_PER_S  # before the server is asked once more to take back what it still has waiting
AFTER_DELETE_NS: Final = 200 * NS_PER_MS  # messages of a prompt that had just ended come before history is asked


@dataclass(frozen=True, slots=True)
class Leave:
    """What a user is going to do. `at_ns` is the moment; not before the server has taken the prompt.

    `give_up`: the user waits no longer, and the outcome is `given_up`. `withdraw`: the server is asked to take the
    prompt back, and has `within_ns` to end it; a prompt that lasts longer hangs.
    """

    at_ns: int
    withdraw: bool = True
    give_up: bool = False
    within_ns: int = 60 * NS_PER_S


class Leaving:
    """One prompt that is going to be left: what is to be done when, and what its end means then."""

    __slots__ = ("_due_ns", "asked_ns", "gone", "left_ns", "plan")

    def __init__(self, plan: Leave) -> None:
        self.plan = plan
        self.left_ns: int | None = None
        self.asked_ns: int | None = None  # the server was first asked to take it back
        self.gone = False  # it was in no queue afterwards: deleted, unless history has it
        self._due_ns = plan.at_ns

    @property
    def step(self) -> Step | None:
        """What is due next; None when there is nothing left to do."""
        if self.plan.give_up and self.left_ns is None:
            return Step(Need.LEAVE, self._due_ns)
        if self.plan.withdraw and self._due_ns < FOREVER_NS:
            return Step(Need.WITHDRAW, self._due_ns)
        return None

    @property
    def deadline_ns(self) -> int | None:
        """When a prompt that was to be taken back hangs; None: nobody has asked for it yet."""
        return None if self.asked_ns is None else self.asked_ns + self.plan.within_ns

    def asked(self, at_ns: int) -> None:
        """The server is being asked to take it back."""
        if self.asked_ns is None:
            self.asked_ns = at_ns

    def answered(self, queue: Queue | Damaged, server_id: str, at_ns: int, *, several: bool = False) -> None:
        """It was asked, and this is its queue after that; a running prompt has been interrupted.

        Where `several` servers answer, one that does not have it was asked in vain: the next may be another.
        """
        if isinstance(queue, Damaged) or server_id in queue.pending or (several and server_id not in queue):
            self._due_ns = at_ns + AGAIN_NS
            return
        self._due_ns = FOREVER_NS
        self.gone = server_id not in queue.running

    def ending(self, ending: Ending) -> Ending:
        """What `ending` means for a prompt that was left."""
        if self.deadline_ns is not None and ending.code is Code.DEADLINE:
            message = f"it did not end within {self.plan.within_ns / NS_PER_S:g} s after it was taken back"
            ending = replace(ending, code=Code.NODE_HANG, error_message=message)
        if self.left_ns is None:
            return ending
        harmless = ending.outcome in WENT_WELL or ending.code in {None, Code.DEADLINE}
        return replace(ending, outcome=Outcome.GIVEN_UP, code=Code.GAVE_UP if harmless else ending.code)

    def expected(self, outcome: Outcome, ordinarily: str) -> str:
        """The outcome that counts as right: who asks for an interrupt gets one, unless it came too late."""
        if self.asked_ns is None or self.left_ns is not None or outcome in WENT_WELL:
            return ordinarily
        return Outcome.INTERRUPTED
