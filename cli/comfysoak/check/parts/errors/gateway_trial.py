"""A user of ours at the gateway: what was asked, and what was shown."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Final

from comfysoak.check.parts.errors.judging import Shown, shown_of
from comfysoak.check.parts.errors.words import Said
from comfysoak.check.parts.gateway.generation import Generation
from comfysoak.check.parts.gateway.visit import Visit
from comfysoak.check.parts.gateway.wishes import telling_wish
from comfysoak_core.comfyui.transport import Answer
from comfysoak_core.gateway.sighting import Whereabouts

PATIENCE_S: Final = 60.0  # of a user of ours; who answers later is not told from who never does
ENDS_S: Final = 15.0


@dataclass
class UserTrial:
    """What is seen on the way. `before`: the request that was let through; None: none came through, for `why`."""

    visit: Visit
    before: Generation | None = None
    why: str = ""
    answers: list[Said] = field(default_factory=list)
    open_sockets: dict[str, int] = field(default_factory=dict)  # by row: after an answer, where none should be
    kept_pictures: int = 0  # that nobody knows the id of
    hosts: list[str] = field(default_factory=list)
    is_marked: bool = True  # the text of a request arrives, so that ComfyUI's prompts of ours can be told

    @property
    def patience_s(self) -> float:
        """How long a user of ours waits for an answer to a failure: longer where pictures take long."""
        usual_s = self.before.took_s if self.before is not None else 0.0
        return min(PATIENCE_S + 2 * usual_s, self.visit.checking.settings.deadline_s)

    def ask(self, within_s: float | None = None) -> Generation:
        """A request for one small picture."""
        visit = self.visit
        wish = telling_wish(
            visit.door.access.api, visit.graph, visit.mappings, visit.range_of, ignores_size=visit.layout.ignores_size
        )
        return visit.generate(replace(wish, n=1), within_s=within_s)

    def shown(self, id_: str, done: Generation, *, is_well: bool | None = None) -> Shown:
        """What was seen of it, and remembered for the row about words."""
        shown = shown_of(done, self.patience_s, is_well=is_well)
        if shown.status and not shown.pictures and shown.status != 200 and isinstance(done.answer, Answer):
            self.answers.append(Said(id_, shown.words, done.answer.body[:100_000].decode("utf-8", "replace")))
        return shown


def waited(done: Generation) -> bool:
    """Whether it was not answered because ComfyUI was still at prompts of others."""
    return not done.status and done.sighting is not None and done.sighting.whereabouts is Whereabouts.WAITS


BUSY: Final = "our prompt waited behind those of others, and was given up: try again when ComfyUI is idle"


def await_ends(visit: Visit, is_over: Callable[[], bool], within_s: float = ENDS_S) -> None:
    """Until it is so, as the ComfyUI behind it says, or the time is over."""
    latest_s = time.monotonic() + within_s
    while not is_over() and time.monotonic() < latest_s:
        time.sleep(0.1)
        if visit.behind is not None:
            visit.behind.ids()  # looks again
