"""How often a monitor does what, and by which clocks."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from comfysoak.check.monitor.beat import pause_s
from comfysoak.check.monitor.canary import Kind
from comfysoak_core.clock import steady_ns

WORKFLOW_EVERY_S: Final = 300.0  # a generation costs what a user's does
WIDEST: Final = 8  # looks between two canaries that fail, where they are not rarer anyway


@dataclass(frozen=True, slots=True)
class Rhythm:
    """How often. `canary_every_s`: 0 never; None: each look for the tiny graph, five minutes for a workflow."""

    every_s: float
    canary_every_s: float | None = None

    def of_canaries(self, kind: Kind) -> float:
        """Between two canaries of this kind."""
        if self.canary_every_s is not None:
            return self.canary_every_s
        return self.every_s if kind is Kind.TINY else max(self.every_s, WORKFLOW_EVERY_S)

    def pause_s(self, failures: int, kind: Kind) -> float:
        """After so many failed canaries in a row: the first is soon made sure of, then there is ever more time."""
        return pause_s(failures, self.every_s, max(self.of_canaries(kind), WIDEST * self.every_s))


@dataclass(frozen=True, slots=True)
class Clocks:
    """What tells the time: ns that never jump, and ns since 1970."""

    steady_ns: Callable[[], int] = steady_ns
    utc_ns: Callable[[], int] = time.time_ns
