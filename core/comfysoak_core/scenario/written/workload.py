"""`workload`: the workflows of the mix, and what changes from one prompt to the next."""

from __future__ import annotations

from typing import Annotated, Any, Self, get_args

from pydantic import BeforeValidator, Field, model_validator

from comfysoak_core.comfyui.vary import SeedMode
from comfysoak_core.rows import Outcome
from comfysoak_core.scenario.quantities import Seconds
from comfysoak_core.scenario.written.section import Section, Span


def _as_values(value: object) -> object:
    if isinstance(value, dict):
        return value
    return {"values": value if isinstance(value, list | tuple) else [value]}


def _check_seed(value: object) -> object:
    if value in get_args(SeedMode) or (isinstance(value, int) and not isinstance(value, bool) and value >= 0):
        return value
    raise ValueError(f"expected random, increment, fixed or a number, got {value!r}")


class InputValues(Section):
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


class VarySection(Section):
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


class WorkloadSection(Section):
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
