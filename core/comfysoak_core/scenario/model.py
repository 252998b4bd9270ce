"""A scenario as it is written: the keys there are, what each takes, an example of each.

`read.py` turns a file of this shape into a `Plan`. Field descriptions and examples are what errors, the JSON Schema
and `docs/scenario.md` show.
"""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal, Self, get_args
from urllib.parse import SplitResult, urlsplit

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from comfysoak_core.comfyui.vary import SeedMode
from comfysoak_core.rows import Outcome
from comfysoak_core.scenario.arrivals import Process
from comfysoak_core.scenario.embedded import Embedded
from comfysoak_core.scenario.goals import parse_goal
from comfysoak_core.scenario.plan import Route
from comfysoak_core.scenario.quantities import Rate, Seconds, parse_duration

RATE_MOST_PER_S = 10_000.0
_VARIABLE = re.compile(r"\$[A-Za-z_][A-Za-z0-9_]*")


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)


def check_url(url: str) -> str:
    """`url` without a trailing slash; ValueError when it is no http(s) address or carries a password."""
    if _VARIABLE.fullmatch(url):
        return url
    parts = _url_parts(url)
    if "@" in parts.netloc or "@" in url:
        raise ValueError(
            "the address carries a user name or password, which would reach the recording; "
            "name an environment variable that holds a token instead: token_variable: COMFYUI_API_KEY"
        )
    if parts.scheme not in ("http", "https") or not parts.hostname or not url.isprintable() or " " in url:
        raise ValueError(f"expected an address such as http://gpu-1:8188, got {url!r}")
    if parts.query or parts.fragment:
        raise ValueError(f"expected an address without ? and #, such as http://gpu-1:8188/prefix, got {url!r}")
    return url.rstrip("/")


def _url_parts(url: str) -> SplitResult:
    try:
        parts = urlsplit(url)
        _ = parts.port  # reading it checks it
    except ValueError as error:
        raise ValueError(f"expected an address such as http://gpu-1:8188, got {url!r} ({error})") from None
    return parts


def _as_list(value: object) -> object:
    return [value] if isinstance(value, str) else value


def _as_ramp(value: object) -> object:
    return {"from": value, "to": value} if isinstance(value, int) and not isinstance(value, bool) else value


def _as_values(value: object) -> object:
    if isinstance(value, dict):
        return value
    return {"values": value if isinstance(value, list | tuple) else [value]}


def _check_seed(value: object) -> object:
    if value in get_args(SeedMode) or (isinstance(value, int) and not isinstance(value, bool) and value >= 0):
        return value
    raise ValueError(f"expected random, increment, fixed or a number, got {value!r}")


def _as_rate_ramp(value: object) -> object:
    return {"from": value, "to": value} if isinstance(value, str | float | int) else value


def _as_source(value: object) -> object:
    return {"nvml": True} if value == "nvml" else value


def _as_span(value: object) -> object:
    """`1s..3s` or `2s` as (low, high) in seconds."""
    if isinstance(value, list | tuple):
        return value
    if isinstance(value, str) and ".." in value:
        low, high = (parse_duration(part) for part in value.split("..", 1))
        if low > high:
            raise ValueError(f"expected the shorter time first, as in 1s..3s, got {value!r}")
        return (low, high)
    seconds = parse_duration(value)  # type: ignore[arg-type]  # refuses what is no duration
    return (seconds, seconds)


def _check_goal(text: str) -> str:
    parse_goal(text)
    return text


Url = Annotated[str, AfterValidator(check_url)]
Goal = Annotated[str, AfterValidator(_check_goal)]
Span = Annotated[tuple[float, float], BeforeValidator(_as_span)]


