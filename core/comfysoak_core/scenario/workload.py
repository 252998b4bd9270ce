"""The workloads of a plan: each a workflow read in, and what is done with it."""

from __future__ import annotations

from random import Random
from typing import Any, Literal

from comfysoak_core.comfyui.vary import Vary
from comfysoak_core.gateway.prompts import Images
from comfysoak_core.outputs.kinds import OutputKind
from comfysoak_core.rows import Outcome
from comfysoak_core.scenario.frozen import Frozen


class Cancel(Frozen):
    """A share of the prompts is taken back, between these two times after it was due."""

    share: float
    after_s: tuple[float, float]
    within_s: float = 60.0


class GiveUp(Frozen):
    """Users wait so long, leave the prompt on the server or take it back, and send it `again` so often."""

    after_s: tuple[float, float]
    again: int = 0
    withdraw: bool = False
    within_s: float = 60.0


class Mistakes(Frozen):
    """A share of the prompts carries a mistake; no `kinds` means all that fit the graph."""

    share: float
    kinds: tuple[str, ...] = ()


class Upload(Frozen):
    """Pictures for one input: files of this machine, or one that is made, `size` pixels wide and high."""

    input: str
    files: tuple[str, ...] = ()
    each: Literal["once", "prompt"] = "once"
    size: tuple[int, int] = (512, 512)


class Fetch(Frozen):
    """Of which share of its prompts the outputs are fetched and checked, and which kinds of them; None: all."""

    share: float = 1.0
    kinds: tuple[OutputKind, ...] | None = None

    def drawn(self, numbers: Random) -> bool:
        """Whether those of the next prompt are fetched."""
        return self.share >= 1 or (self.share > 0 and numbers.random() < self.share)


class Workload(Frozen):
    """One workflow of the mix. `think_s` is the (shortest, longest) pause of a user after each prompt.

    `front` is the share of prompts that go to the front of the queue. `images`: what is asked of a gateway, which has
    the graph itself.
    """

    name: str
    graph: dict[str, Any] = {}
    images: Images | None = None
    weight: float = 1.0
    deadline_s: float = 600.0
    expected: Outcome = Outcome.SUCCESS
    vary: Vary = Vary()
    fetch: Fetch = Fetch()
    think_s: tuple[float, float] = (0.0, 0.0)
    front: float = 0.0
    uploads: tuple[Upload, ...] = ()
    cancel: Cancel | None = None
    give_up: GiveUp | None = None
    mistakes: Mistakes | None = None
