"""What is out of the ordinary with a prompt: cancelled, given up, wrong on purpose, sent to the front, with pictures.

All of it is drawn from the random numbers of the prompt, after its variation: a seed fixes it, and a workload that says
nothing of the kind has none of these (`Intents.of` is None) and pays for none of it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from random import Random

import orjson

from comfysoak_core.clock import NS_PER_S
from comfysoak_core.comfyui.leaving import Leave
from comfysoak_core.comfyui.mistakes import BROKEN_JSON, Mistake, Mistakes, edited
from comfysoak_core.comfyui.shape import Graph
from comfysoak_core.comfyui.variation import Draw
from comfysoak_core.rows import Outcome, Prompt
from comfysoak_core.scenario.workload import Cancel, GiveUp, Workload

_FRONT = {"front": True}


@dataclass(frozen=True, slots=True)
class Intent:
    """One prompt's. `uploads` picks its input pictures; `again` is how often its user may send it again."""

    front: bool = False
    mistake: Mistake | None = None
    leave_after_s: float | None = None
    give_up: bool = False
    withdraw: bool = False
    within_s: float = 0.0
    again: int = 0
    attempt: int = 1
    retry_of: str | None = None
    uploads: int | None = None

    def marked(self, prompt: Prompt) -> Prompt:
        """The row of a prompt that is sent with this intent."""
        prompt = replace(prompt, front=self.front, attempt=self.attempt, retry_of=self.retry_of)
        if self.mistake is None:
            return prompt
        return replace(prompt, deliberate=self.mistake.kind, expected=Outcome.REJECTED, outputs_expected=None)

    def body(self, drawn: Draw, prompt_id: str, client_id: str) -> bytes:
        """The body of POST /prompt."""
        body = drawn.body(prompt_id, client_id, _FRONT if self.front else None)
        return body[: len(body) // 2] if self.mistake is not None and self.mistake.kind == BROKEN_JSON else body

    def leave(self, due_ns: int) -> Leave | None:
        """How its user leaves it, when it was due at `due_ns`."""
        if self.leave_after_s is None:
            return None
        return Leave(
            at_ns=due_ns + round(self.leave_after_s * NS_PER_S),
            withdraw=self.withdraw,
            give_up=self.give_up,
            within_ns=round(self.within_s * NS_PER_S),
        )

    def next_attempt(self, prompt_id: str) -> Intent | None:
        """The same once more, after `prompt_id` was given up; None: the user has had enough."""
        if not self.give_up or not self.again:
            return None
        return replace(self, again=self.again - 1, attempt=self.attempt + 1, retry_of=prompt_id)


class Intents:
    """The intents of one workload."""

    def __init__(self, workload: Workload) -> None:
        self._front = workload.front
        self._cancel = workload.cancel
        self._give_up = workload.give_up
        self._mistaken = workload.mistakes.share if workload.mistakes else 0.0
        self._mistakes = Mistakes(workload.graph, workload.mistakes.kinds) if workload.mistakes else None
        self._uploads = bool(workload.uploads)

    @classmethod
    def of(cls, workload: Workload) -> Intents | None:
        """Those of a workload; None when all its prompts are ordinary ones."""
        parts = (workload.front, workload.cancel, workload.give_up, workload.mistakes, workload.uploads)
        return cls(workload) if any(parts) else None

    def draw(self, numbers: Random) -> Intent:
        """What is to be done with the next prompt. What is wrong is not cancelled as well."""
        intent = Intent(
            front=self._front > 0 and numbers.random() < self._front,
            uploads=numbers.getrandbits(64) if self._uploads else None,
        )
        if self._mistakes is not None and numbers.random() < self._mistaken:
            return replace(intent, mistake=self._mistakes.draw(numbers))
        if self._cancel is not None and numbers.random() < self._cancel.share:
            return _cancelled(intent, self._cancel, numbers)
        return intent if self._give_up is None else _given_up(intent, self._give_up, numbers)


def _cancelled(intent: Intent, cancel: Cancel, numbers: Random) -> Intent:
    return replace(intent, leave_after_s=numbers.uniform(*cancel.after_s), withdraw=True, within_s=cancel.within_s)


def _given_up(intent: Intent, give_up: GiveUp, numbers: Random) -> Intent:
    return replace(
        intent,
        leave_after_s=numbers.uniform(*give_up.after_s),
        give_up=True,
        withdraw=give_up.withdraw,
        within_s=give_up.within_s,
        again=give_up.again,
    )


def mistaken(drawn: Draw, mistake: Mistake) -> Draw:
    """`drawn` with the mistake made in it: nothing should come of it."""
    graph: Graph = drawn.graph
    return Draw({**drawn.values, **mistake.edits}, orjson.dumps(edited(graph, mistake.edits)), {})
