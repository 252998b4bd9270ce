"""The workloads of a plan: each a workflow read in, and what is done with it."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict

from comfysoak_core.comfyui.vary import Vary
from comfysoak_core.rows import Outcome


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Workload(_Frozen):
    """One workflow of the mix. `think_s` is the (shortest, longest) pause of a user after each prompt."""

    name: str
    graph: dict[str, Any]
    weight: float = 1.0
    deadline_s: float = 600.0
    expected: Outcome = Outcome.SUCCESS
    vary: Vary = Vary()
    fetch: bool = True
    think_s: tuple[float, float] = (0.0, 0.0)
