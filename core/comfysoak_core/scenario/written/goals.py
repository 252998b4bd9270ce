"""What must hold, and which findings are known: `goals` and `accept`."""

from __future__ import annotations

from datetime import date
from typing import Annotated

from pydantic import BeforeValidator, Field

from comfysoak_core.codes import Code
from comfysoak_core.scenario.goals import AbortGoal, Accepted
from comfysoak_core.scenario.quantities import Seconds
from comfysoak_core.scenario.written.section import Goal, Section, check_goal


def _as_goal(value: object) -> object:
    """A goal's text alone as {goal: text}; what is wrong with it is told here, at the place where it stands."""
    return {"goal": check_goal(value)} if isinstance(value, str) else value


class GoalSection(Section):
    """A goal; with `abort` the run ends early once it is missed for sure."""

    goal: Goal = Field(examples=["prompts.failed < 1%"])
    abort: bool = Field(default=False, description="end the run as soon as this goal is missed for sure")
    after: Seconds = Field(60.0, ge=0, description="but not before so much load", examples=["10m"])

    def resolved(self) -> AbortGoal | None:
        """For the plan; None where the run goes on."""
        return AbortGoal(goal=self.goal, after_s=self.after) if self.abort else None


class AcceptSection(Section):
    """A finding that is known and does not count until a date."""

    finding: Code = Field(examples=["WS_ABNORMAL"])
    reason: str = Field(min_length=3, max_length=300, description="why, for those who read the report")
    until: date = Field(description="the last day on which it is accepted", examples=["2027-01-31"])

    def resolved(self) -> Accepted:
        """For the plan."""
        return Accepted(finding=self.finding, reason=self.reason, until=self.until)


Goals = Annotated[GoalSection, BeforeValidator(_as_goal, json_schema_input_type=Goal | GoalSection)]
