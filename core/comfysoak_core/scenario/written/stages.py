"""`load`: the stages, one after the other."""

from __future__ import annotations

from typing import Annotated, Generic, Self, TypeVar

from pydantic import BeforeValidator, Field, model_validator

from comfysoak_core.scenario.arrivals import Process
from comfysoak_core.scenario.curve import Curve, Line, Spike, Steps, Wave
from comfysoak_core.scenario.quantities import Seconds
from comfysoak_core.scenario.written.pauses import ColdStart, Settle
from comfysoak_core.scenario.written.search import SearchSection
from comfysoak_core.scenario.written.section import PromptRate, Section, Users, one_of

Level = TypeVar("Level")

_FORMS = (
    ({"start", "end"}, {"steps"}),
    ({"low", "high", "wave"}, set[str]()),
    ({"base", "spike", "lasts"}, {"every"}),
)
_FORMS_IN_WORDS = (
    "expected {from: 1, to: 40}, {from: 10, to: 50, steps: 5}, {low: 2, high: 40, wave: 24h}"
    " or {base: 4, spike: 40, lasts: 30s, every: 10m}"
)


def _as_users(value: object) -> object:
    return {"from": value, "to": value} if isinstance(value, int) and not isinstance(value, bool) else value


def _as_rate(value: object) -> object:
    return {"from": value, "to": value} if isinstance(value, str | float | int) else value


class Levels(Section, Generic[Level]):
    """How much, over a stage: a ramp (perhaps in steps), waves as of day and night, or spikes."""

    model_config = one_of("from to", "low high wave", "base spike lasts")

    start: Level | None = Field(None, alias="from", description="a ramp begins here")
    end: Level | None = Field(None, alias="to", description="and ends here")
    steps: int | None = Field(None, ge=2, le=1000, description="the ramp in so many plateaus", examples=[5])
    low: Level | None = Field(None, description="a wave's lowest level; it begins there")
    high: Level | None = Field(None, description="its highest")
    wave: Seconds | None = Field(None, gt=0, description="from low to high and back", examples=["24h"])
    base: Level | None = Field(None, description="the level between spikes")
    spike: Level | None = Field(None, description="the level of a spike")
    lasts: Seconds | None = Field(None, gt=0, description="how long a spike lasts", examples=["30s"])
    every: Seconds | None = Field(
        None, gt=0, description="from spike to spike, the first after half of it; default: one", examples=["10m"]
    )

    @model_validator(mode="after")
    def _one_form(self) -> Self:
        given = self.model_fields_set
        if not any(needed <= given <= needed | more for needed, more in _FORMS):
            raise ValueError(_FORMS_IN_WORDS)
        if self.lasts is not None and self.every is not None and self.lasts >= self.every:
            raise ValueError("expected spikes shorter than the time from one to the next (lasts below every)")
        return self

    def curve(self, duration_s: float) -> Curve:
        """The curve it stands for, over a stage of this length."""
        levels = {name: float(getattr(self, name) or 0) for name in ("start", "end", "low", "high", "base", "spike")}
        if self.wave is not None:
            return Wave(low=levels["low"], high=levels["high"], period_s=self.wave)
        if self.lasts is not None:
            return Spike(base=levels["base"], top=levels["spike"], every_s=self.every or duration_s, lasts_s=self.lasts)
        if self.steps is not None:
            return Steps(start=levels["start"], end=levels["end"], count=self.steps)
        return Line(start=levels["start"], end=levels["end"])


UsersOverTime = Annotated[Levels[Users], BeforeValidator(_as_users, json_schema_input_type=Users | Levels[Users])]
RateOverTime = Annotated[
    Levels[PromptRate], BeforeValidator(_as_rate, json_schema_input_type=PromptRate | Levels[PromptRate])
]


class StageSection(Section):
    """A stretch of load: so many users, or prompts that arrive at a rate; or a cold start."""

    model_config = one_of("users for", "arrivals for", "trace", "cold_start for", "search")

    users: UsersOverTime | None = Field(
        None,
        description="closed load: a number, {from, to}, {from, to, steps}, {low, high, wave} or {base, spike, lasts}",
        examples=[{"from": 1, "to": 40}],
    )
    arrivals: RateOverTime | None = Field(
        None,
        description="open load: prompts come at this rate, whether or not earlier ones have ended; shapes as for users",
        examples=["30/min"],
    )
    process: Process = Field("poisson", description="how arrivals are spaced: poisson or constant")
    in_flight_most: int = Field(
        1000, ge=1, description="with more on their way than this, an arrival is recorded as not sent", examples=[200]
    )
    trace: str | None = Field(
        None, min_length=1, description="open load: what really happened, from a file in JSON lines or CSV",
        examples=["trace.jsonl"],
    )  # fmt: skip
    speed: float = Field(1.0, gt=0, le=1000, description="a trace so many times as fast", examples=[2])
    settle: Settle | None = Field(
        None,
        description="every so often load pauses and servers unload all, for a reading of memory; or {every, wait}",
        examples=["90m"],
    )
    cold_start: ColdStart | None = Field(
        None,
        description="no load; measured from process start to the first picture: {command}, or `wait` for somebody else",
        examples=[{"command": ["docker", "restart", "comfy"]}],
    )
    search: SearchSection | None = Field(
        None,
        description="level by level, the highest load at which the goals hold",
        examples=[{"users": {"from": 1, "to": 64}, "hold": "2m"}],
    )
    lasts: Seconds | None = Field(
        alias="for", gt=0, description="how long it lasts; of a cold start: at most", examples=["20m"]
    )
    phase: str = Field(
        "load",
        min_length=1,
        max_length=40,
        description="`warmup` is recorded and left out of goals",
        examples=["warmup"],
    )

    @model_validator(mode="before")
    @classmethod
    def _some_know_their_end(cls, value: object) -> object:
        """A trace and a search need no `for`."""
        return {"for": None, **value} if isinstance(value, dict) and {"trace", "search"} & value.keys() else value

    @model_validator(mode="after")
    def _one_kind(self) -> Self:
        if sum(kind is not None for kind in (self.users, self.arrivals, self.trace, self.cold_start, self.search)) != 1:
            raise ValueError(
                "expected one of `users: 8` (closed load), `arrivals: 30/min` and `trace: trace.jsonl` (open load),"
                " `cold_start: wait` and `search: {users: {from: 1, to: 64}}`"
            )
        if self.settle is not None and (self.cold_start is not None or self.search is not None):
            raise ValueError("expected a settle beside users or arrivals, got it beside a cold start or a search")
        if self.cold_start is not None and "phase" in self.model_fields_set:
            raise ValueError("expected 'phase' only beside load: a cold start has one of its own")
        self._only_where_it_means_something()
        return self

    def _only_where_it_means_something(self) -> None:
        given = self.model_fields_set
        if self.users is not None and (only_open := given & {"process", "in_flight_most"}):
            raise ValueError(f"expected {min(only_open)!r} only beside arrivals, got it beside users")
        if self.trace is None and "speed" in given:
            raise ValueError("expected 'speed' only beside a trace")
        if self.trace is not None and "process" in given:
            raise ValueError("expected 'process' only beside arrivals: a trace says itself when prompts come")
        if self.lasts is None and self.trace is None and self.search is None:
            raise ValueError("expected 'for': how long the stage lasts, as in for: 20m")

    @property
    def duration(self) -> float:
        """Seconds; 0 where the stage says itself when it is over."""
        return self.lasts or 0.0