class Target(_Section):
    """What the load goes to: servers of yours, or embedded simulators."""

    comfyui: Annotated[tuple[Url, ...], BeforeValidator(_as_list)] | None = Field(
        None, min_length=1, description="address of one ComfyUI, or a list of them", examples=["http://gpu-1:8188"]
    )
    embedded: Embedded | None = Field(
        None, description="simulators started with the run; needs no ComfyUI and no GPU", examples=[{"servers": 1}]
    )
    route: Route = Field("round-robin", description="how users are spread over several servers")
    token_variable: str | None = Field(
        None,
        pattern=r"^[A-Za-z_][A-Za-z0-9_]*$",
        description="the environment variable that holds a token, sent as `Authorization: Bearer`",
        examples=["COMFYUI_API_KEY"],
    )

    @model_validator(mode="after")
    def _one_of_two(self) -> Self:
        if (self.comfyui is None) == (self.embedded is None):
            raise ValueError("expected one of `comfyui: http://gpu-1:8188` and `embedded: {servers: 1}`")
        return self


class InputValues(_Section):
    """What one input takes: values from a list, or drawn evenly between two numbers, both included."""

    values: tuple[Any, ...] = Field((), examples=[[20, 30]])
    low: float | None = Field(None, alias="from", examples=[10])
    high: float | None = Field(None, alias="to", examples=[30])

    @model_validator(mode="after")
    def _list_or_range(self) -> Self:
        ranged = self.low is not None and self.high is not None and self.low <= self.high
        if bool(self.values) == ranged or (self.low is None) != (self.high is None):
            raise ValueError("expected a list of values such as [20, 30], or {from: 10, to: 30}")
        return self


class VarySection(_Section):
    """What changes from one prompt to the next. Without variation a server answers from its cache and does no work."""

    seed: Annotated[SeedMode | int, BeforeValidator(_check_seed)] = Field(
        "random", description="random, increment, fixed, or one number", examples=["random"]
    )
    prompt: str | tuple[str, ...] = Field(
        (), description="texts for the positive prompt: a file with one a line, or a list", examples=["prompts.txt"]
    )
    inputs: dict[str, Annotated[InputValues, BeforeValidator(_as_values)]] = Field(
        {}, description="`node.input`: a list of values, or {from, to}", examples=[{"3.steps": [20, 30]}]
    )
    nodes: str | tuple[dict[str, Any], ...] = Field(
        (),
        description="the mapping list of COMFYUI_WORKFLOW_NODES: the list, a JSON file, or $COMFYUI_WORKFLOW_NODES",
        examples=["$COMFYUI_WORKFLOW_NODES"],
    )


class WorkloadSection(_Section):
    """One workflow of the mix."""

    workflow: str = Field(
        description="a workflow file in API format, or $COMFYUI_WORKFLOW for the JSON in that variable",
        examples=["workflows/sdxl.json"],
    )
    name: str | None = Field(None, min_length=1, max_length=80, description="how it is called; default: its file name")
    weight: float = Field(1.0, gt=0, description="its share of the prompts, against the other workflows", examples=[3])
    deadline: Seconds = Field(600.0, gt=0, description="a prompt that takes longer has failed", examples=["3m"])
    expect: Outcome = Field(Outcome.SUCCESS, description="the outcome that counts as right", examples=["rejected"])
    vary: VarySection = Field(VarySection(), examples=[{"seed": "random"}])
    fetch: bool = Field(default=True, description="fetch and check the outputs", examples=[True])
    think: Span = Field((0.0, 0.0), description="pause of a user after each prompt", examples=["1s..3s"])


class Ramp(_Section):
    """Users rising or falling in a straight line."""

    start: int = Field(alias="from", ge=0, examples=[1])
    end: int = Field(alias="to", ge=0, examples=[40])


class RateRamp(_Section):
    """A rate rising or falling in a straight line."""

    start: Rate = Field(alias="from", ge=0, le=RATE_MOST_PER_S, examples=["1/min"])
    end: Rate = Field(alias="to", ge=0, le=RATE_MOST_PER_S, examples=["2/s"])


