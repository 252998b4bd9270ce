"""`load[].search`: how much load the goals stand, tried out level by level."""

from __future__ import annotations

from typing import Self

from pydantic import Field, model_validator

from comfysoak_core.scenario.goals import of_prompts
from comfysoak_core.scenario.quantities import Ratio, Seconds
from comfysoak_core.scenario.written.section import Goal, PromptRate, Section, Users, one_of


class UsersBetween(Section):
    """From how many users to how many at most."""

    start: Users = Field(alias="from", ge=1, description="the lowest level tried", examples=[1])
    end: Users = Field(alias="to", ge=1, description="the highest", examples=[64])


class RateBetween(Section):
    """From how many prompts a time to how many at most."""

    start: PromptRate = Field(alias="from", gt=0, description="the lowest level tried", examples=["1/min"])
    end: PromptRate = Field(alias="to", gt=0, description="the highest", examples=["2/s"])


class SearchSection(Section):
    """The highest load that holds: up in steps until the goals break, then between the two."""

    model_config = one_of("users", "arrivals")

    users: UsersBetween | None = Field(
        None, description="closed load, from the lowest level to try to the highest", examples=[{"from": 1, "to": 64}]
    )
    arrivals: RateBetween | None = Field(None, description="or open load", examples=[{"from": "1/min", "to": "2/s"}])
    hold: Seconds = Field(120.0, gt=0, description="how long each level is held", examples=["2m"])
    hold_most: Seconds | None = Field(
        None, gt=0, description="held on for so long where there were too few prompts to tell; default: 3 times hold",
        examples=["6m"],
    )  # fmt: skip
    discard: Seconds | None = Field(
        None, ge=0, description="at first of each level, left out of its judgement; default: a quarter of hold",
        examples=["30s"],
    )  # fmt: skip
    factor: float = Field(2.0, gt=1, le=100, description="from one step up to the next", examples=[2])
    within: Ratio = Field(0.1, gt=0, description="how close the two sides must come", examples=["10%"])
    goals: tuple[Goal, ...] = Field(
        (), description="what must hold at a level, of prompts.*; default: those of the scenario",
        examples=[["prompts.latency.p90 < 30s"]],
    )  # fmt: skip

    @model_validator(mode="after")
    def _users_or_arrivals(self) -> Self:
        between = self.users or self.arrivals
        if between is None or (self.users is not None and self.arrivals is not None):
            raise ValueError("expected one of `users: {from: 1, to: 64}` and `arrivals: {from: 1/min, to: 2/s}`")
        if between.start > between.end:
            raise ValueError("expected `from` at or below `to`")
        if self.hold_most is not None and self.hold_most < self.hold:
            raise ValueError("expected `hold_most` at or over `hold`")
        if len(of_prompts(self.goals)) < len(self.goals):
            raise ValueError(f"a level is judged by its prompts: expected goals on prompts.*, got {self.goals}")
        return self
