"""`workload`: the workflows of the mix, and what changes from one prompt to the next."""

from __future__ import annotations

from typing import Annotated, Any, Self, get_args

from pydantic import BeforeValidator, Field, model_validator

from comfysoak_core.comfyui.vary import SeedMode
from comfysoak_core.outputs.kinds import OutputKind
from comfysoak_core.rows import Outcome
from comfysoak_core.scenario.quantities import Ratio, Seconds
from comfysoak_core.scenario.written.behaviour import Batch, CancelSection, GiveUpSection, Mistakes, Share, Uploads
from comfysoak_core.scenario.written.gateway import Size
from comfysoak_core.scenario.written.section import Section, Span, one_of


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


_Written = str | float | bool | None
Values = Annotated[
    InputValues, BeforeValidator(_as_values, json_schema_input_type=_Written | tuple[Any, ...] | InputValues)
]
Seed = Annotated[
    SeedMode | int, BeforeValidator(_check_seed, json_schema_input_type=SeedMode | Annotated[int, Field(ge=0)])
]


class VarySection(Section):
    """What changes from one prompt to the next. Without variation a server answers from its cache and does no work."""

    seed: Seed = Field("random", description="random, increment, fixed, or one number", examples=["random"])
    prompt: str | tuple[str, ...] = Field(
        (), description="texts for the positive prompt: a file with one a line, or a list", examples=["prompts.txt"]
    )
    inputs: dict[str, Values] = Field(
        {}, description="`node.input`: a list of values, or {from, to}", examples=[{"3.steps": [20, 30]}]
    )
    nodes: str | tuple[dict[str, Any], ...] = Field(
        (),
        description="the mapping list of COMFYUI_WORKFLOW_NODES: the list, a JSON file, or $COMFYUI_WORKFLOW_NODES",
        examples=["$COMFYUI_WORKFLOW_NODES"],
    )


def _as_fetch(value: object) -> object:
    """Yes or no, a share, or a list of kinds."""
    if isinstance(value, bool):
        return {"share": float(value)}
    if isinstance(value, list | tuple):
        return {"kinds": value}
    return value if isinstance(value, dict | FetchSection) else {"share": value}


class FetchSection(Section):
    """Which outputs are fetched and checked."""

    share: Ratio = Field(1.0, description="of the prompts whose outputs are fetched", examples=["10%"])
    kinds: tuple[OutputKind, ...] | None = Field(
        None, min_length=1, description=f"the kinds fetched, of {', '.join(OutputKind)}; default: all",
        examples=[["images", "video"]],
    )  # fmt: skip


Fetch = Annotated[
    FetchSection,
    BeforeValidator(_as_fetch, json_schema_input_type=bool | Ratio | tuple[OutputKind, ...] | FetchSection),
]

_OF_GATEWAYS = frozenset({"size", "n", "steps", "negative", "model", "pictures"})
_OF_WORKFLOWS = frozenset({"vary", "batch", "front", "upload", "cancel", "give_up", "mistakes"})


class WorkloadSection(Section):
    """One workflow of the mix."""

    model_config = one_of("workflow", "prompt")

    workflow: str | None = Field(
        None,
        description="a workflow file in API format, or $COMFYUI_WORKFLOW for the JSON in that variable",
        examples=["workflows/sdxl.json"],
    )
    prompt: str | tuple[str, ...] | None = Field(
        None, min_length=1, description="for a gateway: texts: a file with one a line, or a list; `{number}` is drawn",
        examples=["prompts.txt"],
    )  # fmt: skip
    size: Size | None = Field(None, description="for a gateway: width and height", examples=["512x768"])
    n: int = Field(1, ge=1, le=100, description="for a gateway: so many pictures", examples=[2])
    steps: int | None = Field(None, ge=1, description="for a gateway: steps of the sampler", examples=[20])
    negative: str | None = Field(None, description="for a gateway: the negative prompt", examples=["blurry"])
    model: str | None = Field(None, description="for a gateway: the model", examples=["sdxl.safetensors"])
    pictures: int | None = Field(
        None, ge=1, description="for a gateway: how many an answer must have, where that is not n", examples=[4]
    )
    name: str | None = Field(None, min_length=1, max_length=80, description="how it is called; default: its file name")
    weight: float = Field(1.0, gt=0, description="its share of the prompts, against the other workflows", examples=[3])
    deadline: Seconds = Field(600.0, gt=0, description="a prompt that takes longer has failed", examples=["3m"])
    expect: Outcome = Field(Outcome.SUCCESS, description="the outcome that counts as right", examples=["rejected"])
    vary: VarySection = Field(VarySection(), examples=[{"seed": "random"}])
    fetch: Fetch = Field(
        FetchSection(),
        description="fetch and check the outputs: yes or no, of a share of the prompts, or only some kinds",
        examples=[True, "10%", ["images", "video"]],
    )
    batch: Batch | None = Field(None, description="how many pictures a prompt makes at once", examples=[[1, 2, 4]])
    front: Share = Field(0.0, description="how many go to the front of the queue; true: all", examples=["10%"])
    upload: Uploads = Field(
        (), description="pictures to upload first", examples=[{"input": "10.image", "files": "pictures/"}]
    )
    cancel: CancelSection | None = Field(
        None, description="a share that is taken back", examples=[{"share": "10%", "after": "1s..5s"}]
    )
    give_up: GiveUpSection | None = Field(
        None, description="users who wait no longer, and try again", examples=[{"after": "30s", "again": 2}]
    )
    mistakes: Mistakes | None = Field(
        None, description="a share that carries a mistake the server is to refuse", examples=["5%"]
    )
    think: Span = Field((0.0, 0.0), description="pause of a user after each prompt", examples=["1s..3s"])

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if (self.workflow is None) == (self.prompt is None):
            raise ValueError("expected one of `workflow: sdxl.json` (for ComfyUI) and `prompt: [...]` (for a gateway)")
        strangers = self.model_fields_set & (_OF_WORKFLOWS if self.workflow is None else _OF_GATEWAYS)
        if strangers:
            kind = "prompt (for a gateway)" if self.workflow is None else "workflow (for ComfyUI)"
            raise ValueError(f"{min(sorted(strangers))!r} does not go with {kind}")
        for name, leaves in (("cancel", self.cancel), ("give_up", self.give_up)):
            if leaves is not None and leaves.after[1] >= self.deadline:
                raise ValueError(f"{name}.after must be shorter than the deadline of {self.deadline:g} s")
        if self.mistakes is not None and self.expect is not Outcome.SUCCESS:
            raise ValueError(f"mistakes are for prompts that would succeed without them, not for expect: {self.expect}")
        return self