class StageSection(_Section):
    """A stretch of load: so many users, or prompts that arrive at a rate."""

    users: Annotated[Ramp, BeforeValidator(_as_ramp)] | None = Field(
        None, description="closed load: a number, or {from, to}", examples=[{"from": 1, "to": 40}]
    )
    arrivals: Annotated[RateRamp, BeforeValidator(_as_rate_ramp)] | None = Field(
        None,
        description="open load: prompts come at this rate, whether or not earlier ones have ended",
        examples=["30/min"],
    )
    process: Process = Field("poisson", description="how arrivals are spaced: poisson or constant")
    in_flight_most: int = Field(
        1000, ge=1, description="with more on their way than this, an arrival is recorded as not sent", examples=[200]
    )
    duration: Seconds = Field(alias="for", gt=0, description="how long it lasts", examples=["20m"])
    phase: str = Field(
        "load",
        min_length=1,
        max_length=40,
        description="`warmup` is recorded and left out of goals",
        examples=["warmup"],
    )

    @model_validator(mode="after")
    def _users_or_arrivals(self) -> Self:
        if (self.users is None) == (self.arrivals is None):
            raise ValueError("expected one of `users: 8` (closed load) and `arrivals: 30/min` (open load)")
        only_open = self.model_fields_set & {"process", "in_flight_most"}
        if self.users is not None and only_open:
            raise ValueError(f"expected {min(only_open)!r} only beside arrivals, got it beside users")
        return self


class SessionsSection(_Section):
    """Sockets beside those of the users."""

    watchers: int = Field(0, ge=0, description="sockets that only listen", examples=[50])


class GpuSourceSection(_Section):
    """Where GPU samples come from: the driver on this host, or an exporter of DCGM series."""

    nvml: bool = Field(default=False, examples=[True])
    dcgm: Url | None = Field(None, examples=["http://gpu-1:9400/metrics"])

    @model_validator(mode="after")
    def _one_of_two(self) -> Self:
        if self.nvml == (self.dcgm is not None):
            raise ValueError("expected `nvml`, or `{dcgm: http://gpu-1:9400/metrics}`")
        return self


class ProbesSection(_Section):
    """What watches, and how often."""

    gpu: tuple[Annotated[GpuSourceSection, BeforeValidator(_as_source)], ...] | None = Field(
        None,
        description="default: nvml; for embedded servers their own exporter",
        examples=[["nvml", {"dcgm": "http://gpu-1:9400/metrics"}]],
    )
    every: Seconds = Field(0.1, ge=0.01, le=60, description="between two GPU samples", examples=["100ms"])
    host: Seconds = Field(1.0, ge=0.1, le=600, description="between two samples of host and processes", examples=["1s"])
    server: Seconds = Field(1.0, ge=0.1, le=600, description="between two looks at /queue", examples=["1s"])
    log: str = Field(
        "socket", description="the server's log lines: socket, off, or a log file on this host", examples=["socket"]
    )


class Scenario(_Section):
    """What to run, against what, watched how, and what must hold."""

    name: str | None = Field(None, min_length=1, max_length=80, description="default: the file's name")
    target: Target = Field(examples=[{"comfyui": "http://gpu-1:8188"}])
    workload: tuple[WorkloadSection, ...] = Field(min_length=1, examples=[[{"workflow": "workflows/sdxl.json"}]])
    load: tuple[StageSection, ...] = Field(min_length=1, examples=[[{"users": 4, "for": "5m"}]])
    sessions: SessionsSection = Field(SessionsSection(), examples=[{"watchers": 50}])
    probes: ProbesSection = Field(ProbesSection(), examples=[{"gpu": ["nvml"], "every": "100ms"}])
    goals: tuple[Goal, ...] = Field(
        (), description="what must hold; default: prompts.failed < 1%, findings.critical = 0",
        examples=[["prompts.failed < 1%"]],
    )  # fmt: skip
    on_undecided: Literal["fail", "pass"] = Field("fail", description="what too few prompts to tell means")
    seed: int = Field(0, ge=0, description="fixes mix and variation", examples=[42])
